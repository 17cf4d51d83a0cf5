"""The eleven traps of the typing design, each with a test that fails when the trap is reopened;
this file is their index.

1. covariant `Subject`, `Cap`: `test_a_reopened_hole_is_seen`
2. visible `__getattr__`, aliased `TYPE_CHECKING`: `test_a_reopened_hole_is_seen`
3. a consumer's mypy that checks nothing: `tests/codegen/test_doctor.py`
4. unannotated functions: `tests/codegen/test_doctor.py`
5. `Any` and `cast` pass every checker: `tests/server/test_refusals.py`; here, without the check at
   run time
6. errors that name nothing: `test_an_error_names_both_types`, `test_a_reopened_hole_is_seen`
7. filters as varargs, a generic root: `test_a_reopened_hole_is_seen`
8. hand-made subjects: `test_a_reopened_hole_is_seen`; those without tokens inherit a field with a
   default, so they can be made without an `__init__` of their own
9. decoding by tag: `test_a_payload_is_decoded_by_its_subject`; the types of filters in
   `test_a_reopened_hole_is_seen`
10. signatures over re-encoded bytes: `tests/unit/test_signing.py`, `tests/server/test_signing.py`
11. generated code that Python refuses: `test_nothing_is_written_that_python_does_not_take`

A hole in the types is reopened by changing the text of a copy of the SDK; then `mypy --strict` must
judge some line of `tests/typing` otherwise than its marks do, so that the tests there would fail.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from checkers import FILES, HERE, MYPY, Found, dumped, false_alarms, let_through, loaded, read_mypy
from shared import once, run_folder

import smith_sdk
from smith_codegen import imports, render
from smith_codegen.cli import main
from smith_sdk import Message
from smith_sdk._core.connection.parser import RawMessage
from smith_sdk.errors import PayloadDecodeError
from smith_sdk.protocol import HttpFetchV1Intent, HttpFetchV1Params, Intent
from smith_sdk.subjects import parse
from smith_sdk.subjects.intents import raw
from smith_sdk.subjects.logs import errors, service
from smith_sdk.topology import CONTRACT

TESTS = Path(__file__).parents[1]
SDK = Path(smith_sdk.__file__).parent
ACME = Path(__file__).with_name("acme.toml")

Edit = tuple[str, str, str]
"""A file of the SDK, what to look for (a regular expression) and what to put there."""

GUARD = r"    if TYPE_CHECKING:\n\n        def __init__\(self, \*, only_generated_classes_can_be_made: Never\) -> None: \.\.\.\n"
GUARD_BY_FIELD = r"        only_generated_classes_can_be_made: Never\n\n        def __init__\(.*\n"
HIDDEN = r"\nelse:\n(    # [^\n]*\n)"

HOLES: Mapping[str, tuple[tuple[Edit, ...], str]] = {
    "1: covariant Subject": (
        (
            (
                "contract/subjects.py",
                r"class Subject\(AnySubject, Generic\[MessageT\]",
                "class Subject(AnySubject, Generic[M_co]",
            ),
            (
                "contract/subjects.py",
                r"Subject\(Subject\[MessageT\], Generic\[MessageT\]",
                "Subject(Subject[M_co], Generic[M_co]",
            ),
        ),
        "carry(to_read, every)",
    ),
    "1: covariant Cap": (
        (("contract/subjects.py", r"class Cap\(str, Generic\[MessageT\]\)", "class Cap(str, Generic[M_co])"),),
        "send(capability.fs_read_v1, every)",
    ),
    "2: __getattr__ of the SDK": ((("__init__.py", HIDDEN, r"\nif True:\n\1"),), "from smith_sdk import Wroker"),
    "2: __getattr__ of the subjects": ((("subjects/__init__.py", HIDDEN, r"\nif True:\n\1"),), "subjects.intent  # error"),
    "2: aliased TYPE_CHECKING": (
        (
            ("subjects/__init__.py", "import TYPE_CHECKING", "import TYPE_CHECKING as CHECKING"),
            ("subjects/__init__.py", "if TYPE_CHECKING", "if CHECKING"),
        ),
        "subjects.intent  # error",
    ),
    "6: loose envelope": (
        (("contract/subjects.py", r"payload: MessageT\) -> Envelope", "payload: Any) -> Envelope"),),
        "to_read.envelope(fetch)",
    ),
    "7: filters as varargs": (
        tuple(
            (
                f"{face}/core_messages.py",
                r"(def subscribe\(self, )(what: Subscribable\[M, )S(\]\) -> Subscription\[M, )S",
                r"\1*\2Any\3Any",
            )
            for face in ("aio", "sync")
        ),
        "bus.subscribe(subjects.results.filter(), subjects.audit.policy.filter())",
    ),
    "7: generic root": (
        (
            (
                "contract/subjects.py",
                r"class AnySubject\(msgspec\.Struct,",
                "class AnySubject(msgspec.Struct, Generic[MessageT],",
            ),
            ("contract/subjects.py", r"class Subject\(AnySubject,", "class Subject(AnySubject[MessageT],"),
        ),
        'S = TypeVar("S", bound=AnySubject)',
    ),
    "8: hand-made subjects": (
        (("contract/subjects.py", GUARD, ""), ("contract/subjects.py", GUARD_BY_FIELD, "        pass\n")),
        "carry(StreamSubject[FsReadV1Intent](), read)",
    ),
    "9: what a wildcard receives": (
        (("subjects/logs/_service.py", r"LogsService \| LogsErrors \| LogsPerformance", "LogsService"),),
        "only: Filter[LogEntry",
    ),
}


# ---- holes in the types


OWN = [name for name in FILES if "_bus import" not in (HERE / name).read_text()]
"""Those that use the SDK's own contract only."""


class Judged:
    """What `mypy --strict` says about `tests/typing` with a changed copy of the SDK, or with the
    SDK itself."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.otherwise = [
            line for name in OWN for line in (*let_through(found, name, "mypy"), *false_alarms(found, name, "mypy"))
        ]


def edited(room: Path, edits: tuple[Edit, ...]) -> None:
    """Put a copy of the SDK with `edits` into `room`."""
    shutil.copytree(SDK, room / "copy" / "smith_sdk")
    for file, old, new in edits:
        path = room / "copy" / "smith_sdk" / file
        before = path.read_text()
        after = re.sub(old, new, before)
        assert after != before, f"{file} has no {old!r}: the hole is not reopened"
        path.write_text(after)


def judge(room: Path, edits: tuple[Edit, ...]) -> Found:
    """Run `mypy --strict` in `room`, where a cache of another run is, with an edited copy of the
    SDK; without edits, with the SDK itself."""
    if edits:
        edited(room, (*edits, ("contract/__init__.py", r"\Z", "\nOF_THE_COPY = True\n")))
        (room / "which.py").write_text("from smith_sdk.contract import OF_THE_COPY\n")
    for name in OWN:
        shutil.copy(HERE / name, room)
    done = subprocess.run(
        [*MYPY, "--cache-dir=.cache", "--strict", *OWN, *(["which.py"] if edits else [])],
        cwd=room,
        env={**os.environ, "MYPYPATH": "copy"} if edits else None,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found = read_mypy(done.stdout)
    assert ("which.py", 1) not in found, f"the installed SDK was checked, not its copy: {done.stdout}"
    return found


BARE = "6: a payload that is inferred with its subject"
EDITS = {name: edits for name, (edits, _) in HOLES.items()} | {
    BARE: (("contract/subjects.py", r"PayloadOf: TypeAlias = .*", "PayloadOf: TypeAlias = MessageT"),)
}
# Each run of mypy takes seconds. Holes are reopened together where no line is judged otherwise for
# more than one of them.
TOGETHER = (
    ("1: covariant Subject", "2: aliased TYPE_CHECKING"),
    (
        "1: covariant Cap",
        "2: __getattr__ of the SDK",
        "2: __getattr__ of the subjects",
        "7: filters as varargs",
        "8: hand-made subjects",
        "9: what a wildcard receives",
    ),
    ("6: loose envelope", "7: generic root", BARE),
)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, mypy_cache: Callable[[str], str]) -> Callable[[str], Judged]:
    """The findings with the edits of that name and of those that go with it; "" is the SDK as it
    is.

    Each run of mypy starts from the cache of the SDK as it is, and is made once for all processes
    of pytest-xdist.
    """
    assert sorted(name for names in TOGETHER for name in names) == sorted(EDITS)

    @cache
    def find(names: tuple[str, ...]) -> Judged:
        edits = tuple(edit for name in names for edit in EDITS[name])

        def make(file: Path) -> None:
            room = tmp_path_factory.mktemp("traps")
            shutil.copytree(mypy_cache("strict"), room / ".cache")
            file.write_text(json.dumps(dumped(judge(room, edits))))

        name = f"traps-{TOGETHER.index(names) if names else 'as-it-is'}.json"
        return Judged(loaded(json.loads(once(run_folder(tmp_path_factory), name, make).read_text())))

    return lambda name: find(next((names for names in TOGETHER if name in names), ()))


@pytest.mark.timeout(180)
def test_no_hole_is_open(judged: Callable[[str], Judged]) -> None:
    assert judged("").otherwise == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("hole", HOLES)
def test_a_reopened_hole_is_seen(judged: Callable[[str], Judged], hole: str) -> None:
    _, words = HOLES[hole]
    otherwise = judged(hole).otherwise
    assert any(words in line for line in otherwise), "\n".join(otherwise) or "nothing is judged otherwise"


PUBLISHES = re.compile(r'"(publish|submit|emit)" of "(Publishing|CoreMessages|\w*Bus|Message)"')
NAMED = re.compile(r'Argument 2 to "\w+" of "\w+" has incompatible type ".+"; expected "\w.* \| NothingElse\[Callable')


@pytest.mark.timeout(180)
def test_an_error_names_both_types(judged: Callable[[str], Judged]) -> None:
    """Trap 6: where mypy says "Cannot infer value of type parameter", it names neither the type of
    the payload nor the one that the subject carries."""
    messages = payload_errors(judged(""))
    assert {PUBLISHES.search(one)[1] for one in messages if NAMED.match(one)} == {"publish", "submit", "emit"}  # type: ignore[index]
    assert not [one for one in messages if "Cannot infer" in one]
    bare = payload_errors(judged(BARE))
    assert [one for one in bare if "Cannot infer" in one]
    assert not [one for one in bare if NAMED.match(one)]


def payload_errors(judged: Judged) -> list[str]:
    """The errors about an argument of `publish`, `submit` or `emit`."""
    messages = (message for messages in judged.found.values() for message in messages)
    return [one for one in messages if PUBLISHES.search(one)]


# ---- trap 5: what no checker sees


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (r"session\.require_subject\(subject, has_headers\)", "pass", "AttributeError"),
        (r"if type\(payload\) is not expected:", "if False:", "DID NOT RAISE"),
    ],
    ids=["class", "payload"],
)
def test_without_the_check_at_run_time_the_test_of_it_fails(old: str, new: str, words: str, tmp_path: Path) -> None:
    # The check that a reader could decode the payload would refuse it as well.
    edited(tmp_path, (("aio/publisher.py", old, new), ("aio/publisher.py", "if session.validate and", "if False and")))
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "copy")}
    env.pop("SMITH_TEST_WHEEL", None)
    test = TESTS / "server" / "test_refusals.py::test_type_errors_are_refused_at_run_time_as_well"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(test)]
    done = subprocess.run(command, cwd=TESTS.parent, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"smith_sdk: {tmp_path}" in done.stdout
    assert words in done.stdout


# ---- trap 9: decoded by subject


def fetch_on_the_subject_of_reads() -> Message[Any, Any]:
    intent = HttpFetchV1Intent.new(domain="default", params=HttpFetchV1Params(url="http://localhost"))
    session: Any = SimpleNamespace(contract=CONTRACT, parse=CONTRACT.parse)
    return Message(RawMessage("smith.intents.raw.fs.read.v1", "", msgspec.json.encode(intent)), session)


def test_a_payload_is_decoded_by_its_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    """A payload on the wrong subject is refused, even if its own tag is right."""
    with pytest.raises(PayloadDecodeError):
        _ = fetch_on_the_subject_of_reads().payload
    # the trap: the union of the filter, told apart by tag
    monkeypatch.setattr(raw, "message_type", Intent)
    assert isinstance(fetch_on_the_subject_of_reads().payload, HttpFetchV1Intent)


def test_what_a_wildcard_receives_is_told_apart_by_subject() -> None:
    assert service.filter(level="error").patterns == ("smith.logs.*.error",)
    assert isinstance(parse("smith.logs.errors.error"), errors)
    assert isinstance(parse("smith.logs.api.error"), service)


# ---- trap 11: what is about to be written


BROKEN = {
    "ruff cannot read it": ("\ndef broken(:\n", RuntimeError),
    "only Python refuses it": ("\nreturn 1\n", SyntaxError),
    "a name bound twice": ("\ndef broken(one, one): ...\n", SyntaxError),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("there", [False, True], ids=["new", "again"])
def test_nothing_is_written_that_python_does_not_take(
    case: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "acme_bus"
    if there:
        assert main([str(ACME), str(out)]) == 0
    before = contents(tmp_path)
    text, error = BROKEN[case]
    add = imports.add
    monkeypatch.setattr(imports, "add", lambda *given: add(*given) + text)
    with pytest.raises(error):
        main([str(ACME), str(out)])
    assert contents(tmp_path) == before
    if error is SyntaxError:  # without the check, this would have been written
        monkeypatch.setattr(render, "compile", lambda *_, **__: None, raising=False)
        assert main([str(ACME), str(out)]) == 0
        assert contents(tmp_path) != before


def contents(top: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in top.rglob("*") if path.is_file()}


# ---- what stands elsewhere


ELSEWHERE = {
    "3: imports not followed": ("codegen/test_doctor.py", "test_trap_3_imports_that_are_not_followed"),
    "3: imports not found": ("codegen/test_doctor.py", "test_trap_3_the_sdk_is_not_found_and_mypy_must_not_say_so"),
    "4: unannotated functions": ("codegen/test_doctor.py", "test_trap_4_functions_without_annotations"),
    "5: checked at run time": ("server/test_refusals.py", "test_type_errors_are_refused_at_run_time_as_well"),
    "10: unknown fields": ("unit/test_signing.py", "test_a_message_with_an_unknown_field_must_not_be_decoded_and_encoded_again"),
    "10: absent fields": ("unit/test_signing.py", "test_a_message_with_absent_fields_must_not_be_decoded_and_encoded_again"),
    "10: passed on": ("server/test_signing.py", "test_what_is_passed_on_verifies_and_what_is_encoded_again_does_not"),
}


@pytest.mark.parametrize("trap", ELSEWHERE)
def test_the_test_of_it_is_there(trap: str) -> None:
    file, name = ELSEWHERE[trap]
    assert f"def {name}(" in (TESTS / file).read_text(), f"{file} has no {name}: say here what it is called now"
