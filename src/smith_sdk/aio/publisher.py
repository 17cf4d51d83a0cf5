"""From a typed subject and payload to a `PublishRequest`: the checks, the bytes, the message id."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, get_args

import msgspec

from .._core import codec
from .._core.connection.headers import require_publishers
from .._core.foreign_text import shortened
from .._core.jetstream.publish_request import PubAck, PublishRequest
from .._core.jetstream.session import Session
from ..contract import Envelope, SubjectWithHeaders, new_uuid7
from ..errors import OptionsError, PayloadMismatch, PublishManyError, SmithError, SubjectMismatch
from ..options import to_seconds
from .shard_placement import layout_of, placed

_SHOWN: Final = 256
"""Characters of a field's name, and of what is wrong with it, that an error shows."""

_YIELD_EVERY: Final = 64
"""Messages after which `publish_many` lets the loop run: it sends what was written and reads
acks."""

Submit = Callable[[PublishRequest], Awaitable[asyncio.Future[Any]]]
SubmitNow = Callable[[PublishRequest], asyncio.Future[Any] | None]


def publish_request(
    session: Session,
    subject: Any,
    payload: Any,
    msg_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | timedelta | None = None,
    retry: bool = True,
) -> PublishRequest:
    """Check the arguments of `bus.publish`, and make the request that `session.submit` takes.

    Raises `SubjectMismatch`, `PayloadMismatch`, `InvalidShardKey`, `OptionsError`.
    """
    typed: dict[str, str] | None = None
    if type(subject) is SubjectWithHeaders:
        subject, typed = subject.target, subject.wire
    where, data = checked(session, subject, payload, typed is not None)
    stream, shard, name = subject.STREAM, None, where
    if type(subject) in session.sharded_subjects and (shard := placed(session, subject, where, payload)) is not None:
        where, stream = shard.under(layout_of(session, shard.spec))
        name = shard.head  # the same in every layout, so that its stream drops what is sent again in another
    if stream is None:
        raise SubjectMismatch(f"no stream keeps {where}: use emit()")
    own = None if headers is None else checked_headers(headers, msg_id)
    if typed is not None:
        own = _joined(where, typed, own)
    if msg_id is None:
        identity = getattr(payload, "ID_FIELD", None)
        msg_id = f"{name}:{getattr(payload, identity) if identity else new_uuid7()}"
    elif not isinstance(msg_id, str):
        raise OptionsError(f"msg_id={msg_id!r}: must be a str, not {type(msg_id).__name__}")
    return PublishRequest(
        where,
        data,
        stream,
        msg_id,
        own,
        None if timeout is None else to_seconds("publish(timeout)", timeout),
        retry,
        shard,
    )


async def publish(
    session: Session,
    subject: Any,
    payload: Any,
    msg_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | timedelta | None = None,
    guarded: bool = False,
) -> PubAck:
    """Publish a payload and return its acknowledgement: `bus.publish`, for code that has a session.

    `guarded`: through the circuit of its stream, for publishes of callers; see `Session.submit`.
    Raises what `publish_request` raises, and the error that the publish ends with.
    """
    request = publish_request(session, subject, payload, msg_id, headers, timeout)
    future = session.submit_now(request, guarded=guarded)
    return await (await session.submit(request, guarded=guarded) if future is None else future)


async def publish_many(
    session: Session, now: SubmitNow, submit: Submit, envelopes: Iterable[Envelope], timeout: float | None, retry: bool
) -> list[Any]:
    """`bus.publish_many`: each request goes to `now`, and to `submit` if that returns None."""
    outcomes: list[Any] = []  # of each message: its future while it is in flight, then what that ends with
    try:
        for envelope in envelopes:
            try:
                request = _request_of(session, envelope, timeout, retry)
                future = now(request)
                outcomes.append(await submit(request) if future is None else future)
                if not len(outcomes) % _YIELD_EVERY:
                    await asyncio.sleep(0)
            except SmithError as error:
                outcomes.append(error)
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, asyncio.Future):
                try:
                    outcomes[index] = await outcome
                except SmithError as error:
                    outcomes[index] = error
    except BaseException:
        abandon(outcomes)
        raise
    if any(isinstance(one, SmithError) for one in outcomes):
        raise PublishManyError(tuple(outcomes))
    return outcomes


def _request_of(session: Session, envelope: Envelope, timeout: float | None, retry: bool) -> PublishRequest:
    try:
        return publish_request(session, envelope.subject, envelope.payload, None, None, timeout, retry)
    except AttributeError:
        if isinstance(envelope, Envelope):
            raise
        raise SubjectMismatch(
            f"publish_many takes what subject.envelope(payload) returns, not {type(envelope).__name__}"
        ) from None


def abandon(outcomes: Iterable[Any]) -> None:
    """Cancel the futures in flight. Reads the errors of the others, or asyncio would log them."""
    for outcome in outcomes:
        if isinstance(outcome, asyncio.Future) and not outcome.cancel() and not outcome.cancelled():
            outcome.exception()


def checked(session: Session, subject: Any, payload: Any, has_headers: bool = False) -> tuple[str, bytes]:
    """The subject and the payload as sent: a str and bytes. `has_headers`: those that the subject
    declares are there.

    Raises `SubjectMismatch` and `PayloadMismatch`: callers without a type checker may pass
    anything.
    """
    if type(subject) not in session.known_subjects:
        session.require_subject(subject, has_headers)
    where = str(subject)
    return where, encoded(session, where, subject.message_type, payload)


def encoded(session: Session, where: str, expected: Any, payload: Any) -> bytes:
    """The bytes of a `payload` for the subject `where`, which carries `expected`.

    Raises `PayloadMismatch`.
    """
    if type(payload) is not expected:
        if type(payload) not in get_args(expected):  # the members of a union
            raise PayloadMismatch(f"{where} carries {codec.name_of(expected)}, not {type(payload).__name__}", subject=where)
        expected = type(payload)
    try:
        data = payload if expected is bytes else codec.to_json(payload)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        field = codec.unencodable(payload)
        field, why = shortened(field, _SHOWN), shortened(str(error), _SHOWN)
        at = f" - at `$.{field}`" if field else ""
        raise PayloadMismatch(
            f"the payload for {where} has a value that JSON cannot represent: {why}{at}",
            subject=where,
            field=field,
        ) from error
    if session.validate and expected is not bytes:
        problem = codec.check(expected, payload, data)
        if problem is not None:
            field, why = problem
            raise PayloadMismatch(
                f"the payload for {where} is not a valid {expected.__name__}, no reader could decode it: {why} - at `$.{field}`",
                subject=where,
                field=field,
            )
    return data


def _joined(where: str, typed: dict[str, str], own: dict[str, str] | None) -> dict[str, str]:
    """The headers that a subject declares, and the others of a publish."""
    twice = [name for name in own or () if name in typed]
    if twice:
        raise OptionsError(f"header {twice[0]} is declared for {where}: give it to with_headers() alone")
    return {**typed, **(own or {})}


def checked_headers(headers: Mapping[str, str], msg_id: str | None) -> dict[str, str]:
    if not isinstance(headers, Mapping):
        raise OptionsError(f"headers={headers!r}: must be a mapping of names to values, not {type(headers).__name__}")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise OptionsError(
                f"header {name!r}: name and value must be str, not {type(name).__name__} and {type(value).__name__}"
            )
        if name[:5].lower() in ("nats-", "smith"):
            require_publishers(name, value, msg_id)
    return dict(headers)
