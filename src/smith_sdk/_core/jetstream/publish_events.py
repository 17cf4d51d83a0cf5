"""Reports how a publish ended to the observers of a bus. Used only while there are any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

from ..events import Events, Published
from .publish_request import PubAck, PublishRequest


async def observed(
    events: Events, request: PublishRequest, submitting: Awaitable[asyncio.Future[PubAck]]
) -> asyncio.Future[PubAck]:
    """Await `submitting`, and return a future that ends as its future does, observers first.

    Each publish is reported once: also one that was refused before it was sent, and, with a
    `CancelledError`, one whose caller has stopped waiting.
    """
    began = time.monotonic()

    def report(error: BaseException | None = None, *, duplicate: bool = False) -> None:
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

    try:
        ack = await submitting
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
