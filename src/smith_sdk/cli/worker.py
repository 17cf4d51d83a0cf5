"""`smith worker`: runs the workers of a module, in this process or in several side by side.

The main thread only waits, for signals and for the workers to end, so nothing that a handler does can keep it from either. The workers run
in threads: those of the blocking face as ever, those of the async face on one event loop, which their handlers may share.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import thread as pools
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Annotated, Any, Final, NoReturn

from cyclopts import Parameter
from cyclopts.validators import Number

from .._core.blocking.portal import Portal
from ..aio import AsyncSmithBus
from ..aio import Worker as AsyncWorker
from ..errors import OptionsError, SmithError
from ..sync import SmithBus, Worker
from .output import plain
from .processes import WRONG, Crew, Files, Lifeline, signals_into

log: Final = logging.getLogger("smith_sdk.cli")

AnyWorker = AsyncWorker[Any, Any] | Worker[Any, Any]

_CLOSE: Final = 10.0
"""Seconds that buses have to flush and close."""
_LATE: Final = 20.0
"""Seconds after the longest drain until a worker that still has not ended is left behind: something holds up its event loop."""
_LAST: Final = 1.0
"""Seconds for threads that have nothing to do any more to end."""


def worker(
    target: Annotated[str, Parameter(help="MODULE:OBJECT, a Worker at the top level of a module, or a list of them.")],
    /,
    *,
    processes: Annotated[
        int, Parameter(help="So many processes side by side, each with all of that.", validator=Number(gte=1, lte=256))
    ] = 1,
    reload: Annotated[bool, Parameter(negative="", help="Start anew when a .py file of the module's package changes.")] = False,
    lifeline: Annotated[int | None, Parameter(show=False)] = None,
) -> int:
    """Run workers until SIGTERM or Ctrl-C; then finish what was started, and exit with 0.

    The module is found in the current directory, too. Its workers may be of either face, and their buses are connected and closed here.
    A process of several that dies is replaced. Exit status 1 when a worker ends with an error, 2 when there is no such worker.
    """
    try:
        if lifeline is None and (processes > 1 or reload):
            _show_log()
            files = Files(_module_of(target)) if reload else None
            return Crew(["worker", target, "--processes", str(processes)], processes, files).run()
        return _work(target, processes, lifeline)
    except SmithError as error:
        print(f"smith: {plain(str(error))}", file=sys.stderr)
        return WRONG if isinstance(error, OptionsError) else 1


def _work(target: str, processes: int, lifeline: int | None) -> int:
    """The life of one process."""
    news: SimpleQueue[int | Exception | None] = SimpleQueue()
    with signals_into(news):
        parent = None if lifeline is None else Lifeline(lifeline, lambda: news.put(signal.SIGTERM))
        workers = find_workers(target)
        if processes > 1 and any(_bus_of(one)._server is not None for one in workers):
            raise OptionsError(
                f"--processes {processes}: a bus of {target} is embedded(), so each process would start a private server of its own: "
                f"give it the url of one that they share, such as that of `smith dev`"
            )
        _show_log()
        try:
            error = _run(workers, news, (lambda: None) if parent is None else parent.say_up)
        except SmithError as failure:  # a bus did not open
            error = failure
        if error is None:
            status = 0
        elif isinstance(error, SmithError):
            print(f"smith: {plain(str(error))}", file=sys.stderr)
            status = WRONG if isinstance(error, OptionsError) else 1
        else:
            log.error("a worker of %s ended with an error", target, exc_info=error)
            status = 1
        return _leave(status)


# ---- finding


def find_workers(target: str) -> list[AnyWorker]:
    """The workers that MODULE:OBJECT names. Raises `OptionsError`, and whatever importing the module does."""
    where, name = _module_of(target), target.partition(":")[2]
    try:
        module = import_module(where)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise  # something that the module itself needs
        raise OptionsError(f"no module {where} in {os.getcwd()}, nor is one installed or on PYTHONPATH") from None
    if not hasattr(module, name):
        there = [key for key, value in vars(module).items() if isinstance(value, (AsyncWorker, Worker))]
        raise OptionsError(f"module {where} has no {name}; the workers at its top level: {', '.join(there) or 'none'}")
    found = getattr(module, name)
    workers = list(found) if isinstance(found, (list, tuple)) else [found]
    for one in workers:
        if not isinstance(one, (AsyncWorker, Worker)):
            raise OptionsError(f"{target} has a {type(one).__name__} where a Worker is needed, or a list of them")
    if not workers:
        raise OptionsError(f"{target} is empty: a Worker is needed, or a list of them")
    return workers


def _module_of(target: str) -> str:
    """The module's name, which the current directory may have."""
    module, _, name = target.partition(":")
    if not (name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise OptionsError(f"{target!r} names no worker: MODULE:OBJECT does, such as jobs.thumbnails:worker")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return module


def _bus_of(one: AnyWorker) -> AsyncSmithBus:
    found: AsyncSmithBus = (one._aio if isinstance(one, Worker) else one)._bus
    return found


# ---- running


class _Together:
    """The buses of the async face, opened and closed as one, on one event loop."""

    def __init__(self, buses: Iterable[AsyncSmithBus]) -> None:
        self.portal = Portal("smith-worker")
        self.buses = tuple(buses)

    def connect(self) -> None:
        self.portal.open(self._connect, self._close, lambda: sum(len(bus._session.window) for bus in self.buses))

    def close(self) -> None:
        self.portal.close(_CLOSE)

    async def _connect(self) -> None:
        for bus in self.buses:
            await bus.connect()

    async def _close(self, timeout: float) -> None:
        await asyncio.gather(*(bus.close(timeout) for bus in self.buses))


def _run(workers: Sequence[AnyWorker], news: SimpleQueue[int | Exception | None], say_up: Callable[[], None]) -> Exception | None:
    """Connect the buses, run the workers until a signal or an error is in `news` or all have ended, close the buses.

    Returns what the first of them ended with. Raises what connecting does.
    """
    together = _Together({id(one._bus): one._bus for one in workers if isinstance(one, AsyncWorker)}.values())
    alone = {id(one._portal): SmithBus._wrap(one._portal, _bus_of(one)) for one in workers if isinstance(one, Worker)}
    buses: list[_Together | SmithBus] = [*([together] if together.buses else []), *alone.values()]
    running = [one if isinstance(one, Worker) else Worker[Any, Any]._wrap(together.portal, one) for one in workers]
    with contextlib.ExitStack() as closing:
        for bus in buses:
            bus.connect()
            closing.callback(bus.close)
        for one in running:
            threading.Thread(target=_run_one, args=(one, news), name=f"smith-worker-{one.spec.name}", daemon=True).start()
        say_up()
        log.info("at work: %s", ", ".join(one.spec.name for one in running))
        return _until_ended(running, news)


def _run_one(one: Worker[Any, Any], news: SimpleQueue[int | Exception | None]) -> None:
    try:
        one.run()
    except Exception as error:
        news.put(error)
    else:
        news.put(None)


def _until_ended(running: Sequence[Worker[Any, Any]], news: SimpleQueue[int | Exception | None]) -> Exception | None:
    """Wait for every worker to end. A signal stops all, and so does an error of one, which is returned."""
    error: Exception | None = None
    left, deadline = len(running), float("inf")
    longest = _LATE + max(one._aio._drain for one in running)
    while left:
        try:
            told = news.get(timeout=min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX))
        except Empty:
            log.error("%d workers have not stopped within %g s: the process ends without them", left, longest)
            _end(1)
        if isinstance(told, int):
            log.info("%s: finishing what was started", signal.Signals(told).name)
        else:
            left -= 1
            error = error or told
            if told is None:
                continue
        if deadline == float("inf"):
            deadline = time.monotonic() + longest
            for one in running:
                threading.Thread(target=_stop, args=(one,), daemon=True).start()
    return error


def _stop(one: Worker[Any, Any]) -> None:
    with contextlib.suppress(SmithError):  # it has ended, and so has its bus
        one.stop()


# ---- ending


def _leave(status: int) -> int:
    """Return `status`, unless a thread would keep the process from ending: then end it here."""
    until = time.monotonic() + _LAST
    for thread in _holding():
        thread.join(max(0.0, until - time.monotonic()))
    if names := [thread.name for thread in _holding()]:
        log.warning("still running: %s; all is flushed, and the process ends without them", ", ".join(names))
        _end(status)
    return status


def _holding() -> list[threading.Thread]:
    """The threads that the interpreter would wait for: those of pools too, which it joins although they may be daemons."""
    pooled = getattr(pools, "_threads_queues", ())  # CPython's own list of them
    return [one for one in threading.enumerate() if one is not threading.main_thread() and (not one.daemon or one in pooled)]


def _end(status: int) -> NoReturn:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it any more
            stream.flush()
    os._exit(status)


def _show_log() -> None:
    """What the SDK logs, on stderr; where the module has set logging up, as it has."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
