"""What some type checker lets through is refused when it runs: a test for each kind of
docs/howto/checkers.md, which lists the marks in `tests/typing`."""

from __future__ import annotations

import functools
import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from buses import read_intent
from checkers import FILES, MORE_CHECKERS, marks

from smith_sdk import SmithBus, consumers, result_of, subjects, sync
from smith_sdk.contract import Filter
from smith_sdk.errors import OptionsError, PayloadMismatch, PublishManyError, SubjectMismatch
from smith_sdk.protocol import HttpFetchV1Intent, HttpFetchV1Params

PAGE: Final = Path(__file__).parents[2] / "docs" / "howto" / "checkers.md"
NAMES: Final = ("mypy", "pyright", *(name for name in MORE_CHECKERS if name != "basedpyright"))
raw, capability = subjects.intents.raw, subjects.capability


def listed() -> dict[str, set[str]]:
    """The kinds of the page, and who does not refuse them."""
    rows = re.findall(r"^\| ([\w ]+?) \| ([a-z, ]+) \| .*\|$", PAGE.read_text(), re.MULTILINE)
    return {kind: set(who.split(", ")) for kind, who in rows}


def marked() -> dict[str, set[str]]:
    """The same by the marks of the matrices."""
    found: dict[str, set[str]] = {}
    for file in FILES:
        for mark in marks(file).values():
            if mark.kind is not None:
                named = {who.partition("-")[0] for who in mark.who}
                who = {"unseen": set(NAMES), "except": named, "in": set(NAMES) - named}[mark.how or ""]
                found.setdefault(mark.kind, set()).update(who)
    return found


def test_the_page_lists_what_the_matrices_mark() -> None:
    assert listed() == marked()
    assert set(CASES) == set(listed())


@pytest.fixture
def bus(make_server: Any) -> Any:
    with SmithBus(make_server().url) as bus:
        bus.streams.apply(profile="dev")
        yield bus


def wrong_payload(bus: Any) -> None:
    read = read_intent()
    other = HttpFetchV1Intent.new(domain="default", params=HttpFetchV1Params(url="http://localhost"))
    for payload in (other, result_of(read), read.params, read.capability, type(read), None):
        for where in (raw.of(read), raw(capability=read.capability), raw(capability=str(read.capability))):  # type: ignore[call-overload]
            with pytest.raises(PayloadMismatch):
                bus.publish(payload=payload, subject=where)
            with pytest.raises(PayloadMismatch):
                functools.partial(bus.publish, where)(payload)
            with pytest.raises(PayloadMismatch):
                bus.submit(where, payload).result()
    make: Callable[[Any], Any] = raw.of
    with pytest.raises(PayloadMismatch):
        bus.publish(make(other), read)
    bus.publish(raw.of(read), read)


def what_is_yielded(bus: Any) -> None:
    with pytest.raises(PublishManyError, match=r"what subject\.envelope"):
        bus.publish_many(raw(capability=one) for one in [capability.fs_read_v1])


def any_of_all(bus: Any) -> None:
    wrong_payload(bus)
    forged: Any = Filter
    for what in ("smith.results.*", subjects.results, forged("smith.results.*")):
        for use in (bus.subscribe, bus.read):
            with pytest.raises(SubjectMismatch):
                use(what)


def forget(bus: Any) -> None:
    bus.publish(raw.of(read_intent()), read_intent())
    gc.collect()


def not_awaited(bus: Any) -> None:
    with pytest.warns(RuntimeWarning, match="never awaited"):
        forget(bus._aio)


def names_as_text(bus: Any) -> None:
    signals: Any = "SIGTERM"
    worker = sync.Worker(bus, consumers.executor_fs_read)
    worker.handler(lambda message: None)
    with pytest.raises(OptionsError):
        worker.run(signals=signals)


OTHERS: Final[dict[str, Callable[[Any], None]]] = {
    "Any": any_of_all,
    "a coroutine that is not awaited": not_awaited,
    "a str as a sequence of names": names_as_text,
    "what a generator yields": what_is_yielded,
}
CASES: Final = {kind: OTHERS.get(kind, wrong_payload) for kind in listed()}


@pytest.mark.parametrize("case", sorted(set(CASES.values()), key=repr))
def test_what_is_not_seen_is_refused_when_it_runs(bus: Any, case: Callable[[Any], None]) -> None:
    case(bus)
