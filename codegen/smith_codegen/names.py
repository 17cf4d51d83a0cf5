"""Names of the spec as names in Python."""

from __future__ import annotations

import re
from collections.abc import Container


def camel(name: str) -> str:
    """`fs.read.v1` -> FsReadV1, `intents.raw` -> IntentsRaw."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))


def snake(name: str) -> str:
    """`fs.read.v1` -> fs_read_v1, `executor-fs-read` -> executor_fs_read."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name)


def type_name(token: str, newtype: str | None) -> str:
    """The type of a token: its NewType, or for a closed set its own name."""
    return newtype or camel(token)


def member(value: str, family: str) -> str:
    """`fs.read.v1` of Intent -> FsReadV1Intent."""
    return f"{camel(value)}{family}"


def params(value: str) -> str:
    """`fs.read.v1` -> FsReadV1Params."""
    return f"{camel(value)}Params"


def module(name: str) -> str:
    """IntentResult -> _intent_result, HTTPRequest -> _http_request."""
    return "_" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def free(name: str, taken: Container[str]) -> str:
    """`name`, with as many `_` appended as make it one that is not `taken`."""
    while name in taken:
        name += "_"
    return name
