"""Requests over core NATS, and what their answers are: a reply, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .._core import codec
from .._core.connection import headers as header_block
from .._core.connection.parser import RawMessage
from .._core.connection.request_reply import NoResponders as Unanswered
from .._core.foreign_text import shortened
from .._core.jetstream.session import Session
from ..contract import AnySubject, RequestSubject
from ..errors import DeadlineExceeded, NoResponders, PayloadTooLarge, RequestTimeout, ServiceError, SubjectMismatch
from .publisher import checked, checked_headers

REQUEST_TIMEOUT: Final = 5.0
ERROR: Final = "Nats-Service-Error"
CODE: Final = "Nats-Service-Error-Code"
"""Headers of an answer that is an error: its description, and its code."""
UNKNOWN_CODE: Final = "500"
_SHOWN: Final = 512
"""Characters of a code or a description, which the service chooses."""


async def request(session: Session, subject: Any, payload: Any, timeout: float, headers: Mapping[str, str] | None = None) -> Any:
    """`bus.request`, for code that has a session."""
    where, data = checked(session, subject, payload)
    if not isinstance(subject, RequestSubject):
        raise SubjectMismatch(f"{where} has no reply: use {'emit' if subject.STREAM is None else 'publish'}()")
    block = header_block.block_of(checked_headers(headers, None)) if headers else b""
    session.require_open()
    session.connection.require_link(where)
    require_size(session, where, len(data) + len(block))
    try:
        answer = await session.requests.request(where, data, timeout=timeout, block=block)
    except Unanswered:
        raise NoResponders(f"no service listens on {where}: start one, or check its permissions", subject=where) from None
    except DeadlineExceeded as error:
        raise RequestTimeout(str(error), subject=where, timeout=timeout) from None
    refusal = error_of(subject, where, answer)
    if refusal is not None:
        raise refusal
    return codec.decode(subject.reply_type, answer.data, where)


def error_of(subject: AnySubject, where: str, answer: RawMessage) -> ServiceError | None:
    """The error that a service has answered a request to `where` with; None if it is a reply."""
    found = answer.headers
    if found is None or (ERROR not in found and CODE not in found):
        return None
    code = shortened(found.get(CODE, "") or UNKNOWN_CODE, _SHOWN)
    declared: tuple[type[ServiceError], ...] = getattr(subject, "ERRORS", ())
    kind = next((one for one in declared if code == one.CODE), ServiceError)
    return kind(shortened(found.get(ERROR, ""), _SHOWN), code=code, subject=where, data=answer.data)


def require_size(session: Session, where: str, size: int) -> None:
    """Raise `PayloadTooLarge` if the connected server does not accept `size` bytes."""
    if size > (limit := session.connection.max_payload):
        raise PayloadTooLarge(
            f"the payload for {where} has {size} bytes; the connected server accepts {limit}",
            subject=where,
            size=size,
            limit=limit,
        )
