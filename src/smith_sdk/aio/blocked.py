"""Logs the handler that blocks the event loop, while it does so."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final

from .log_fields import message_fields
from .message import Message

log: Final = logging.getLogger("smith_sdk.worker")

# Frames in these are between the worker and the handler's own function.
_LIBRARIES: Final = tuple(os.path.dirname(file) + os.sep for file in (os.path.dirname(__file__), asyncio.__file__))


def report_blocked(
    owner: object, attempt: CodeType, name_of: Callable[[Message[Any, Any]], str], seconds: float, frame: FrameType | None
) -> bool:
    """Log the handler that the loop's thread is in; False if it is in none of `owner`.

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
        return False
    message = frame.f_locals["message"]
    log.warning(
        "%s: handler %s has blocked the event loop for %.1f s, at %s:%d: nothing else runs there, not even what keeps messages from "
        "being redelivered; make it a plain function, which runs in a thread, or call what blocks with asyncio.to_thread",
        message.metadata.consumer,
        name_of(message),
        seconds,
        handler.f_code.co_filename,
        handler.f_lineno,
        extra=message_fields(message),
    )
    return True
