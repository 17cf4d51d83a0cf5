"""`smith worker`: runs the workers of a module, in this process or in several.

The main thread only waits for signals and for the workers to end, so no handler can keep it from
either. Each worker runs in a thread; those of the async face share one event loop.
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
from .._core.execution.stopping import SignalCount
from ..aio import AsyncSmithBus
from ..aio import Worker as AsyncWorker
from ..errors import OptionsError, SmithError
from ..sync import SmithBus, Worker
from .output import plain
from .processes import USAGE_ERROR, Files, Lifeline, ProcessGroup, signals_into

log: Final = logging.getLogger("smith_sdk.cli")

AnyWorker = AsyncWorker[Any, Any] | Worker[Any, Any]

_CLOSE: Final = 10.0
"""Maximum seconds for buses to flush and close."""
_LATE: Final = 20.0
"""Seconds after the longest drain until the process ends without its workers: a handler blocks an
event loop.
"""
_AT_ONCE: Final = 15.0
"""The same after a second signal; handlers have 5 seconds to be cancelled, and hooks another 5."""
_LAST: Final = 1.0
"""Seconds for idle threads to end."""


def worker(
    target: Annotated[str, Parameter(help="MODULE:OBJECT, a Worker or a list of Workers at the top level of a module.")],
    /,
    *,
    processes: Annotated[
        int, Parameter(help="Number of processes, each with all of the workers.", validator=Number(gte=1, lte=256))
    ] = 1,
    reload: Annotated[bool, Parameter(negative="", help="Restart when a .py file of the module's package changes.")] = False,
    lifeline: Annotated[int | None, Parameter(show=False)] = None,
) -> int:
    """Run workers until SIGTERM or Ctrl-C, then finish the messages in flight and exit with 0.

    The module may be in the current directory. Its workers may be of either face; this command
    connects and closes their buses. With --processes, a process that dies is replaced. Exit status
    1 if a worker ends with an error, 2 if there is no such worker.
    """
    try:
        if lifeline is None and (processes > 1 or reload):
            _show_log()
            files = Files(_module_of(target)) if reload else None
            return ProcessGroup(["worker", target, "--processes", str(processes)], processes, files).run()
        return _work(target, processes, lifeline)
    except SmithError as error:
        print(f"smith: {plain(str(error))}", file=sys.stderr)
        return USAGE_ERROR if isinstance(error, OptionsError) else 1


def _work(target: str, processes: int, lifeline: int | None) -> int:
    """Run the workers in this process."""
    events: SimpleQueue[int | Exception | None] = SimpleQueue()
    with signals_into(events):
        parent = None if lifeline is None else Lifeline(lifeline, lambda: events.put(signal.SIGTERM))
        workers = find_workers(target)
        if processes > 1 and any(_bus_of(one)._server is not None for one in workers):
            raise OptionsError(
                f"--processes {processes}: a bus of {target} is embedded(), so each process would start a private server: "
                f"pass it the url of a server that they share, such as that of `smith dev`"
            )
        _show_log()
        try:
            error = _run(workers, events, (lambda: None) if parent is None else parent.report_ready)
        except SmithError as failure:  # a bus did not open
            error = failure
        if error is None:
            status = 0
        elif isinstance(error, SmithError):
            print(f"smith: {plain(str(error))}", file=sys.stderr)
            status = USAGE_ERROR if isinstance(error, OptionsError) else 1
        else:
            log.error("a worker of %s ended with an error", target, exc_info=error)
            status = 1
        return _exit_status(status)


# ---- finding


def find_workers(target: str) -> list[AnyWorker]:
    """The workers that MODULE:OBJECT names.

    Raises `OptionsError`, and what importing the module raises.
    """
    where, name = _module_of(target), target.partition(":")[2]
    try:
        module = import_module(where)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise  # a module that this one imports
        raise OptionsError(f"no module {where} in {os.getcwd()}, installed, or on PYTHONPATH") from None
    if not hasattr(module, name):
        available = [key for key, value in vars(module).items() if isinstance(value, (AsyncWorker, Worker))]
        raise OptionsError(f"module {where} has no attribute {name}; workers at its top level: {', '.join(available) or 'none'}")
    found = getattr(module, name)
    workers = list(found) if isinstance(found, (list, tuple)) else [found]
    for one in workers:
        if not isinstance(one, (AsyncWorker, Worker)):
            raise OptionsError(f"{target} {'is' if one is found else 'contains'} a {type(one).__name__}, not a Worker")
    if not workers:
        raise OptionsError(f"{target} is empty: it must be a Worker or a list of Workers")
    return workers


def _module_of(target: str) -> str:
    """The module's name; puts the current directory into the path, where it may be."""
    module, _, name = target.partition(":")
    if not (name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise OptionsError(f"{target!r} is not a valid target: pass MODULE:OBJECT, such as jobs.thumbnails:worker")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return module


def _bus_of(one: AnyWorker) -> AsyncSmithBus:
    found: AsyncSmithBus = (one._aio if isinstance(one, Worker) else one)._bus
    return found


# ---- running


class _AsyncBuses:
    """The buses of the async face, on one event loop, opened and closed together."""

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


def _run(
    workers: Sequence[AnyWorker], events: SimpleQueue[int | Exception | None], report_ready: Callable[[], None]
) -> Exception | None:
    """Connect the buses, run the workers, close the buses.

    They run until a signal or an error is in `events`, or all have ended. Returns the first error
    of a worker. Raises what connecting raises.
    """
    together = _AsyncBuses({id(one._bus): one._bus for one in workers if isinstance(one, AsyncWorker)}.values())
    alone = {id(one._portal): SmithBus._wrap(one._portal, _bus_of(one)) for one in workers if isinstance(one, Worker)}
    buses: list[_AsyncBuses | SmithBus] = [*([together] if together.buses else []), *alone.values()]
    running = [one if isinstance(one, Worker) else Worker[Any, Any]._wrap(together.portal, one) for one in workers]
    with contextlib.ExitStack() as closing:
        for bus in buses:
            bus.connect()
            closing.callback(bus.close)
        for one in running:
            threading.Thread(target=_run_one, args=(one, events), name=f"smith-worker-{one.spec.name}", daemon=True).start()
        report_ready()
        log.info("running %s", ", ".join(one.spec.name for one in running))
        return _until_ended(running, events)


def _run_one(one: Worker[Any, Any], events: SimpleQueue[int | Exception | None]) -> None:
    try:
        one.run()
    except Exception as error:
        events.put(error)
    else:
        events.put(None)


def _until_ended(running: Sequence[Worker[Any, Any]], events: SimpleQueue[int | Exception | None]) -> Exception | None:
    """Wait for every worker to end. A signal stops all, and so does an error, which is returned.

    A second signal stops them at once.
    """
    error: Exception | None = None
    signals = SignalCount()
    left, deadline = len(running), float("inf")
    longest = _LATE + max(one._aio._drain for one in running)
    while left:
        try:
            event = events.get(timeout=min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX))
        except Empty:
            log.error("%d workers have not stopped within %g s: exiting without them", left, longest)
            _end(1)
        if isinstance(event, int):
            request = signals.arrived()
            if request == "second":
                longest, deadline = _AT_ONCE, min(deadline, time.monotonic() + _AT_ONCE)
                log.info("%s again: releasing the messages in flight", signal.Signals(event).name)
                _stop_all(running, now=True)
            if request != "first":
                continue
            log.info("%s: finishing the messages in flight", signal.Signals(event).name)
        else:
            left -= 1
            error = error or event
            if event is None:
                continue
        if deadline == float("inf"):
            deadline = time.monotonic() + longest
            _stop_all(running)
    return error


def _stop_all(running: Sequence[Worker[Any, Any]], *, now: bool = False) -> None:
    for one in running:
        threading.Thread(target=_stop, args=(one, now), daemon=True).start()


def _stop(one: Worker[Any, Any], now: bool) -> None:
    with contextlib.suppress(SmithError):  # it has ended, and so has its bus
        one.stop(now=now)


# ---- ending


def _exit_status(status: int) -> int:
    """Return `status`, unless a thread would keep the process from exiting: then exit here."""
    until = time.monotonic() + _LAST
    for thread in _blocking_exit():
        thread.join(max(0.0, until - time.monotonic()))
    if names := [thread.name for thread in _blocking_exit()]:
        log.warning("still running: %s; everything is flushed, exiting without them", ", ".join(names))
        _end(status)
    return status


def _blocking_exit() -> list[threading.Thread]:
    """The threads that the interpreter would wait for at exit."""
    # Those of pools as well, which it joins although they are daemons.
    pooled = getattr(pools, "_threads_queues", ())  # CPython's own list of them
    return [one for one in threading.enumerate() if one is not threading.main_thread() and (not one.daemon or one in pooled)]


def _end(status: int) -> NoReturn:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or its reader has ended
            stream.flush()
    os._exit(status)


def _show_log() -> None:
    """Log to stderr, unless the module has set logging up."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
