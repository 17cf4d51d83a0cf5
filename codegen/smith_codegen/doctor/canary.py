"""The canary: wrong lines about the subjects of a spec, each with its expected error.

mypy 1.18 and later refuse every line, with and without --strict, with exactly this code, wherever
types are enforced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from .. import checks, resolve
from ..model import Consumer, Model, Subject
from ..spec import Spec

MOST_SUBJECTS: Final = 20
MOST_CONSUMERS: Final = 10
"""Number of subjects and consumers with lines: a hole in type checking affects all of them."""

CODES: Final = (
    "arg-type", "assignment", "attr-defined", "call-arg", "call-overload", "dict-item", "list-item", "misc", "operator", "type-var",
    "union-attr",
)  # fmt: skip
"""The codes of mypy under which misuse of a contract is refused, here and in users' code."""

_MARK = re.compile(r"  # type: ignore\[([a-z-]+)\]$", re.MULTILINE)

_HEAD = '''\
# generated from {file} by smith-codegen doctor --canary
# Every line with a `type: ignore` is wrong on purpose. Check this file with warn_unused_ignores: "unused type: ignore" then
# says that mypy has stopped refusing such a line, and `smith-codegen doctor` says why. Nothing imports or runs this file.
# ruff: noqa
# fmt: off
"""A canary: proof that wrong uses of the subjects of {package} are refused wherever this file is checked."""

from __future__ import annotations

from smith_sdk import AsyncSmithBus, SmithBus
from smith_sdk.contract import ConsumerSpec, CoreSubject
from {package} import protocol, subjects
'''


def text(spec: Spec) -> str:
    """The canary for a spec, as it may be kept in a repository. Raises `SpecErrors`."""
    checks.check(spec)
    model = resolve.build(spec)
    own = [subject for subject in model.subjects if not subject.home]
    consumers = [consumer for consumer in model.consumers if spec.is_own(("consumers", consumer.name))]
    package = spec.spec.package
    lines = _HEAD.format(file=Path(spec.file).name, package=package).splitlines()
    lines += [f"from {home} import protocol as {_protocol(home)}" for home in model.homes]
    lines += [f"from {package}.topology import consumers"]
    constructed: set[str] = set()
    taken = {*(one.attr for one in model.subjects), *(one for inner in model.namespaces for one in inner.namespaces), "parse"}
    for subject in own[:MOST_SUBJECTS]:
        lines += ["", "", *_subject(model, subject, constructed, taken)]
    if consumers:
        lines += ["", "", "def wrong_consumers(wrong: ConsumerSpec[str]) -> None:"]
        lines += [line for consumer in consumers[:MOST_CONSUMERS] for line in _consumer(model, consumer)]
    name = consumers[0].name if consumers else "any-name"
    for head, wait in (("def wrong_blocking(bus: SmithBus)", ""), ("async def wrong_async(bus: AsyncSmithBus)", "await ")):
        lines += ["", "", f"{head} -> None:", *_face(own, name, wait)]
    return "\n".join(lines) + "\n"


def wrong_lines(canary: str) -> Mapping[int, str]:
    """The number of each wrong line, from 1, and the code of the error that is due there."""
    marks = ((number, _MARK.search(line)) for number, line in enumerate(canary.splitlines(), 1))
    return {number: mark[1] for number, mark in marks if mark}


def bare(canary: str) -> str:
    """The canary without its marks, line for line, so that each error shows itself."""
    return _MARK.sub("", canary)


def _subject(model: Model, subject: Subject, constructed: set[str], taken: set[str]) -> Iterator[str]:
    right = subject.family.members[0].name if subject.family else subject.message
    kind = f"[{_payload(model, right)}]" if subject.family else ""
    other = _payload(model, _other(model, subject, right))
    given = f"subject: subjects.{subject.access}{kind}" + (f", other: {other}" if subject.stream else "")
    yield f"def wrong_{subject.name.replace('.', '_')}({given}) -> None:"
    prefix = f"subjects.{subject.namespace}." if subject.namespace else "subjects."
    yield _wrong(prefix + _misspelt(subject.attr, taken), "attr-defined")
    if subject.tokens:
        tokens = ", ".join(f'{token.attr}="any text"' for token in subject.tokens)
        yield _wrong(f"subjects.{subject.access}({tokens})", "call-overload" if subject.family else "arg-type")
    if subject.stream:
        yield _wrong("subject.envelope(other)", "arg-type")
    else:
        yield _wrong(f"wrong: CoreSubject[{other}] = subject", "assignment")
    if right != "bytes" and right not in constructed:
        constructed.add(right)
        yield _wrong(f"{_payload(model, right)}(no_such_field=1)", "call-arg")


def _consumer(model: Model, consumer: Consumer) -> Iterator[str]:
    yield _wrong(f"consumers.{_misspelt(consumer.attr, {one.attr for one in model.consumers})}", "attr-defined")
    yield _wrong(f"wrong = consumers.{consumer.attr}", "assignment")


def _face(own: list[Subject], consumer: str, wait: str) -> Iterator[str]:
    yield _wrong(f'{wait}bus.publish("any.text", b"")', "arg-type")
    yield _wrong(f'{wait}bus.emit("any.text", b"")', "arg-type")
    filtered = next((subject for subject in own if subject.stream and subject.tokens), None)
    if filtered:
        yield _wrong(f'{wait}bus.publish(subjects.{filtered.access}.filter(), b"")', "arg-type")
    yield _wrong('bus.subscribe("any.*")', "arg-type")
    yield _wrong(f'bus.consumer("{consumer}")', "arg-type")


def _wrong(code: str, error: str) -> str:
    return f"    {code}  # type: ignore[{error}]"


def _misspelt(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _other(model: Model, subject: Subject, right: str) -> str:
    """A payload that the subject does not carry: another one of its family where there is one."""
    members = [member.name for member in subject.family.members] if subject.family else []
    names = [*members, *(message.name for message in model.messages)] if right != "bytes" else []
    return next((name for name in names if name != right), "str")


def _payload(model: Model, name: str) -> str:
    """A payload as the canary writes it: a class in the protocol of its package, or a builtin."""
    home = next((message.home for message in model.messages if message.name == name), None)
    return name if home is None else f"{_protocol(home)}.{name}"


def _protocol(home: str) -> str:
    return f"{home.replace('.', '_')}_protocol" if home else "protocol"
