"""Loggers of the SDK, and what their records carry beside their text: fields, and tracebacks.

Every logger of the SDK comes from `sdk_logger`, so that no record shows the text of a stranger as
it is. The fields have the same names in all records, so that a log can be searched by them. None is
an attribute of `logging.LogRecord`, which `extra` may not overwrite.
"""

from __future__ import annotations

import logging
import textwrap
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, TypedDict

from .foreign_text import bounded, error_text, escape_control, without_secrets


class LogFields(TypedDict, total=False):
    """The names for `extra`."""

    stream: str
    consumer: str
    subject: str
    seq: int
    """The message's sequence in its stream."""
    attempt: int
    """The number of this delivery, from 1."""
    error_type: str
    """The class of the exception that the record is about."""
    msg_id: str
    intent_id: str
    server: str
    """The URL of a server, without credentials."""
    rule: str
    """The name of a rule of back pressure or of alerts."""


CORRELATION: Final = ContextVar("smith_sdk.correlation_id", default="")
"""What the code that runs is about: of a worker's handler the id of its intent."""
FIELDS: Final = tuple(LogFields.__annotations__)

ConsumerLog = logging.LoggerAdapter[logging.Logger]

_STANDARD: Final = frozenset((*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName"))
_INDENT: Final = "  "
_MAX_TRACEBACK: Final = 32 * 1024
"""Characters of a traceback, whose end has the error."""


def sdk_logger(name: str) -> logging.Logger:
    """The logger `smith_sdk.{name}`, whose records quote nothing that a terminal would obey."""
    # A filter of the logger `smith_sdk` would see its own records alone, not those of its children.
    found = logging.getLogger(f"smith_sdk.{name}")
    found.addFilter(escape_foreign_text)  # which does nothing if it is there already
    return found


def consumer_log(stream: str, consumer: str) -> ConsumerLog:
    """The log of one reader of `consumer`, whose records have both as fields."""
    return logging.LoggerAdapter(sdk_logger("consume"), LogFields(stream=stream, consumer=consumer))


def escape_foreign_text(record: logging.LogRecord) -> bool:
    """A filter: escape and bound what a record quotes, so that it controls no terminal and forges
    no line of the log, and set `error_type` if it is about an exception.

    The former holds for its text, its fields, and its traceback, each line of which is indented.
    """
    error = _error_of(record)
    record.msg = escape_control(record.msg, keep_layout=False) if isinstance(record.msg, str) else _Escaped(record.msg)
    if isinstance(record.args, tuple):
        record.args = tuple(map(_escaped, record.args))
    elif record.args:
        record.args = {name: _escaped(value) for name, value in record.args.items()}
    fields = {name: _line(value) for name, value in vars(record).items() if name not in _STANDARD and isinstance(value, str)}
    vars(record).update(fields)
    if error is not None:
        vars(record).setdefault("error_type", type(error).__name__)
    # A formatter takes `exc_text`, where it is set, in place of a traceback of its own.
    if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None and not record.exc_text:
        record.exc_text = _traceback(record.exc_info[1])
    return True


def extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields that `record` was given as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def traceback_text(record: logging.LogRecord) -> str:
    """The traceback that `record` has: escaped, bounded and indented; empty without one."""
    if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
        return _traceback(record.exc_info[1])
    return escape_control(bounded(without_secrets(record.exc_text or ""), _MAX_TRACEBACK))


def _error_of(record: logging.LogRecord) -> BaseException | None:
    """The exception that `record` is about: that of its traceback, else the first in its text."""
    if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
        return record.exc_info[1]
    arguments = record.args.values() if isinstance(record.args, Mapping) else record.args or ()
    return next((one for one in arguments if isinstance(one, BaseException)), None)


def _line(text: str) -> str:
    # The end of a URL's password may be cut off: what is left of it would not be known as one.
    return bounded(without_secrets(escape_control(text, keep_layout=False)))


def _escaped(argument: object) -> object:
    if argument is None or isinstance(argument, (int, float)) or (isinstance(argument, str) and _line(argument) == argument):
        return argument
    return _Escaped(argument)


class _Escaped:
    """An argument of a record, whose text is made when, and if, the record is formatted."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return _line(error_text(self._value) if isinstance(self._value, BaseException) else str(self._value))

    def __repr__(self) -> str:
        return _line(repr(self._value))


def _traceback(error: BaseException) -> str:
    # The text of the error is in it, and may have lines that look like records of the log.
    text = without_secrets(escape_control("".join(traceback.format_exception(error)).rstrip("\n")))
    if len(text) > _MAX_TRACEBACK:
        head, tail = text[: _MAX_TRACEBACK // 4], text[-_MAX_TRACEBACK * 3 // 4 :]
        text = f"{head}\n[... {len(text) - len(head) - len(tail):,} characters ...]\n{tail}"
    return textwrap.indent("\n".join(map(bounded, text.split("\n"))), _INDENT)
