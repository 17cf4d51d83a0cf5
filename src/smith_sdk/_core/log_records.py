"""What log records of the SDK carry beside their text: fields, and the traceback of a handler.

The names are the same in all records, so that a log can be searched by them. None is an attribute
of `logging.LogRecord`, which `extra` may not overwrite.
"""

from __future__ import annotations

import logging
import traceback
from typing import Final, TypedDict

from .foreign_text import escape_control


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


FIELDS: Final = tuple(LogFields.__annotations__)

ConsumerLog = logging.LoggerAdapter[logging.Logger]


def consumer_log(stream: str, consumer: str) -> ConsumerLog:
    """The log of one reader of `consumer`, whose records have both as fields."""
    return logging.LoggerAdapter(logging.getLogger("smith_sdk.consume"), LogFields(stream=stream, consumer=consumer))


def escape_foreign_text(record: logging.LogRecord) -> bool:
    """A filter for loggers whose records quote what messages contain: nothing there is obeyed by a
    terminal that shows the log.
    """
    if isinstance(record.args, tuple):
        record.args = tuple(_escaped(one) for one in record.args)
    if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None and not record.exc_text:
        record.exc_text = escape_control("".join(traceback.format_exception(record.exc_info[1])).rstrip("\n"))
    return True


def _escaped(argument: object) -> object:
    return escape_control(str(argument)) if isinstance(argument, (str, BaseException)) else argument
