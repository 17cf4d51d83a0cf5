"""What JetStream refuses, and streams that differ from the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ._base import LONGEST, SmithError

GivenT = TypeVar("GivenT")


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


class BulkError(JetStreamError):
    """A bulk was not stored as a whole; `stream` (str) is its stream.

    Its messages are numbered from 0, in the order of sending. Stored are those before
    `resume_from`, except `failures`.

    - `mode` (str): how it was published: "window", "atomic" or "fast".
    - `sent` (int): how many messages it had so far.
    - `resume_from` (int): the number of the message to go on with; `sent`, if the others were tried
      all the same. `__cause__` is why the bulk ended there.
    - `failures` (dict of int to `SmithError`): earlier messages that failed, by their numbers.
    - `may_be_stored` (bool): whether the stream may have some of what remains. Sending that again
      is safe if the messages carry ids.
    - `seq` (int): the last sequence that the stream told; 0 if none.
    """

    def __init__(
        self,
        message: str,
        *,
        stream: str,
        mode: str,
        sent: int,
        resume_from: int,
        failures: dict[int, SmithError],
        may_be_stored: bool,
        seq: int,
        err_code: int = 0,
        code: int = 0,
    ) -> None:
        super().__init__(message, err_code=err_code, code=code, stream=stream)
        self.mode = mode
        self.sent = sent
        self.resume_from = resume_from
        self.failures = failures
        self.may_be_stored = may_be_stored
        self.seq = seq

    def remaining(self, given: Sequence[GivenT]) -> list[GivenT]:
        """What to send again, of all that the bulk was given."""
        return [one for number, one in enumerate(given) if number >= self.resume_from or number in self.failures]


class TopologyDrift(SmithError):
    """Streams or consumers on the server differ from the contract.

    `differences` (tuple of str) describes each difference in one line.
    """

    _limit = LONGEST

    def __init__(self, message: str, *, differences: tuple[str, ...]) -> None:
        super().__init__(message)
        self.differences = differences


class PlanOutdated(SmithError):
    """`stream`, or its `consumer` (str or None), has changed since the plan was made.

    It was left as it is. Make a new plan.
    """

    _limit = LONGEST

    def __init__(self, message: str, *, stream: str, consumer: str | None = None) -> None:
        super().__init__(message)
        self.stream = stream
        self.consumer = consumer


class MessagesStranded(SmithError):
    """Carrying out a plan would leave `messages` stored messages without a reader.

    They are in `stream` on `subjects` (tuple of str); `consumer` (str or None) reads them now.
    The step was not carried out.
    """

    _limit = LONGEST

    def __init__(self, message: str, *, stream: str, consumer: str | None, subjects: tuple[str, ...], messages: int) -> None:
        super().__init__(message)
        self.stream = stream
        self.consumer = consumer
        self.subjects = subjects
        self.messages = messages
