"""Publishing what is typed: the check that subject and payload belong together, the bytes, the message id."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from .._core import codec
from .._core.jetstream.publish_request import PubAck, PublishRequest
from .._core.jetstream.session import Session
from ..contract import Payload, new_uuid7
from ..errors import OptionsError, PayloadMismatch, SubjectMismatch
from ..options import to_seconds


def publish_request(
    session: Session,
    subject: Any,
    payload: Any,
    msg_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | timedelta | None = None,
    retry: bool = True,
) -> PublishRequest:
    """What `session.submit` takes, once everything about it is checked.

    Raises `SubjectMismatch`, `PayloadMismatch`, `OptionsError`.
    """
    where, data = checked(session, subject, payload)
    if subject.STREAM is None:
        raise SubjectMismatch(f"no stream keeps {where}: emit() it")
    if msg_id is None:
        identity = payload.ID_FIELD if isinstance(payload, Payload) else None
        msg_id = f"{where}:{getattr(payload, identity) if identity else new_uuid7()}"
    elif not isinstance(msg_id, str):
        raise OptionsError(f"msg_id={msg_id!r}: an id is a str, not {type(msg_id).__name__}")
    return PublishRequest(
        where,
        data,
        subject.STREAM,
        msg_id,
        None if headers is None else _checked_headers(headers),
        None if timeout is None else to_seconds("publish(timeout)", timeout),
        retry,
    )


async def publish(
    session: Session,
    subject: Any,
    payload: Any,
    msg_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | timedelta | None = None,
) -> PubAck:
    """Publish a payload and return its acknowledgement: `bus.publish`, for code that has a session.

    Raises what `publish_request` raises, and the error that the publish ends with.
    """
    return await (await session.submit(publish_request(session, subject, payload, msg_id, headers, timeout)))


def checked(session: Session, subject: Any, payload: Any) -> tuple[str, bytes]:
    """What to send, once it is sure that both belong together: not everything goes past a type checker."""
    if type(subject) not in session.known_subjects:
        session.contract.require(subject)
        session.known_subjects.add(type(subject))
    expected, where = subject.message_type, str(subject)
    if type(payload) is not expected:
        raise PayloadMismatch(
            f"{where} carries {getattr(expected, '__name__', expected)}, not {type(payload).__name__}", subject=where
        )
    try:
        return where, codec.encode(payload)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PayloadMismatch(
            f"the payload for {where} has something in it that JSON cannot say: {error}", subject=where
        ) from error


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(headers, Mapping):
        raise OptionsError(f"headers={headers!r}: a mapping of names to values is needed, not {type(headers).__name__}")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise OptionsError(f"header {name!r}: names and values are str, not {type(name).__name__} and {type(value).__name__}")
    return dict(headers)
