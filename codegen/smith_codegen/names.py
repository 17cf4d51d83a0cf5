"""Names of the spec as names in Python."""

from __future__ import annotations

import keyword
import re
from collections.abc import Container, Iterable
from typing import Final

_TAKEN: Final = frozenset(
    (
        "bool",
        "bytes",
        "classmethod",
        "cls",
        "dict",
        "float",
        "int",
        "list",
        "new",
        "property",
        "self",
        "str",
        "to_dict",
    )
)
"""Names that generated payload classes use: a field called `str` would hide the type, one called
`to_dict` the method."""


_TOKENS_TAKEN: Final = frozenset(
    (
        "absent",
        "bool",
        "bytes",
        "classmethod",
        "cls",
        "dict",
        "envelope",
        "filter",
        "format",
        "found",
        "from_tokens",
        "int",
        "isinstance",
        "key",
        "len",
        "list",
        "members",
        "match",
        "message",
        "message_type",
        "messages",
        "of",
        "patterns",
        "property",
        "read",
        "reply_type",
        "self",
        "sorted",
        "str",
        "text",
        "tokens",
        "tuple",
        "type",
        "with_headers",
    )
)
"""Names that generated subject classes and their modules use."""


def camel(name: str) -> str:
    """`fs.read.v1` -> FsReadV1, `intents.raw` -> IntentsRaw."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))


def snake(name: str) -> str:
    """`fs.read.v1` -> fs_read_v1, `executor-fs-read` -> executor_fs_read."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name)


def member(value: str, family: str) -> str:
    """`fs.read.v1` of Intent -> FsReadV1Intent."""
    return f"{camel(value)}{family}"


def params(value: str) -> str:
    """`fs.read.v1` -> FsReadV1Params."""
    return f"{camel(value)}Params"


def module(name: str) -> str:
    """IntentResult -> _intent_result, HTTPRequest -> _http_request."""
    return "_" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def attribute(field: str) -> str:
    """The attribute of a field: `from` -> from_, since the word is taken by Python, or by payload
    classes."""
    return f"{field}_" if keyword.iskeyword(field) or field in _TAKEN else field


def token(name: str) -> str:
    """The attribute of a token in its subjects: `message` -> message_."""
    return f"{name}_" if keyword.iskeyword(name) or name in _TOKENS_TAKEN else name


def values(name: str) -> str:
    """The set of the values of a closed set: `level`, Level -> LEVEL_VALUES."""
    return f"{module(name)[1:].upper()}_VALUES"


def wire(field: str, name: str | None, rename: str | None) -> str:
    """The key of a field in JSON: its `name`, or the field as the message's `rename` writes it."""
    if name is not None or rename is None:
        return field if name is None else name
    words = field.split("_")
    if rename == "upper":
        return field.upper()
    if rename == "kebab":
        return "-".join(words)
    pascal = "".join(word.capitalize() for word in words)
    return pascal if rename == "pascal" else pascal[:1].lower() + pascal[1:]


def free(name: str, taken: Container[str]) -> str:
    """`name`, with as many `_` appended as make it one that is not `taken`."""
    while name in taken:
        name += "_"
    return name


def free_of(name: str, forms: Iterable[str], taken: Container[str]) -> str:
    """The same for a name of which several are made, such as "One{}"."""
    while any(form.format(name) in taken for form in forms):
        name += "_"
    return name
