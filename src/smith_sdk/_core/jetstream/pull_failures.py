"""The errors that end a pull loop, and finding out which of them it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ...errors import ConsumerNotFound, JetStreamError, PermissionDenied, SmithError, StreamNotFound
from ..log_records import ConsumerLog
from .api_errors import APPLY
from .delivery import ACK_PREFIX
from .pull_status import PullStatus, StatusKind

Diagnose = Callable[[], Awaitable[SmithError | None]]
"""Called when no server answers a pull.

Returns the error that says why none ever will, or None if asking again may help.
"""


class PullCause:
    """Finds out why pulls of `consumer` are not answered."""

    def __init__(self, stream: str, consumer: str, diagnose: Diagnose, log: ConsumerLog) -> None:
        self._stream = stream
        self._consumer = consumer
        self.diagnose = diagnose
        self._log = log

    async def find(self) -> SmithError | None:
        """Why none ever will be; None if asking again may help, or that is not known."""
        try:
            return await self.diagnose()
        except SmithError as failure:
            self._log.info("%s/%s: why pulls are not answered is not known yet: %s", self._stream, self._consumer, failure)
            return None

    async def of_deletion(self) -> SmithError:
        """The server sends the same status for a deleted consumer and for a deleted stream."""
        error = await self.find()
        return error if isinstance(error, StreamNotFound) else consumer_deleted(self._stream, self._consumer)


def refusal(stream: str, consumer: str, status: PullStatus) -> JetStreamError:
    """The server refused a pull, and will refuse the next one."""
    problem = f"refused a pull: {status.code} {status.description}"
    if status.kind is StatusKind.PUSH_BASED:
        problem = f"delivers to a subject (push), so it cannot be pulled from: delete it, then {APPLY}"
    return JetStreamError(f"consumer {consumer} of stream {stream} {problem}", code=status.code, stream=stream, consumer=consumer)


def consumer_deleted(stream: str, consumer: str) -> ConsumerNotFound:
    return ConsumerNotFound(
        f"consumer {consumer} of stream {stream} was deleted while it was read: {APPLY}",
        err_code=10014,
        code=409,
        stream=stream,
        consumer=consumer,
    )


def may_not_ack(stream: str, consumer: str) -> PermissionDenied:
    subject = f"{ACK_PREFIX}{stream}.{consumer}.>"
    return PermissionDenied(
        f"the server's permissions forbid acknowledging messages of consumer {consumer} of stream {stream}, so each will be "
        f"redelivered after its ack wait: allow the user to publish to {subject}",
        subject=subject,
    )


def may_not_pull(subject: str) -> PermissionDenied:
    return PermissionDenied(f"the server's permissions forbid pulling from {subject}", subject=subject)
