"""The portal: an event loop in a daemon thread, and every way in which the blocking face reaches into it.

A waiting call is one crossing: a future, a task, a wake-up. Work that nobody waits for (acks, pipelined publishes) is handed over in
lanes, where one wake-up of the loop serves all that has gathered. An iterator crosses once a batch, never once an item.

What cannot work is refused at once: from a forked child (its copy of the loop's thread does not exist), from inside a running event
loop (it would stop that loop), from the portal's own thread (it would wait for itself).
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import inspect
import logging
import os
import signal
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, ClassVar, Final, Generic, ParamSpec, Protocol, Self, TypeVar, cast

from ..errors import BlockingCallError, BusClosed, SmithError

log: Final = logging.getLogger("smith_sdk.portal")

T = TypeVar("T")
P = ParamSpec("P")

_CANCEL_GRACE: Final = 10.0
_EXIT_GRACE: Final = 2.0
_LANE_LIMIT: Final = 4096
_BATCH: Final = 256
_open_portals: Final[weakref.WeakSet[Portal]] = weakref.WeakSet()


class Portal:
    """An event loop of its own, in a thread of its own. `start` it, `call` into it from any other thread, `close` it."""

    def __init__(self, name: str = "smith-sdk") -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._posts = _Lane()
        self._submits = _Lane(_LANE_LIMIT)
        self.unflushed: Callable[[], int] = lambda: 0
        """How much its owner would lose if the process ended now; asked at exit."""
        self.shutdown: Callable[[], Coroutine[Any, Any, None]] | None = None
        """What its owner wants done at exit when nobody closed it."""

    def start(self) -> None:
        """Start the thread; safe to repeat. Raises `BlockingCallError` from where a call could not work either."""
        self._check()
        if self._thread is not None:
            return
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run_loop, args=(loop,), name=self._name, daemon=True)
        self._loop, self._thread = loop, thread
        self._posts.loop = self._submits.loop = loop
        thread.start()
        _open_portals.add(self)

    @property
    def is_running(self) -> bool:
        """Whether it was started and not closed, in this process."""
        return self._thread is not None and self._pid == os.getpid()

    def _check(self) -> None:
        if self._pid != os.getpid():
            raise BlockingCallError(
                f"this bus was made in process {self._pid} and cannot be used in its forked child {os.getpid()}: "
                f"make a bus of its own in the child"
            )
        if threading.current_thread() is self._thread:
            raise BlockingCallError(
                "the blocking face was called on its own event loop's thread: it would wait for itself for ever"
            )
        if asyncio._get_running_loop() is not None:
            raise BlockingCallError(
                "the blocking face was called inside a running event loop, which it would stop: use AsyncSmithBus and await there"
            )

    def _ready(self) -> asyncio.AbstractEventLoop:
        self._check()
        if self._loop is None or self._thread is None:
            raise BusClosed("the bus is not connected: call connect(), or use it in a `with` block")
        return self._loop

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(*args, **kwargs)` in the loop and return what it returns, or raise what it raises.

        An exception in the waiting thread (Ctrl-C above all) cancels the work, waits for it to end, and is raised then.
        """
        loop = self._ready()
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        tasks: list[asyncio.Task[None]] = []

        async def work() -> None:
            try:
                result = await function(*args, **kwargs)
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)

        def begin() -> None:
            task = loop.create_task(work())
            tasks.append(task)
            # Here and not in `work`, which never runs when it is cancelled before its first step.
            task.add_done_callback(lambda _: outcome.cancel() and outcome.set_running_or_notify_cancel())

        loop.call_soon_threadsafe(begin)
        try:
            return outcome.result()
        except concurrent.futures.CancelledError:
            raise BusClosed("the bus was closed while the call waited") from None
        except BaseException:
            if not outcome.done():
                loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
                concurrent.futures.wait([outcome], timeout=_CANCEL_GRACE)
            raise

    def run(self, function: Callable[[], Awaitable[T]], stop: Callable[[], Awaitable[None]]) -> T:
        """Like `call`; on the main thread SIGTERM and SIGINT meanwhile run `stop` in the loop, so that `function` ends by itself."""
        loop = self._ready()
        if threading.current_thread() is not threading.main_thread():
            return self.call(function)
        tasks: set[asyncio.Future[None]] = set()

        def on_signal(number: int, frame: object) -> None:
            loop.call_soon_threadsafe(lambda: tasks.add(asyncio.ensure_future(stop())))

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            return self.call(function)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def post(self, work: Awaitable[None]) -> None:
        """Hand over `work` and go on; it runs after all that was posted before. What it raises is logged."""
        if self._pid != os.getpid() or self._loop is None:
            if inspect.iscoroutine(work):
                work.close()
            self._ready()
        self._posts.put(work)

    def submit(self, work: Coroutine[Any, Any, asyncio.Future[T]]) -> concurrent.futures.Future[T]:
        """Hand over `work`, which returns a future in its turn; return that future for threads. Blocks while the lane is full."""
        try:
            self._ready()
        except BaseException:
            work.close()
            raise
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._submits.put(_chain(work, outcome), outcome)
        return outcome

    async def flush(self) -> None:
        """Return once everything that was posted or submitted so far has run."""
        await self._submits.flush()
        await self._posts.flush()

    def close(self) -> None:
        """Run what was handed over, end every task, stop the loop, join the thread. Safe to repeat, never longer than 20 seconds."""
        if self._pid != os.getpid() or self._loop is None or self._thread is None:
            return
        self._check()
        loop, thread = self._loop, self._thread
        _open_portals.discard(self)
        try:
            self.call(_finish)
        finally:
            self._loop = self._thread = None
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=_CANCEL_GRACE)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _finish() -> None:
    """Cancel what still runs in the loop, and wait for it."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest, timeout=_CANCEL_GRACE)


async def _chain(work: Awaitable[asyncio.Future[T]], outcome: concurrent.futures.Future[T]) -> None:
    if not outcome.set_running_or_notify_cancel():
        return
    try:
        future = await work
    except asyncio.CancelledError:
        outcome.set_exception(BusClosed("the bus was closed before this was sent"))
        raise
    except BaseException as error:
        outcome.set_exception(error)
        return

    def settle(done: asyncio.Future[T]) -> None:
        if done.cancelled():
            outcome.set_exception(BusClosed("the bus was closed before the acknowledgement came"))
        elif (error := done.exception()) is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(done.result())

    future.add_done_callback(settle)


class _Lane:
    """Work handed over by threads, run in order by one task in the loop; one wake-up serves all that has gathered."""

    def __init__(self, limit: int | None = None) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._limit = limit
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._queue: deque[tuple[Awaitable[None], concurrent.futures.Future[Any] | None]] = deque()
        self._running = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, work: Awaitable[None], outcome: concurrent.futures.Future[Any] | None = None) -> None:
        """Hand over `work`; waits while the lane is full. `outcome` gets `BusClosed` if `work` never runs."""
        assert self.loop is not None
        with self._lock:
            while self._limit is not None and len(self._queue) >= self._limit and not self._closed:
                self._room.wait()
            self._queue.append((work, outcome))
            if self._closed:
                self._drop()
                raise BusClosed("the bus is closed")
            if self._running:
                return
            self._running = True
        self.loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        self._task = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        batch: deque[tuple[Awaitable[None], concurrent.futures.Future[Any] | None]] = deque()
        try:
            while True:
                with self._lock:
                    batch, self._queue = self._queue, batch
                    if not batch:
                        self._running = False
                        return
                    self._room.notify_all()
                while batch:
                    work, _ = batch.popleft()
                    try:
                        await work
                    except SmithError as error:
                        log.warning("%s", error)
                    except Exception:
                        log.exception("work handed over by the blocking face failed")
        except asyncio.CancelledError:
            with self._lock:
                self._closed = True
                self._running = False
                self._queue.extendleft(reversed(batch))
                self._drop()
                self._room.notify_all()
            raise

    def _drop(self) -> None:
        while self._queue:
            work, outcome = self._queue.popleft()
            if inspect.iscoroutine(work):
                work.close()
            if outcome is not None and not outcome.done():
                outcome.set_exception(BusClosed("the bus was closed before this was sent"))

    async def flush(self) -> None:
        """Return once everything that was handed over so far has run."""
        while self._running:
            if self._task is not None and not self._task.done():
                await asyncio.wait({self._task})
            else:
                await asyncio.sleep(0)


# ---- what generated classes of the blocking face are made of


class Blocking:
    """A blocking object: the async one behind it, and the portal to reach it through."""

    __slots__ = ("_aio", "_portal")

    _aio: Any
    _portal: Portal

    @classmethod
    def _wrap(cls, portal: Portal, aio: Any) -> Self:
        self = cls.__new__(cls)
        self._adopt(portal, aio)
        return self

    def _adopt(self, portal: Portal | None, aio: Any) -> None:
        """Become the blocking side of `aio`; None for a portal of its own."""
        self._portal = Portal() if portal is None else portal
        self._aio = aio

    def __repr__(self) -> str:
        return repr(self._aio)


class BlockingBus(Blocking):
    """The owner of a portal: starts it when it connects, ends it when it closes."""

    __slots__ = ()

    @classmethod
    def _made(cls, aio: Any) -> Self:
        return cls._wrap(Portal(), aio)

    def _connect(self, connect: Callable[[], Awaitable[None]]) -> None:
        portal = self._portal
        if portal.is_running:
            portal.call(connect)  # which says that it is connected already
            return
        portal.start()
        try:
            portal.call(connect)
        except BaseException:
            portal.close()
            raise
        aio = self._aio
        portal.unflushed = lambda: len(aio._session.window)
        portal.shutdown = partial(_flush_and_close, portal, aio.close)

    def _close(self, close: Callable[..., Awaitable[None]], *args: Any) -> None:
        portal = self._portal
        if not portal.is_running:
            return
        try:
            portal.call(_flush_and_close, portal, close, *args)
        finally:
            portal.close()


async def _flush_and_close(portal: Portal, close: Callable[..., Awaitable[None]], *args: Any) -> None:
    await portal.flush()
    await close(*args)


class _Batches(Protocol):
    _here: deque[Any]
    """What this thread may take; the async object still answers for what is in it."""

    async def _batch(self, limit: int) -> None:
        """Put up to `limit` items into `_here`, at least one; none at the end."""

    def _made(self, raw: Any) -> Any:
        """The async item of one thing in `_here`."""


ItemT_co = TypeVar("ItemT_co", bound=Blocking, covariant=True)


class BlockingIterator(Blocking, Generic[ItemT_co]):
    """Iterates over an async iterator, crossing into the loop once a batch; ends when that does."""

    __slots__ = ()

    _item: ClassVar[type[Blocking]]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ItemT_co:
        aio: _Batches = self._aio
        try:
            raw = aio._here.popleft()
        except IndexError:
            self._portal.call(aio._batch, _BATCH)
            try:
                raw = aio._here.popleft()
            except IndexError:
                raise StopIteration from None
        item: Any = self._item._wrap(self._portal, aio._made(raw))
        return cast("ItemT_co", item)


# ---- the end of the process


def _at_exit() -> None:
    """Give every bus that nobody closed a moment to flush, and say so when that was not enough; never hang."""
    for portal in tuple(_open_portals):
        if portal._pid != os.getpid() or portal._loop is None:
            continue
        if portal.shutdown is None:
            continue
        closing = asyncio.run_coroutine_threadsafe(portal.shutdown(), portal._loop)
        concurrent.futures.wait([closing], timeout=_EXIT_GRACE)
        lost = portal.unflushed() + len(portal._submits) + len(portal._posts)
        if lost:
            warnings.warn(
                f"the process ends with {lost} unflushed messages on a SmithBus that was never closed: use it in a `with` block",
                RuntimeWarning,
                stacklevel=1,
            )


atexit.register(_at_exit)
