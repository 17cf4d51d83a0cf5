# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.bulk`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from .._core.blocking.faces import Blocking
from .._core.jetstream.bulk_result import BulkResult, BulkWay
from ..contract import Envelope, MessageT, PayloadOf, StreamSubject

__all__ = ["Bulk", "BulkResult"]


class Bulk(Blocking):
    """Many messages for one stream; see `bus.bulk`. Use it in an `with` block.

    At the end of the block every message is stored, or it raises `BulkError`, which tells where to
    go on. If the block ends with an exception, an atomic batch stores nothing; in the other modes
    what was added may be stored.
    """

    __slots__ = ()

    def __enter__(self) -> Self:
        self._portal.call(self._aio.__aenter__)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._portal.call(self._aio.__aexit__, kind, error, traceback)

    def add(
        self,
        subject: StreamSubject[MessageT],
        payload: PayloadOf[MessageT],
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a message, or keep it for the end of an atomic batch. `msg_id` and `headers` are as
        in `bus.publish`.

        Waits for room among the messages that are not acknowledged, never for one of its own. What
        is wrong with the message is raised here, and it is then not a part of the bulk:
        `SubjectMismatch` (also for a subject of another stream), `PayloadMismatch`,
        `PayloadTooLarge`, `NoInterest`, `PublishCircuitOpen`, `OptionsError`. Raises `BulkError`
        once an earlier message has ended the bulk.
        """
        self._portal.call(self._aio.add, subject, payload, msg_id=msg_id, headers=headers)

    def add_many(self, envelopes: Iterable[Envelope]) -> None:
        """`add` for each: `subject.envelope(payload)` makes an envelope. Raises what it raises, and
        those after that are not added."""
        self._portal.call(self._aio.add_many, tuple(envelopes))

    def commit(self) -> BulkResult:
        """End the bulk before the end of the block; return what has become of it.

        Raises `BulkError` if some message is not stored.
        """
        found: BulkResult = self._portal.call(self._aio.commit)
        return found

    @property
    def result(self) -> BulkResult:
        """What has become of it, once it has ended well. Raises `OptionsError` before."""
        found: BulkResult = self._aio.result
        return found

    @property
    def mode(self) -> BulkWay:
        """How it is published: "window", "atomic" or "fast"; `reason` tells why."""
        found: BulkWay = self._aio.mode
        return found

    @property
    def reason(self) -> str:
        """Why it is published in that way, as text."""
        found: str = self._aio.reason
        return found
