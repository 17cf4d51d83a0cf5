"""The errors that end a pull loop, made from a status of the server."""

from __future__ import annotations

from ...errors import ConsumerNotFound, JetStreamError, PermissionDenied
from .api_errors import APPLY
from .delivery import ACK_PREFIX
from .pull_status import PullStatus, StatusKind


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
