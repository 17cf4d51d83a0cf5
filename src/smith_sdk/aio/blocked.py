"""Logs the handler that blocks the event loop, while it does so."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final

from .._core.log_records import sdk_logger
from .log_fields import message_fields
from .message import Message

log: Final = sdk_logger("worker")

# Frames in these are between the worker and the handler's own function.
_LIBRARIES: Final = tuple(os.path.dirname(file) + os.sep for file in (os.path.dirname(__file__), asyncio.__file__))


def report_blocked(
    owner: object,
    attempt: CodeType,
    name_of: Callable[[Message[Any, Any]], str],
    ack_wait: float,
    seconds: float,
    frame: FrameType | None,
) -> str | None:
    """Log the handler that the loop's thread is in, and return its name; None if it is in none of
    `owner`.

    `frame` is the innermost one. `attempt` is the code that runs handlers, with `owner` as its
    `self` and the message as `message`.
    """
    handler = frame
    while frame is not None:
        if frame.f_code is attempt and frame.f_locals.get("self") is owner:
            break
        if not frame.f_code.co_filename.startswith(_LIBRARIES):
            handler = frame
        frame = frame.f_back
    if frame is None or handler is None:
        return None
    message = frame.f_locals["message"]
    blocker = f"{message.metadata.consumer}: {name_of(message)}"
    log.warning(
        "%s has blocked the event loop for %.1f s, at %s:%d in %s, with the message on %s, seq %d: nothing else runs there, and no "
        "message is acknowledged or kept in progress: after the ack wait of %g s those in flight are redelivered while they still run "
        "here; make it a plain function that is not inline, which runs in a thread, or call what blocks with asyncio.to_thread",
        blocker,
        seconds,
        handler.f_code.co_filename,
        handler.f_lineno,
        handler.f_code.co_name,
        message._raw.subject,
        message.metadata.stream_seq,
        ack_wait,
        extra=message_fields(message),
    )
    return blocker
