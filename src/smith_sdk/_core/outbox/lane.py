"""A lane: the messages of an outbox for one stream, sent in order, each until the stream has it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from ...contract import Placed
from ...errors import (
    CircuitOpen,
    ConnectionLost,
    ContractError,
    NoInterest,
    OptionsError,
    OutboxError,
    PayloadTooLarge,
    PermissionDenied,
    PublishError,
    PublishUnconfirmed,
    SmithError,
    WrongSequence,
    WrongStream,
)
from ...options import Backoff
from ..foreign_text import error_text, one_line
from ..jetstream.publish_request import PubAck, PublishRequest
from ..jetstream.session import Session
from ..log_records import LogFields, sdk_logger
from ..sharding.placing import placed_bytes, sharding_of
from .commits import GroupCommits
from .file import Clock, Kept, OutboxDatabase, Waiting
from .turns import Turns

log: Final = sdk_logger("outbox")

DUPLICATE: Final = ("Smith-Outbox", "possible-duplicate")
"""The header of a message that its stream may have already, and may have forgotten the id of."""
_MOST: Final = 256
"""Messages that are read, sent and deleted together."""
_MOST_BYTES: Final = 1024 * 1024
_PAUSE: Final = Backoff(initial=0.1, max=2.0, multiplier=2.0, jitter=0.5)
_REFUSED: Final = (PayloadTooLarge, NoInterest, WrongStream, WrongSequence, OptionsError, ContractError)
"""Answers that are the same each time."""
_CLIENT_ERROR: Final = range(400, 500)
"""The status codes of a request that is wrong in itself."""


def is_refusal(error: SmithError, request: PublishRequest) -> bool:
    """Whether sending `request` again cannot help, as far as can be told."""
    if isinstance(error, CircuitOpen):
        return False
    if isinstance(error, _REFUSED):
        return True
    if isinstance(error, PermissionDenied):  # about its own subject, and not about the acks' inbox
        return error.subject == request.subject
    return isinstance(error, PublishError) and error.code in _CLIENT_ERROR


def may_be_stored(error: SmithError) -> bool:
    """Whether the stream may have the message whose publish ended with `error`."""
    if isinstance(error, PublishUnconfirmed):
        return error.may_be_stored
    if isinstance(error, WrongStream):
        return not error.err_code
    return isinstance(error, ConnectionLost)


class _Page:
    """Messages that are sent together, and what became of them."""

    def __init__(self, messages: Sequence[Waiting] = ()) -> None:
        self.messages = messages
        self.done: list[int] = []
        self.refused: list[tuple[int, str]] = []
        self.unsent = {one.id for one in messages if one.sent_at is None}
        """Those that the stream cannot have, although the file has them as sent."""
        self.trouble: SmithError | None = None
        """Why one of them has to be sent again."""

    def sent(self, message: Waiting, future: asyncio.Future[PubAck]) -> None:
        """Sending `message` has begun, and ends with `future`."""
        self.unsent.discard(message.id)
        future.add_done_callback(partial(self._ended, message))

    def _ended(self, message: Waiting, future: asyncio.Future[PubAck]) -> None:
        if future.cancelled():
            self.trouble = self.trouble or ConnectionLost("the bus has ended")
        elif (error := future.exception()) is None:
            self.done.append(message.id)
        else:
            self.failed(message, error if isinstance(error, SmithError) else ConnectionLost(error_text(error)))

    def failed(self, message: Waiting, error: SmithError) -> None:
        """Sending `message` has ended with `error`."""
        if message.sent_at is None and not may_be_stored(error):
            self.unsent.add(message.id)
        if is_refusal(error, message.request):
            self.refused.append((message.id, one_line(f"{type(error).__name__}: {error}")))
        else:
            self.trouble = self.trouble or error


class Lane:
    """Sends the messages of `stream` that are in the file, as long as there are any.

    `settled(removed, failed)` is called with what has left the file, and what waits no more. Ends
    by itself once nothing waits; `kick` begins again.
    """

    def __init__(
        self,
        session: Session,
        commits: GroupCommits,
        clock: Clock,
        stream: str,
        settled: Callable[[list[Kept], list[Kept]], None],
    ) -> None:
        self.stream = stream
        self.waiting = 0
        """Messages that wait in the file, or are being written there."""
        self.trouble: SmithError | None = None
        """Why they wait although there is a link."""
        self.turns = Turns()
        self.up = asyncio.Event()
        """Set while there is a link."""
        self._session = session
        self._commits = commits
        self._clock = clock
        self._settled = settled
        self._remembered = session.resend_seconds(stream)
        # A full stream refuses one message and takes the next if that is smaller, or if there is
        # room by then. In a stream that drops the oldest instead, none overtakes another.
        self._one_by_one = not session.drops_oldest(stream)
        self._hurry = asyncio.Event()
        self._kicked = False
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def kick(self, *, hurry: bool = False) -> None:
        """There is something to send; with `hurry`, a pause after a failure ends now."""
        self._kicked = True
        if hurry:
            self._hurry.set()
        if self._task is None and not self._closing:
            # Not in the context of whoever happens to kick it: what it sends is of many callers.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())

    async def finish(self) -> None:
        """Send what waits, up to the first failure; then end."""
        self._closing = True
        self._hurry.set()
        if (task := self._task) is not None:
            if not self.up.is_set():
                task.cancel()
            await asyncio.wait((task,))

    def cancel(self) -> None:
        """End now: what has no acknowledgement is sent again by the next bus with the file."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()

    async def end(self) -> None:
        """`cancel`, and wait until it has ended."""
        self.cancel()
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        # Pages grow from one message while all goes well: after a failure, one is tried alone.
        page, size, failures = _Page(), 1, 0
        try:
            while True:
                if not self._closing:
                    await self.up.wait()
                self._kicked = False
                is_last = self._closing and (failures > 0 or not self.up.is_set())
                page = await self._turn(page, 0 if is_last else size)
                if is_last or not (page.messages or page.trouble or self._kicked):
                    return
                await self._send(page)
                if page.trouble is None:
                    self._go_on(len(page.done))
                    size, failures = min(2 * size, _MOST), 0
                else:
                    self._wait_with(page.trouble)
                    size, failures = 1, 1 if page.done else failures + 1
                    page = await self._turn(page, 0)
                    await self._pause(failures)
        except asyncio.CancelledError:
            # What was acknowledged need not be sent again. No caller waits for that.
            self._commits.run(partial(_take, page, self.stream, 0, self._clock.now()))
            raise
        except Exception:
            log.exception("sending the messages of outbox %s has failed", self._commits.path)
        finally:
            self._task = None
            self.turns.open()

    async def _turn(self, page: _Page, size: int) -> _Page:
        """Settle `page`, and read the next one of up to `size` messages, in one transaction.

        If the file cannot be written, return `page`, which is settled next time, as in trouble.
        """
        try:
            removed, failed, messages = await self._commits.run(partial(_take, page, self.stream, size, self._clock.now()))
        except OutboxError as error:
            page.messages, page.trouble = (), error
            return page
        if failed:
            log.error(
                "stream %s refused %d of outbox %s, which are kept as failed: %s",
                self.stream,
                len(failed),
                self._commits.path,
                page.refused[-1][1],
                extra=LogFields(stream=self.stream),
            )
        self._settled(removed, failed)
        return _Page(messages)

    async def _send(self, page: _Page) -> None:
        """Send a page in order, and wait for what becomes of it."""
        latest: dict[str | int, asyncio.Future[PubAck]] = {}
        sent: list[asyncio.Future[PubAck]] = []
        now = self._clock.now()
        for message in page.messages:
            try:
                shard = self._own_shard(message.request)
            except SmithError as error:
                page.failed(message, error)
                continue
            # Of a shard, those with one key: if the first is refused since the number of shards was
            # changed, the next one has another subject.
            turn = message.request.subject if shard is None else shard.key_hash
            if (self._one_by_one or shard is not None) and turn in latest:
                await asyncio.wait((latest[turn],))
            if page.trouble is not None or not self.up.is_set():
                break
            try:
                # Past the stream's circuit: a lane has pauses, and probes, of its own.
                future = await self._session.submit(self._marked(message, self._rendered(message.request, shard), now))
            except SmithError as error:
                page.failed(message, error)
                continue
            page.sent(message, future)
            sent.append(future)
            latest[turn] = future
        if sent:
            await asyncio.wait(sent)

    def _own_shard(self, request: PublishRequest) -> Placed | None:
        """Where a message of a shard goes; None if it has none.

        Raises `ContractError` for a message of another contract, since the file may be another
        program's, and for one of a shard whose payload has no valid key.
        """
        contract = self._session.contract
        subject = contract.parse(request.subject)
        if request.stream != contract.stream_of(subject):
            raise OptionsError(
                f"{request.subject} belongs to another stream than {request.stream}: flush it with its own contract"
            )
        spec = sharding_of(contract, subject)
        return None if spec is None else placed_bytes(spec, subject, request.data)

    def _rendered(self, request: PublishRequest, shard: Placed | None) -> PublishRequest:
        """`request` in the layout that holds now. The file has its subject of before."""
        if shard is None:
            return request
        subject, stream = shard.under(self._session.layouts.publishing(shard.spec))
        return msgspec.structs.replace(request, subject=subject, stream=stream, shard=shard)

    def _marked(self, message: Waiting, request: PublishRequest, now: float) -> PublishRequest:
        """What is sent: marked if the stream may have it, and may have forgotten its id."""
        if message.sent_at is None:
            return request
        # Ids are remembered by stream, and a shard of another layout may be in another one.
        if request.stream == self.stream and 0 <= now - message.sent_at < self._remembered:
            return request
        headers = {**(request.headers or {}), DUPLICATE[0]: DUPLICATE[1]}
        return msgspec.structs.replace(request, headers=headers)

    # ---- what is in the way

    def _wait_with(self, error: SmithError) -> None:
        if self.trouble is None:
            fields = LogFields(stream=self.stream, error_type=type(error).__name__)
            log.warning(
                "outbox %s has %d for stream %s, which wait: %s",
                self._commits.path,
                self.waiting,
                self.stream,
                error,
                extra=fields,
            )
        self.trouble = error
        self.turns.open()

    def _go_on(self, count: int) -> None:
        if self.trouble is not None:
            log.info(
                "stream %s takes messages of outbox %s", self.stream, self._commits.path, extra=LogFields(stream=self.stream)
            )
            self.trouble = None
        self.turns.shrunk(count)

    async def _pause(self, failures: int) -> None:
        if self._closing:
            return
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE.delay(failures)):
                await self._hurry.wait()


def _take(page: _Page, stream: str, size: int, now: float, file: OutboxDatabase) -> tuple[list[Kept], list[Kept], list[Waiting]]:
    removed, failed = file.remove(page.done), file.fail(page.refused, now)
    file.unsend(tuple(page.unsent))
    return removed, failed, file.next(stream, count=size, size=_MOST_BYTES, now=now)
