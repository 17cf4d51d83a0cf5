"""Asking the micro-services of the account about themselves, and collecting what they answer."""

from __future__ import annotations

import asyncio
from typing import Final, Generic

from ...errors import ConnectionLost, PermissionDenied, SmithError
from ..connection.connection import Connection
from ..connection.parser import RawMessage
from ..connection.state import Listener
from ..log_records import LogFields, sdk_logger
from .format import KINDS, PREFIX, ResponseT, decode

log: Final = sdk_logger("services")

_MOST: Final = 4096
"""Answers that are collected; any client that may subscribe to `$SRV` may send any number."""
_LARGEST: Final = 64 * 1024
"""Bytes of an answer. That of a worker is about 1 KiB."""
_TOTAL: Final = 16 * 1024 * 1024
"""Bytes of all."""


async def ask(connection: Connection, kind: type[ResponseT], *, seconds: float, name: str = "") -> tuple[ResponseT, ...]:
    """What all services of the account, or those of that name, answer within `seconds`.

    By name and id, each once. What is not a response of that kind is ignored; texts are as they
    were received. Returns early if no service listens. Raises `ConnectionLost` if there is no
    connection, or it is lost meanwhile, `PermissionDenied`, `BusClosed`.
    """
    subject = ".".join(filter(None, (PREFIX, KINDS[kind], name)))
    connection.require_link(subject)
    answers: _Answers[ResponseT] = _Answers(subject, kind)
    inbox = connection.new_inbox()
    connection.add_listener(answers)
    subscription = await connection.subscribe(inbox, answers.receive, answers.fail)
    try:
        await connection.publish(subject, b"", inbox)
        await asyncio.wait((answers.over,), timeout=seconds)
    finally:
        connection.remove_listener(answers)
        await subscription.unsubscribe()
        answers.over.cancel()
    if answers.over.done() and not answers.over.cancelled():
        answers.over.result()
    if answers.ignored:
        log.info(
            "%d answers to %s were ignored: they are invalid, or too many",
            answers.ignored,
            subject,
            extra=LogFields(subject=subject),
        )
    return tuple(sorted(answers.found.values(), key=lambda one: (one.name, one.id)))


class _Answers(Listener, Generic[ResponseT]):
    """The answers to one request, and what ends the wait for them."""

    def __init__(self, subject: str, kind: type[ResponseT]) -> None:
        self._subject = subject
        self._kind: type[ResponseT] = kind
        self._room = _TOTAL
        self.found: dict[tuple[str, str], ResponseT] = {}
        self.ignored = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done if no more can come, or none at all."""

    def receive(self, message: RawMessage) -> None:
        if not message.data and message.headers is not None and message.headers.get("Status") == "503":
            self._end(None)  # no responders
            return
        answer = None
        if len(message.data) <= min(_LARGEST, self._room) and len(self.found) < _MOST:
            self._room -= len(message.data)
            answer = decode(self._kind, message.data)
        if answer is None:
            self.ignored += 1
        else:
            self.found.setdefault((answer.name, answer.id), answer)

    def fail(self, error: SmithError) -> None:
        self._end(error)

    def on_disconnect(self) -> None:
        self._end(ConnectionLost(f"the connection was lost before {self._subject} was answered"))

    def on_move(self) -> None:
        """Answers on their way were waited for; later ones are received on the new link."""

    def on_refused(self, subject: str) -> None:
        if subject == self._subject:
            self._end(PermissionDenied(f"the server's permissions forbid publishing to {subject}", subject=subject))

    def on_close(self, error: SmithError) -> None:
        self._end(error)

    def _end(self, error: SmithError | None) -> None:
        if self.over.done():
            return
        if error is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(error)
