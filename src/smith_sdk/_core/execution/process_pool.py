"""Processes that run a function, one call at a time, and are killed if that takes too long.


A process is started by "spawn": the function, its argument and its result are pickled, and the
process imports what they need. It ends when its pipe is closed, so it outlives its parent by at
most one call.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

from ...errors import HandlerProcessDied, HandlerTimeout

_START: Final = 60.0
"""Seconds for a process to import what it needs."""


class WorkerProcess:
    """One process for `function`.

    Call `ready` before the first `call`, and `kill` at the end, from any thread.
    """

    def __init__(self, name: str, function: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, function), name=name, daemon=True)
        self._process.start()
        theirs.close()

    def ready(self) -> None:
        """Wait until it can take a call. Raises `HandlerProcessDied`."""
        try:
            self._answer(_START, "import its handler")
        except HandlerTimeout as error:
            raise HandlerProcessDied(str(error)) from None

    def call(self, argument: Any, timeout: float | None) -> Any:
        """What `function(argument)` returns or raises there.

        Raises `HandlerTimeout` after `timeout` seconds, when the process is killed, or
        `HandlerProcessDied`.
        """
        try:
            self._pipe.send(argument)
        except OSError:
            raise self._died("run a handler") from None
        good, value, note = self._answer(timeout, "run a handler")
        if good:
            return value
        error: Exception = value if isinstance(value, Exception) else type(value[0], (Exception,), {})(value[1])
        error.add_note(f"In the handler's process:\n{note}")
        raise error

    def _answer(self, timeout: float | None, what: str) -> Any:
        try:
            in_time = self._pipe.poll(timeout)
            if in_time:
                return self._pipe.recv()
        except (EOFError, OSError):
            raise self._died(what) from None
        self.kill()
        raise HandlerTimeout(f"{self._process.name} took longer than {timeout:g} s to {what}, and was killed")

    def _died(self, what: str) -> HandlerProcessDied:
        self._process.join(1.0)
        code = self._process.exitcode
        how = signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"
        return HandlerProcessDied(f"{self._process.name} (pid {self._process.pid}) ended by {how} when it had to {what}")

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        """Kill it. Safe to repeat."""
        self._process.kill()
        self._process.join(5.0)


def _serve(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """The main function of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to the parent as well, which drains
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has ended
        pipe.send(None)
        while True:
            argument = pipe.recv()
            try:
                data = pickle.dumps((True, function(argument), ""))
            except Exception as error:  # SystemExit and the like end this process
                data = pickle.dumps((False, _portable(error), "".join(traceback.format_exception(error)).rstrip()))
            pipe.send_bytes(data)


def _portable(error: Exception) -> Exception | tuple[str, str]:
    """`error`, or its class name and text if it does not survive pickling."""
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:  # raised by methods of its class
        again = None
    return error if type(again) is type(error) else (type(error).__name__, str(error))
