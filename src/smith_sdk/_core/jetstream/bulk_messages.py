"""What the batches of a bulk have in common: the checks of a message, its headers, its report."""

from __future__ import annotations

import time
from typing import Protocol

import msgspec

from ..connection.connection import Connection
from ..connection.headers import block_of
from ..connection.headers import write as write_headers
from ..events import Events, begin
from .ack_window import AckWindow
from .publish_events import Report, reporter, with_headers
from .publish_request import PublishRequest


class BulkMessage(msgspec.Struct, gc=False):
    """A message of a bulk that is not confirmed yet."""

    request: PublishRequest
    size: int
    report: Report | None
    number: int = 0
    """Its place in the bulk, from 0."""
    sent_at: float = 0.0

    def ended(self, error: BaseException | None) -> None:
        """Report to the observers, once, how it has ended."""
        report, self.report = self.report, None
        if report is not None:
            report(error)


class Publisher(Protocol):
    """What batches need of a session."""

    connection: Connection
    events: Events
    window: AckWindow


def prepared(session: Publisher, request: PublishRequest, ids: bool) -> tuple[BulkMessage, bytes]:
    """A message as a part of a batch, and its header block as it is on the wire.

    Raises `OptionsError` for an invalid message id or header, `PayloadTooLarge`.
    """
    report = None
    if session.events.observers:
        request, report = _observed(session, request)
    try:
        block = write_headers(request.msg_id, request.headers) if ids else block_of(request.headers) if request.headers else b""
        size = len(request.data) + len(block)
        if size > session.window.limits.always:
            session.window.limits.size_of(request)
    except Exception as error:
        if report is not None:
            report(error)
        raise
    return BulkMessage(request, size, report), block


def _observed(session: Publisher, request: PublishRequest) -> tuple[PublishRequest, Report]:
    """`request` with the headers of the tracer, and what reports how it has ended."""
    began = time.monotonic()
    events = session.events
    operation = None
    if events.tracer is not None:
        operation = begin(events.tracer.on_send, request)
        request = with_headers(session.window, request, operation.headers)

    return request, reporter(events, request, operation, began)
