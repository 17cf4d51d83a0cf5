"""Publishing what is typed: the check that subject and payload belong together, the bytes, the message id."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from .._core import codec
from .._core.jetstream.ack_window import PubAck
from .._core.jetstream.session import Session
from ..contract import Payload, new_uuid7
from ..errors import OptionsError, PayloadMismatch, SubjectMismatch
from ..options import to_seconds


def submit(
    session: Session,
    subject: Any,
    payload: Any,
    msg_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | timedelta | None = None,
    retry: bool = True,
) -> Coroutine[Any, Any, asyncio.Future[PubAck]]:
    """To the stream that keeps `subject`, by way of the window: what is wrong is raised here, the rest is in the coroutine.

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
    return session.submit(
        where,
        data,
        stream=subject.STREAM,
        msg_id=msg_id,
        headers=None if headers is None else _checked_headers(headers),
        timeout=None if timeout is None else to_seconds("publish(timeout)", timeout),
        retry=retry,
    )


async def publish(
    session: Session,
    subject: Any,
    payload: Any,
    msg_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | timedelta | None = None,
    retry: bool = True,
) -> PubAck:
    """`submit`, and wait for the acknowledgement. Raises also what becomes of it."""
    return await (await submit(session, subject, payload, msg_id, headers, timeout, retry))


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
