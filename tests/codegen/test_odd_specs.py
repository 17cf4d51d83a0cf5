# ruff: noqa: E501 - one spec on one line
"""Specs that would make a package which cannot be imported, or payloads that no reader takes: each
is refused at its key. Odd ones that are accepted make packages that work, and that mypy takes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import msgspec
import pytest

from smith_codegen.cli import main
from smith_codegen.compile import compile_spec
from smith_codegen.errors import SpecErrors
from smith_sdk._core import codec
from smith_sdk.contract import Payload
from smith_sdk.errors import PayloadDecodeError, SmithError

HEAD = '[spec]\nname = "odd"\nversion = 1\nroot = "odd"\npackage = "PACKAGE"\n'
TEXT = """[tokens]
domain = { newtype = "Domain", exclude = ["none"] }
number = { newtype = "Number", base = "int", min = 1, max = 9 }
level = { enum = ["low", "high"] }
[messages.B]
fields = { FIELDS }
[messages.C]
fields = { c = "str" }
[subjects]
"all" = { pattern = "odd.all", message = "B" }
"""
LISTS = "list[" * 17 + "int" + "]" * 17


def spec(fields: str, *edits: tuple[str, str]) -> str:
    text = TEXT.replace("FIELDS", fields)
    for was, now in edits:
        assert was in text
        text = text.replace(was, now)
    return HEAD + text


X = "messages.B.fields.x"
REFUSED = {
    "a bound beyond 64 bits": (spec('x = { type = "int", max = 18446744073709551616 }'), f"{X}.max: is beyond 64 bits"),
    "a negative bound beyond 64 bits": (spec('x = { type = "int", min = -9223372036854775809 }'), f"{X}.min: is beyond 64 bits"),
    "a value beyond 64 bits": (spec('x = { type = "int", default = 99999999999999999999 }'), f"{X}.default: 99999999999999999999 is"),
    "a constant beyond 64 bits": (spec('x = { type = "int", const = 9223372036854775808 }'), f"{X}.const: 9223372036854775808 is beyond"),
    "a length beyond 32 bits": (spec('x = { type = "str", min_length = 99999999999 }'), f"{X}.min_length: is beyond 32 bits"),
    "a number that no float is": (spec('x = { type = "float", default = 9007199254740993 }'), f"{X}.default: 9007199254740993 is not"),
    "a value of a token that cannot be one": (spec('x = { type = "Domain", default = "eu.west" }'), f"{X}.default: 'eu.west' is not"),
    "an empty token": (spec('x = { type = "Domain", new = "" }'), f"{X}.new: '' is not a valid token"),
    "a token that is excluded": (spec('x = { type = "Domain", default = "none" }'), f"{X}.default: 'none' is not a valid token"),
    "a number outside its token's bounds": (spec('x = { type = "Number", default = 10 }'), f"{X}.default: 10 is not within min and max"),
    "a value outside the token's": (spec('x = { type = "Level", default = "mid" }'), f"{X}.default: 'mid' is not a valid Level"),
    "a table as a value of any": (spec('x = { type = "any", default = { a = 1 } }'), f"{X}.default: {{'a': 1}} is not a valid any"),
    "a date within a value of any": (spec('x = { type = "any", new = [1979-05-27] }'), f"{X}.new: "),
    "infinity in a value of any": (spec('x = { type = "any", default = inf }'), f"{X}.default: inf is not a valid any"),
    "a message that requires itself": (spec('x = "B"'), f"{X}: requires itself: no value can be made"),
    "messages that require each other": (spec('x = "C"', ('c = "str"', 'c = "B"')), f"{X}: requires a C, which requires a B"),
    "an inline object that requires its message": (spec('x = { fields = { y = "B" } }'), f"{X}: requires a BX, which"),
    "a union of messages that require it": (
        spec('x = "U"', ('c = "str"', 'c = "U"')) + '[unions.U]\nmembers = ["B", "C"]\n',
        f"{X}: requires a U, which requires a B",
    ),
    "a type nested too deep": (spec(f'x = "{LISTS}"'), f"{X}: 'list[list[list[list[list[list[list[list['... has more than 16"),
    "a type nested very deep": (spec(f'x = "{"list[" * 5000}int{"]" * 5000}"'), "has more than 16 lists"),
    "many question marks": (spec(f'x = "int{"?" * 5000}"'), f"{X}: 'int?????????????????????????????????????'... has more than one"),
    "a spec nested too deep": (f"{spec(chr(120) + ' = ' + chr(34) + 'int' + chr(34))}[odd]\nx = {'[' * 5000}{']' * 5000}\n", "is nested too deep"),
    "very many tokens": (spec('x = "str"', ("odd.all", "odd" + ".a" * 64)), "subjects.all.pattern: has 65 tokens"),
    "NUL in a doc": (spec('x = { type = "str", doc = "a\\u0000" }'), f"{X}.doc: has U+0000 (a control character)"),
    "a carriage return in a doc": (spec('x = { type = "str", doc = "a\\rimport os" }'), f"{X}.doc: has U+000D"),
    "an escape sequence in a doc": (spec('x = { type = "str", doc = "\\u001b[31m" }'), f"{X}.doc: has U+001B"),
    "another direction in a doc": (spec('x = { type = "str", doc = "a\\u202Eb" }'), f"{X}.doc: has U+202E (right-to-left override)"),
    "a line separator in a doc": (spec('x = { type = "str", doc = "a\\u2028b" }'), f"{X}.doc: has U+2028 (line separator)"),
    "NUL in what is deprecated": (spec('x = { type = "str", deprecated = "a\\u0000" }'), f"{X}.deprecated: has U+0000"),
    "NUL in the doc of a token": (spec('x = "str"', ('newtype = "Number",', 'newtype = "Number", doc = "\\u0000",')), "tokens.number.doc: has U+0000"),
    "NUL in the doc of a value": (spec('x = "E"') + '[enums.E]\nvalues = { a = "\\u0000" }\n', "enums.E.values.a: has U+0000"),
    "NUL in the doc of a subject": (spec('x = "str"', ('message = "B" }', 'message = "B", doc = "\\u0085" }')), "subjects.all.doc: has U+0085"),
    "a message called as a name that checkers know": (spec('x = "str"', ("messages.C", "messages.TYPE_CHECKING")), "is a name that generated code needs"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_make_a_broken_package_is_refused_at_its_key(name: str) -> None:
    text, problem = REFUSED[name]
    with pytest.raises(SpecErrors) as refused:
        compile_spec(text, "odd.toml")
    assert problem in str(refused.value)


ACCEPTED = {
    "largest": spec('big = { type = "int", min = 0, max = 18446744073709551615, default = 18446744073709551615 }, u = "uint64"'),
    "smallest": spec('big = { type = "int", min = -9223372036854775808, default = -9223372036854775808 }'),
    "tokens": spec('home = { type = "Domain", default = "eu" }, n = { type = "Number", default = 9 }, m = { type = "Level", default = "low" }'),
    "docs": spec('x = { type = "str", doc = "a\\"\\"\\" \\\\ \\n\\n b\\\\" }, y = { type = "str", doc = "ends with \\"" }'),
    "values": spec('x = "enum:a b|c\\"d|e\'f|g\\\\h|\\u0000|a\\nb", y = { type = "str", default = "\\u0000\\u202e\\"\\"\\"\\n" }'),
    "itself": spec('x = "B?", y = "list[B]", z = "map[B]"'),
    "builtins": spec('int = "int", str = "str", list = "list[str]", type = "str", property = "str", classmethod = "str", object = "any"'),
    "members": spec('new = "str", to_dict = "str", self = "str", cls = "int", msgspec = "str", tokens = "str", subject = "str"'),
    "dates": spec('date = "date", datetime = "datetime", decimal = "decimal", uuid = "uuid", timedelta = "duration"'),
    "empty": HEAD,
    **{
        f"token_{name}": spec('x = "str"', ("domain =", f"{name} ="), ("odd.all", f"odd.all.{{{name}}}.{{number}}"))
        for name in ("str", "type", "list", "tuple", "property", "classmethod")
    },
    "tail_str": spec('x = "str"', ("odd.all", "odd.all.{str>}")),
}  # fmt: skip


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    """The packages of `ACCEPTED`, imported."""
    room = tmp_path_factory.mktemp("odd")
    found = {}
    sys.path.insert(0, str(room))
    try:
        for name, text in ACCEPTED.items():
            file = room / f"{name}.toml"
            file.write_text(text.replace("PACKAGE", f"odd_{name}"))
            assert main([str(file), str(room / f"odd_{name}")]) == 0, name
            for part in ("protocol", "subjects", "topology"):
                importlib.import_module(f"odd_{name}.{part}")
            found[name] = importlib.import_module(f"odd_{name}.protocol")
        yield found
    finally:
        sys.path.remove(str(room))
        for name in [name for name in sys.modules if name.startswith("odd_")]:
            del sys.modules[name]


def test_odd_specs_make_packages_that_mypy_takes(packages: dict[str, ModuleType], mypy_cache: Callable[[str], str]) -> None:
    room = Path(str(packages["empty"].__file__)).parents[2]
    command = [sys.executable, "-m", "mypy", "--strict", *(f"odd_{name}" for name in ACCEPTED)]
    environment = os.environ | {"MYPY_CACHE_DIR": mypy_cache("strict")}
    done = subprocess.run(command, cwd=room, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def payloads(module: ModuleType) -> list[type[Payload]]:
    found: list[Any] = [getattr(module, name) for name in module.__all__]
    return [one for one in found if isinstance(one, type) and issubclass(one, Payload)]


def test_what_odd_packages_make_their_readers_take(packages: dict[str, ModuleType]) -> None:
    made = 0
    for module in packages.values():
        for cls in payloads(module):
            for make in (cls, getattr(cls, "new", cls)):
                try:
                    payload = make()
                except TypeError:  # it has required fields
                    continue
                assert codec.check(cls, payload, codec.encode(payload)) is None
                made += 1
    assert made >= 4


def test_64_bits_go_from_end_to_end(packages: dict[str, ModuleType]) -> None:
    largest = packages["largest"].B
    for number in (0, 2**63 - 1, 2**63, 2**64 - 1):
        payload = largest(big=number, u=number)
        assert codec.check(largest, payload, codec.encode(payload)) is None
        assert codec.decode(largest, b'{"big": %d, "u": %d}' % (number, number), "odd.all") == payload
    for number in (-1, 2**64, 2**70):
        with pytest.raises(PayloadDecodeError):
            codec.decode(largest, b'{"big": %d, "u": 1}' % number, "odd.all")
        with pytest.raises(PayloadDecodeError):
            codec.decode(largest, b'{"big": 1, "u": %d}' % number, "odd.all")


@pytest.mark.parametrize("name", ["str", "type", "list", "tuple", "property", "classmethod"])
def test_a_token_keeps_its_name_in_the_pattern(packages: dict[str, ModuleType], name: str) -> None:
    subject = importlib.import_module(f"odd_token_{name}.subjects").all
    assert f"odd.all.{{{name}}}.{{number}}" == subject.PATTERN
    assert str(subject.from_tokens(["odd", "all", "eu", "7"])) == "odd.all.eu.7"


# ---- what a class itself gets wrong


class Fails(msgspec.Struct):
    x: int = 0

    def __post_init__(self) -> None:
        if self.x == 1:
            raise ZeroDivisionError("of its own")
        if self.x == 2:
            raise KeyError("of its own")


class Undecodable(msgspec.Struct):
    x: Annotated[int, msgspec.Meta(le=2**64)] = 0


@pytest.mark.parametrize(
    ("cls", "data", "words"),
    [
        (Fails, b'{"x": 1}', "ZeroDivisionError: of its own"),
        (Fails, b'{"x": 2}', "KeyError: 'of its own'"),
        (Undecodable, b"{}", "its class cannot be decoded: ValueError"),
    ],
)
def test_whatever_a_class_raises_the_message_cannot_be_decoded(cls: type, data: bytes, words: str) -> None:
    for _ in range(2):
        with pytest.raises(PayloadDecodeError, match=words.replace("(", r"\(")) as raised:
            codec.decode(cls, data, "odd.all")
        assert raised.value.raw == data
        assert isinstance(raised.value, SmithError)
