"""Reports a publish to the observers of a bus, and how it ended. Used only while there are any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import msgspec

from ...errors import SmithError
from ..events import Events, Operation, Published, Tracer, begin, end
from .ack_window import AckWindow
from .publish_request import PubAck, PublishRequest

Submit = Callable[[PublishRequest], Awaitable[asyncio.Future[PubAck]]]

_MAX_HEADERS: Final = 60 * 1024
"""Bytes of headers beyond which none is added: the server refuses more than 64 KiB."""
_BLOCK: Final = 64
"""Bytes of a header block beside the headers, at most."""


class Report(Protocol):
    """Reports how a publish has ended: with `error`, or without one."""

    def __call__(self, error: BaseException | None = None, *, duplicate: bool = False) -> None: ...


def reporter(events: Events, request: PublishRequest, operation: Operation | None, began: float) -> Report:
    """What ends `operation`, and reports `request` to the observers."""

    def report(error: BaseException | None = None, *, duplicate: bool = False) -> None:
        if operation is not None:
            end(operation, error)
        events.published(
            Published(
                subject=request.subject,
                stream=request.stream,
                msg_id=request.msg_id,
                size=len(request.data),
                seconds=time.monotonic() - began,
                error=error,
                duplicate=duplicate,
            )
        )

    return report


async def observed(events: Events, request: PublishRequest, window: AckWindow, submit: Submit) -> asyncio.Future[PubAck]:
    """`submit(request)`; return a future that ends as its future does, observers first.

    Each publish is reported once: also one that was refused before it was sent, and, with a
    `CancelledError`, one whose caller has stopped waiting. A tracer may add headers.
    """
    began = time.monotonic()
    operation = None
    if events.tracer is not None:
        operation = begin(events.tracer.on_send, request)
        request = with_headers(window, request, operation.headers)

    report = reporter(events, request, operation, began)
    try:
        ack = await submit(request)
    except (Exception, asyncio.CancelledError) as error:
        report(error)
        raise
    # A second future: reading the error of the first one, as is done here, would keep asyncio from
    # logging it where the caller never looks at it.
    shown: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()

    def ended(_: asyncio.Future[PubAck]) -> None:
        if ack.cancelled():
            report(asyncio.CancelledError())
            shown.cancel()
        elif (error := ack.exception()) is not None:
            report(error)
            if not shown.done():
                shown.set_exception(error)
        else:
            report(duplicate=ack.result().duplicate)
            if not shown.done():
                shown.set_result(ack.result())

    ack.add_done_callback(ended)
    shown.add_done_callback(lambda _: ack.cancel())  # does nothing unless the caller has cancelled it
    return shown


def created(tracer: Tracer, window: AckWindow, request: PublishRequest) -> PublishRequest:
    """`request` with the headers of `tracer`, for a message that may be sent later."""
    operation = begin(tracer.on_create, request)
    end(operation)
    return with_headers(window, request, operation.headers)


def with_headers(window: AckWindow, request: PublishRequest, headers: Mapping[str, str] | None) -> PublishRequest:
    """`request` with `headers`, unless they would make it too large: no message is lost by them."""
    if headers is None:
        return request
    added = msgspec.structs.replace(request, headers=dict(headers))
    size = _BLOCK + 4 * len(request.msg_id) + sum(len(name) + 4 * len(value) + 4 for name, value in headers.items())
    if size > _MAX_HEADERS:
        return request
    if len(request.data) + size > window.limits.always:
        try:
            window.limits.size_of(added)
        except SmithError:
            return request
    return added
