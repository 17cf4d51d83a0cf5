"""Processes that run a function, one call at a time, and are killed if that takes too long.


A process is started by "spawn": the function, its argument and its result are pickled, and the
process imports what they need. It may have processes of its own, and leads a process group, so that
they are killed with it. None outlives the parent, however that ends.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import multiprocessing.util  # its exit hook joins children: the one below has to run before it
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Final

from ...errors import HandlerProcessDied, HandlerTimeout
from .forks import reset_in_forks
from .stopping import Stopping

_START: Final = 60.0
"""Seconds for a process to import what it needs."""
_START_HOOKS: Final = 300.0
"""Seconds for its start hooks, which may load a model."""
_TICK: Final = 1.0
"""Seconds between looks at a process whose pipe may be held open by another."""
_EXITCODE: Final = 5.0
"""Seconds for a process that has closed its pipe to end."""
_NOT_HANDLED: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name))

_Hooks = Sequence[Callable[[], Any]]
_live: Final[set[WorkerProcess]] = set()
"""Processes of this one that have not been seen to end."""


class WorkerProcess:
    """One process for `function`; `start` is called there before the first call, `stop` at the end.

    Call `ready` before the first `call`, then `finish` or `kill`, from any thread.
    """

    def __init__(self, name: str, function: Callable[[Any], Any], start: _Hooks = (), stop: _Hooks = ()) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        control, self._control = context.Pipe(duplex=False)
        arguments = (theirs, control, os.getpid(), function, tuple(start), tuple(stop))
        self._process = context.Process(target=_serve, args=arguments, name=name)
        self._ending = threading.Lock()
        self._process.start()
        _live.add(self)
        theirs.close()
        control.close()

    def ready(self) -> None:
        """Wait until it can take a call.

        Raises what a start hook raises, and `HandlerProcessDied`.
        """
        try:
            self._answer(_START, "import its handler")
            self._outcome(_START_HOOKS, "run its on_start hooks")
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
        return self._outcome(timeout, "run a handler")

    def announce_stop(self) -> None:
        """Have `STOPPING.draining` be true there from now on."""
        if self._ending.acquire(blocking=False):  # otherwise it is being killed, which takes a while
            try:
                with contextlib.suppress(OSError):  # it has ended
                    self._control.send_bytes(b"")
            finally:
                self._ending.release()

    def finish(self, timeout: float) -> None:
        """Have it run its stop hooks and end; kill it after `timeout` seconds.

        Raises what a stop hook raises, `HandlerTimeout`, or `HandlerProcessDied`.
        """
        deadline = time.monotonic() + timeout
        try:
            self._pipe.send(None)
            self._outcome(timeout, "run its on_stop hooks")
            self._join(deadline - time.monotonic())  # the interpreter's own end, and its children's
        except OSError:
            raise self._died("run its on_stop hooks") from None
        finally:
            self.kill()

    def _outcome(self, timeout: float | None, what: str) -> Any:
        good, value, note = self._answer(timeout, what)
        if good:
            return value
        error: Exception = value if isinstance(value, Exception) else _stand_in(*value)
        error.add_note(f"In the handler's process:\n{note}")
        raise error

    def _answer(self, timeout: float | None, what: str) -> Any:
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                left = _TICK if deadline is None else min(_TICK, deadline - time.monotonic())
                alive = self._process.is_alive()  # before the pipe: what it has sent stays there
                if self._pipe.poll(max(0.0, left)):
                    return self._pipe.recv()
                if not alive:
                    raise EOFError
                if deadline is not None and time.monotonic() >= deadline:
                    break
        except (EOFError, OSError):
            raise self._died(what) from None
        self.kill()
        raise HandlerTimeout(f"{self._process.name} took longer than {timeout:g} s to {what}, and was killed")

    def _died(self, what: str) -> HandlerProcessDied:
        self._join(_EXITCODE)
        code = self._process.exitcode
        how = "by closing its pipe"
        if code is not None:
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
        self.kill()
        return HandlerProcessDied(f"{self._process.name} (pid {self._process.pid}) ended {how} while it was to {what}")

    def _join(self, timeout: float) -> None:
        """Wait for its end. Its sentinel may be held open by processes that it has forked."""
        deadline = time.monotonic() + timeout
        while self._process.exitcode is None and (left := deadline - time.monotonic()) > 0:
            self._process.join(min(0.05, left))

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        """Kill it and the processes that it has started. Safe to repeat, from any thread."""
        if self not in _live:  # also in a fork, where a thread that does not exist may hold the lock
            return
        # The thread that stops the worker kills it, and so does the one that waits for its answer,
        # which sees the end at the same moment: a pipe that both close may be another's by then.
        with self._ending:
            if self in _live:
                self._kill()

    def _kill(self) -> None:
        if hasattr(os, "killpg") and self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it leads no group yet, or all have ended
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._join(5.0)
        _live.discard(self)  # from now on its number may be that of another process
        self._control.close()


def _kill_all() -> None:
    # Children that are not daemons would be joined, and keep the interpreter from its exit.
    for process in tuple(_live):
        process.kill()


atexit.register(_kill_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_live.clear)  # they are the parent's


# ---- in the process


STOPPING: Final = Stopping()
"""Whether the worker that the process is for is stopping."""


def _serve(
    pipe: Connection, control: Connection, parent: int, function: Callable[[Any], Any], start: _Hooks, stop: _Hooks
) -> None:
    """The main function of the process."""
    with contextlib.suppress(OSError, AttributeError):  # Windows has no process groups
        os.setpgid(0, 0)
    _leave_signals_to_the_parent(pipe, control)
    threading.Thread(target=_watch, args=(control, parent), name="smith-parent", daemon=True).start()
    with pipe, contextlib.suppress(EOFError, ConnectionError):  # the parent has ended
        pipe.send(None)
        failed, answer = _started(start, stop)
        pipe.send_bytes(answer)
        if failed:
            return
        while (argument := pipe.recv()) is not None:
            pipe.send_bytes(_call(function, argument)[1])
        pipe.send_bytes(_stopped(stop)[1])


def _started(start: _Hooks, stop: _Hooks) -> tuple[bool, bytes]:
    for hook in start:
        failed, answer = _call(hook)
        if failed:
            _stopped(stop)
            return True, answer
    return False, _call(len, ())[1]


def _stopped(stop: _Hooks) -> tuple[bool, bytes]:
    """Call all of them; the first error, which has the others as notes."""
    first: Exception | None = None
    for hook in reversed(stop):
        try:
            hook()
        except Exception as error:
            if first is None:
                first = error
            else:
                first.add_note("And another hook:\n" + "".join(traceback.format_exception(error)).rstrip())
    return _failure(first) if first is not None else _call(len, ())


def _call(function: Callable[..., Any], *arguments: Any) -> tuple[bool, bytes]:
    """Whether it failed, and the answer for the parent."""
    try:
        return False, pickle.dumps((True, function(*arguments), ""))
    except Exception as error:  # SystemExit and the like end this process
        return _failure(error)


def _failure(error: Exception) -> tuple[bool, bytes]:
    return True, pickle.dumps((False, _portable(error), "".join(traceback.format_exception(error)).rstrip()))


def _leave_signals_to_the_parent(pipe: Connection, control: Connection) -> None:
    """Ignore what is sent to all processes of a worker: the parent drains, and then ends this one.

    By a handler rather than SIG_IGN, which programs that this process runs would inherit; and not
    in forks, since a pool ends its processes by SIGTERM.
    """
    for number in _NOT_HANDLED:
        signal.signal(number, _ignore)
        if hasattr(signal, "siginterrupt"):
            signal.siginterrupt(number, False)

    def forked() -> None:
        for number in _NOT_HANDLED:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        pipe.close()  # or the parent would not see that this process has ended
        control.close()

    reset_in_forks(forked)


def _ignore(number: int, frame: object) -> None:
    pass


def _watch(control: Connection, parent: int) -> None:
    """In a thread: note that the worker is stopping, and end all with the parent."""
    with contextlib.suppress(EOFError, OSError):
        while os.getppid() == parent:  # a fork of the parent may hold the other end open
            if control.poll(_TICK):
                control.recv_bytes()
                STOPPING.request()
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _portable(error: Exception) -> Exception | tuple[str, str, bytes]:
    """`error`, or what its stand-in is made of if it does not survive pickling.

    That is the name of its class, its text, and the nearest class that the parent can import.
    """
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:  # raised by methods of its class
        again = None
    if type(again) is type(error):
        return error
    return type(error).__name__, str(error), _importable(type(error))


def _importable(kind: type[Exception]) -> bytes:
    for base in kind.__mro__:
        with contextlib.suppress(Exception):  # a class that was made in a function
            return pickle.dumps(base)
    return pickle.dumps(Exception)


# ---- in the parent again


def _stand_in(name: str, text: str, base: bytes) -> Exception:
    """An error that `except` and retry policies take for the one that was raised.

    Its class extends the one in `base`; it has the text and nothing else of that.
    """
    try:
        error = type(name, (pickle.loads(base),), {"__init__": _init, "__str__": _text})(text)
    except Exception:  # a class that cannot be imported here, extended, or made without more
        error = None
    return error if isinstance(error, Exception) else type(name, (Exception,), {})(text)


def _init(self: Exception, text: str) -> None:
    self.args = (text,)


def _text(self: Exception) -> str:
    return str(self.args[0])
