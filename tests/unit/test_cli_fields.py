"""Payloads from the words of a command line, typed by the contract."""

from __future__ import annotations

from typing import Any

import pytest

from smith_sdk.cli.fields import build, describe, read_words
from smith_sdk.contract import Payload
from smith_sdk.errors import OptionsError
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params, HttpFetchV1Params, IntentResult, LogEntry, ShellExecV1Params


@pytest.mark.parametrize(
    ("cls", "words", "expected"),
    [
        (FsReadV1Params, ["path=/etc/hostname"], FsReadV1Params(path="/etc/hostname")),
        (FsReadV1Params, ["path=5", "max_bytes=10"], FsReadV1Params(path="5", max_bytes=10)),
        (FsReadV1Params, ["path=a=b", "follow_symlinks=true"], FsReadV1Params(path="a=b", follow_symlinks=True)),
        (FsReadV1Params, ["path=", "max_bytes=null"], FsReadV1Params(path="")),
        (ShellExecV1Params, ["command=ls", 'args:=["-l"]'], ShellExecV1Params(command="ls", args=["-l"])),
        (ShellExecV1Params, ["command=ls", 'args=["-l"]'], ShellExecV1Params(command="ls", args=["-l"])),
        (ShellExecV1Params, ["command=ls", 'env={"A": "1"}'], ShellExecV1Params(command="ls", env={"A": "1"})),
        (ShellExecV1Params, ["command=null", "stdin:=null"], ShellExecV1Params(command="null")),
        (HttpFetchV1Params, ["url=x", 'headers.Accept:="a"'], HttpFetchV1Params(url="x", headers={"Accept": "a"})),
    ],
)
def test_words_are_read_by_the_type_of_their_field(cls: Any, words: list[str], expected: Any) -> None:
    assert build(cls, read_words(words), "it") == expected


def test_fields_are_filled_in_and_dots_lead_into_nested_payloads() -> None:
    intent = build(FsReadV1Intent, read_words(["domain=d", "params.path=/x", "params.max_bytes=3", "metadata.a=1"]), "it")
    assert (intent.domain, intent.params, intent.metadata) == ("d", FsReadV1Params(path="/x", max_bytes=3), {"a": 1})
    assert intent.id
    assert intent.ttl_ms == 300_000


@pytest.mark.parametrize(
    ("cls", "words", "said"),
    [
        (
            FsReadV1Params,
            ["pth=/x"],
            r"it has no field pth; did you mean path\?; it has path \(text, required\), max_bytes \(a whole",
        ),
        (FsReadV1Params, [], r"it needs path \(text\)"),
        (FsReadV1Params, ["path"], '"path" is not KEY=VALUE, such as path=/etc/hostname'),
        (FsReadV1Params, ["--path=/x"], "there is no option --path; values have no dashes"),
        (FsReadV1Params, ["path=a", "path=b"], "path is given more than once"),
        (FsReadV1Params, ["path=/x", "max_bytes=many"], 'it: max_bytes: "many" is not a whole number, such as 10'),
        (FsReadV1Params, ["path=/x", "max_bytes=1.5"], "it: max_bytes: Expected `int | null`, got `float`; it takes a whole"),
        (FsReadV1Params, ["path=/x", "follow_symlinks=yes"], 'follow_symlinks: "yes" is not true or false'),
        (FsReadV1Params, ["path:=5"], "it: path: Expected `str`, got `int`; it takes text"),
        (FsReadV1Params, ["path:=x"], "it: path: 'x' is not JSON"),
        (FsReadV1Params, ["path.a=1"], "it: path has no fields of its own: it takes text"),
        (ShellExecV1Params, ["command=ls", "args=-l"], r'args: "-l" is not a JSON list, such as \["a", "b"\]'),
        (ShellExecV1Params, ["command=ls", "args:=[1]"], r"args: Expected `str`, got `int` - at `\$\[0\]`"),
        (FsReadV1Intent, ["domain=d", "params.pth=1"], r"it: params has no field pth; did you mean path\?"),
        (FsReadV1Intent, ["domain=d", "params.path=/x", "ttl_ms=-1"], "ttl_ms: Expected `int` >= 0"),
        (FsReadV1Intent, ["domain=d", 'params={"path": "/x"}', "params.path=/y"], "params and params.path exclude each other"),
        (LogEntry, ["level=loud"], r"level: .*; it takes one of DEBUG \| ERROR \| INFO \| TRACE \| WARN"),
    ],
)
def test_what_is_wrong_names_the_field_and_what_it_takes(cls: Any, words: list[str], said: str) -> None:
    with pytest.raises(OptionsError, match=said.replace("`int | null`", r"`int \| null`")):
        build(cls, read_words(words), "it")


class Odd(Payload, frozen=True, kw_only=True):
    """Every type that a spec has and that Smith's own does not use in a field."""

    blob: bytes
    share: float = 0.0
    anything: Any = None
    flags: list[bool] | None = None


def test_fields_of_the_other_types_of_a_spec() -> None:
    assert build(Odd, read_words(["blob=aGk="]), "it") == Odd(blob=b"hi")
    found = build(Odd, read_words(["blob=", "share=5", "anything=text", "flags=[true]"]), "it")
    assert found == Odd(blob=b"", share=5.0, anything="text", flags=[True])
    assert build(Odd, read_words(["blob=", "anything=5"]), "it").anything == 5
    for word, said in (("blob=?", "it takes base64 text"), ("share=NaN", '"NaN" is not a number, such as 0.5')):
        with pytest.raises(OptionsError, match=said):
            build(Odd, read_words(["blob=", word] if "blob" not in word else [word]), "it")


def test_a_description_has_every_field() -> None:
    shown = describe(IntentResult)
    for name in IntentResult.__struct_fields__:
        assert name in shown
