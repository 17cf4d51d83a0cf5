"""Log records as text, and their values as JSON."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

import msgspec

from .foreign_text import escape_control, without_secrets

_TEXT: Final = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
_FURTHER: Final = re.compile(r"\n(?=\S)")


class TextFormatter(logging.Formatter):
    """Lines for people. Control characters are escaped, or they would control the terminal, and
    further lines of a record are indented, or they could look like records of their own."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(_FURTHER.sub("\n  ", escape_control(super().format(record))))


def raw_json(value: Any) -> msgspec.Raw:
    """`value` as JSON; what JSON does not have becomes text."""
    try:
        return msgspec.Raw(msgspec.json.encode(value, enc_hook=text_of))
    except Exception:  # of the value's own methods, or a text that is not valid Unicode
        return msgspec.Raw(msgspec.json.encode(text_of(value)))


def text_of(value: Any) -> str:
    """`str(value)` as valid Unicode, whatever its methods do."""
    try:
        return str(value).encode("utf-8", "backslashreplace").decode()
    except Exception as error:
        return f"(a {type(value).__name__}, whose __str__ raised {type(error).__name__})"
