"""The circuit breaker: a state machine that refuses calls while too many of them fail.

No thread, no timer, and no lock held while a call runs: what time has changed is found out by the
next call. The same object serves both faces, and threads and tasks at once.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from types import CoroutineType, TracebackType
from typing import Any, Final, Literal, ParamSpec, Self, TypeVar, cast

from ...errors import CircuitOpen, OptionsError
from ...options import Backoff, Duration, exception_classes, positive_int, share, to_seconds
from ..events import CircuitChanged, CircuitState
from ..log_records import sdk_logger
from .outcomes import Outcomes

log: Final = sdk_logger("circuit")

P = ParamSpec("P")
R = TypeVar("R")

Listener = Callable[[CircuitChanged], object]
_Outcome = Literal["success", "failure", "none"]

_CLOSED: Final = "closed"
_OPEN: Final = "open"
_HALF_OPEN: Final = "half-open"
_OPEN_FOR: Final = Backoff(initial=5, max=60, multiplier=2, jitter=0.2)
_ASK_AGAIN: Final = 1.0
"""Seconds after which a call that found every probe's place taken may try again."""
_NOTHING: Final = GeneratorExit()
"""An error that counts as neither success nor failure, whatever the options."""
_PART_OF_A_PROBE: Final = -1
"""The period of a permit whose call is part of a probe. Only the probe itself counts."""

_OPTIONS: Final = (
    "name",
    "_failure_rate",
    "_minimum",
    "_window",
    "_open_for",
    "_probes",
    "_counts_all",
    "_count",
    "_ignore",
    "_slow_call",
    "_slow_rate",
    "_clock",
)
"""The attributes of a breaker that do not change."""


class Permit:
    """One call that a circuit let through. `end` it exactly when the call has ended.

    It can be used in a `with` or `async with` block, which ends it with what the block raises.
    Calls through the same circuit inside the block are parts of this one.
    """

    __slots__ = ("_began", "_breaker", "_ended", "_period")

    def __init__(self, breaker: CircuitBreaker, period: int, began: float) -> None:
        self._breaker = breaker
        self._period = period
        self._began = began
        self._ended = False

    def end(self, error: BaseException | None = None) -> None:
        """Record what became of the call: it returned (None), or raised `error`.

        Safe to repeat: only the first counts.
        """
        self._breaker._end(self, error)

    def cancel(self) -> None:
        """Record that the call says nothing: it was not made, or its caller stopped waiting."""
        self._breaker._end(self, _NOTHING)

    def counts(self, error: BaseException) -> bool:
        """Whether `error` is a failure for the circuit of this call."""
        return self._breaker.counts(error)

    def __enter__(self) -> Self:
        _entered.set((self._breaker, self, _entered.get()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._breaker._leave()
        self._breaker._end(self, error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


_Entered = tuple["CircuitBreaker", Permit, Any]
"""A breaker, the permit of a call through it, and what was entered before."""
_entered: Final[ContextVar[_Entered | None]] = ContextVar("smith_sdk.circuits", default=None)
"""The permits that the running code is inside of, the innermost first."""


class CircuitBreaker:
    """Refuses calls with `CircuitOpen` while too many of them fail.

    *Closed*: every call is let through. *Open*: none is, for a pause. *Half-open*: after the pause,
    a few calls are let through as probes; if they succeed the circuit closes, if one fails it opens
    for a longer pause. Pauses are short again once the circuit has been closed for one `window`.

    Use it as a decorator of a function or coroutine function, in a `with` or `async with` block
    around a call, or with `acquire()` and `permit.end(error)`. One object may be shared by threads
    and tasks, and by both faces. All times are those of `time.monotonic`: setting the computer's
    clock changes nothing. Every duration is in seconds, or a `timedelta`. What pickle or copy makes
    of it is another circuit with the same options, closed, and without callbacks.

    - `name`: what errors, events and logs call it.
    - `failure_rate`: the share of failed calls that opens it, above 0 and up to 1.
    - `minimum`: how many calls must have ended within `window` before it opens.
    - `window`: how far back calls count.
    - `open_for`: the pauses; one more for each time that it opens without having recovered.
    - `probes`: how many calls are let through when it is half-open, and have to succeed.
    - `count`: an exception class, or a tuple of them, that is a failure. None for every
      `Exception`; around publishing, for those after which the next publish would wait in vain.
    - `ignore`: an exception class, or a tuple of them, that says nothing about what is called.
    - `slow_call`: a call that takes longer is slow; None if no call is.
    - `slow_rate`: the share of slow calls that opens it, above 0 and up to 1.
    - `clock`: a function that returns seconds, for tests.

    An error in `count` and not in `ignore` is a failure; in a group, one such error suffices. An
    error in neither is an answer, and counts as success. One in `ignore`, a `CircuitOpen` (unless
    `count` names it), a cancelled call, and any other `BaseException` that is no `Exception`, count
    as neither. A probe that has not ended after one `window` gives its place to another.

    Raises `OptionsError` for an invalid option.
    """

    def __init__(
        self,
        *,
        name: str = "circuit",
        failure_rate: float = 0.5,
        minimum: int = 20,
        window: Duration = 30.0,
        open_for: Backoff = _OPEN_FOR,
        probes: int = 3,
        count: type[Exception] | tuple[type[Exception], ...] | None = None,
        ignore: type[Exception] | tuple[type[Exception], ...] = (),
        slow_call: Duration | None = None,
        slow_rate: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = _name(name)
        self._failure_rate = share("failure_rate", failure_rate)
        self._minimum = positive_int("minimum", minimum)
        self._window = to_seconds("window", window)
        if not isinstance(open_for, Backoff):
            raise OptionsError(f"open_for={open_for!r}: must be a Backoff, such as Backoff(initial=5, max=60, jitter=0.2)")
        self._open_for = open_for
        self._probes = positive_int("probes", probes)
        self._counts_all = count is None
        self._count = (Exception,) if count is None else exception_classes("count", count)
        self._ignore = exception_classes("ignore", ignore)
        if not any(issubclass(kind, CircuitOpen) for kind in self._count):
            self._ignore = (*self._ignore, CircuitOpen)
        self._slow_call = None if slow_call is None else to_seconds("slow_call", slow_call)
        self._slow_rate = share("slow_rate", slow_rate)
        if not callable(clock):
            raise OptionsError(f"clock={clock!r}: must be a function that returns seconds, such as time.monotonic")
        self._clock = clock
        self._listeners: tuple[Listener, ...] = ()
        self._start()

    def _start(self) -> None:
        # Reentrant: a signal handler may run in the middle of any method, and make a call.
        self._lock = threading.RLock()
        self._state: CircuitState = _CLOSED
        self._period = 0
        """Number of the present state. Calls that were let through in another do not count."""
        self._outcomes = Outcomes(self._window)
        self._closed_at = 0.0
        self._openings = 0
        """How often it has opened without having recovered."""
        self._until = 0.0
        self._running: dict[Permit, float] = {}
        """Probes that hold a place, and when each began, the oldest first."""
        self._succeeded = 0
        self._slow = 0
        self._changes: deque[CircuitChanged] = deque()
        self._notifying = threading.Lock()

    def named(self, name: str, *, count: tuple[type[Exception], ...] | None = None) -> CircuitBreaker:
        """Another circuit, closed, with the same options and the callbacks that this one has now.

        `count` takes effect if this one was made without. Raises `OptionsError` if `name` is no
        text.
        """
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.name = _name(name)
        if count is not None and self._counts_all:
            made._count, made._counts_all = count, False
        made._start()
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Its options: for pickle and copy."""
        return {name: getattr(self, name) for name in _OPTIONS}

    def __setstate__(self, options: dict[str, Any]) -> None:
        self.__dict__.update(options)
        self._listeners = ()
        self._start()

    def __repr__(self) -> str:
        outcomes = self._outcomes
        return f"<CircuitBreaker {self.name!r} {self._state}, {outcomes.failed} of {outcomes.total} calls failed>"

    # ---- what it is

    @property
    def state(self) -> CircuitState:
        """ "closed", "open" or "half-open".

        After its pause an open circuit becomes "half-open" with the first call.
        """
        return self._state

    @property
    def next_state(self) -> CircuitState:
        """`state` as the next call finds it: "half-open" once the pause of an open circuit is
        over."""
        return _HALF_OPEN if self._state == _OPEN and self.retry_after == 0.0 else self._state

    @property
    def probes(self) -> int:
        """How many calls are let through when it is half-open."""
        return self._probes

    @property
    def retry_after(self) -> float:
        """Seconds until a call may be let through; 0.0 if one would be now."""
        with self._lock:
            return 0.0 if self._state == _CLOSED else max(0.0, self._next_at(now := self._clock()) - now)

    def counts(self, error: BaseException) -> bool:
        """Whether a call that raises `error` has failed, as far as this circuit is concerned."""
        return self._outcome(error) == "failure"

    def on_change(self, callback: Listener) -> Callable[[], None]:
        """Call `callback` with a `CircuitChanged` after each change of the state.

        It is called in the thread of the call that changed the state, and must return at once.
        An exception from it is logged. Returns a function that ends this.
        """
        with self._lock:
            self._listeners = (*self._listeners, callback)

        def remove() -> None:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not callback)

        return remove

    def retry_now(self) -> None:
        """End the pause of an open circuit: what had failed may work again."""
        with self._lock:
            if self._state == _OPEN:
                self._until = min(self._until, self._clock())

    def add_successes(self, count: int) -> None:
        """`count` calls have succeeded that no permit was acquired for, if the circuit is closed.

        For calls that are too many to ask for each.
        """
        now = self._clock()
        with self._lock:
            if self._state == _CLOSED and count:
                self._outcomes.add(now, total=count)
                self._judge(now)
        if self._changes:
            self._notify()

    # ---- calls

    def acquire(self) -> Permit:
        """Ask to make a call. `end` the permit when the call has ended.

        Raises `CircuitOpen` if the call may not be made.
        """
        # The period before the state: if another thread changes both in between, this call does not
        # count. The other way round it could count as a probe.
        period = self._period
        if self._state == _CLOSED and self._slow_call is None:
            return Permit(self, period, 0.0)
        now = self._clock()
        with self._lock:
            if self._state == _OPEN and now >= self._until:
                self._change(_HALF_OPEN, "the pause is over, and the next calls are probes")
                self._running.clear()
                self._succeeded = self._slow = 0
            permit = Permit(self, self._period, now)
            if self._state == _HALF_OPEN and self._places(now) > 0:
                self._running[permit] = now
            elif self._state != _CLOSED:
                raise self._refusal(now)
        self._notify()
        return permit

    def _acquire_inside(self) -> Permit:
        """`acquire`, except that a call made by a probe is a part of it, and needs no place."""
        if self._state == _HALF_OPEN:
            entry = _entered.get()
            while entry is not None:
                breaker, permit, entry = entry
                if breaker is self and permit._period == self._period and not permit._ended:
                    return Permit(self, _PART_OF_A_PROBE, 0.0)
        return self.acquire()

    def _places(self, now: float) -> int:
        """How many more probes may be let through; below 0 after the success of a late probe whose
        place another one took."""
        running = self._running
        while running and next(iter(running.values())) + self._window <= now:
            del running[next(iter(running))]  # it may never end; if it does after all, it counts
        return self._probes - self._succeeded - len(running)

    def _next_at(self, now: float) -> float:
        """When a call may be let through, unless the circuit is closed."""
        if self._state == _OPEN:
            return self._until
        if self._places(now) > 0:
            return now
        return min(now + _ASK_AGAIN, next(iter(self._running.values())) + self._window)

    def _refusal(self, now: float) -> CircuitOpen:
        until = self._next_at(now)
        why = "too many calls have failed" if self._state == _OPEN else "the calls that probe it have not ended"
        return CircuitOpen(
            f"circuit {self.name!r} is {self._state}: {why}; the next call may be made in {max(0.0, until - now):.3g} s",
            name=self.name,
            until=until,
            retry_after=max(0.0, until - now),
        )

    def _outcome(self, error: BaseException | None) -> _Outcome:
        if error is None:
            return "success"
        if isinstance(error, BaseExceptionGroup):
            found = {self._outcome(one) for one in error.exceptions}
            return "failure" if "failure" in found else "none" if "none" in found else "success"
        if not isinstance(error, Exception) or isinstance(error, self._ignore):
            return "none"
        return "failure" if isinstance(error, self._count) else "success"

    def _end(self, permit: Permit, error: BaseException | None) -> None:
        outcome = self._outcome(error)
        now = self._clock()
        with self._lock:
            if permit._ended:
                return
            permit._ended = True
            if permit._period != self._period:
                return
            slow = self._slow_call is not None and now - permit._began > self._slow_call
            if self._state == _CLOSED:
                if outcome != "none":
                    self._outcomes.add(now, failed=outcome == "failure", slow=slow)
                    self._judge(now)
            else:
                self._end_probe(permit, now, outcome, slow)
        if self._changes:
            self._notify()

    def _judge(self, now: float) -> None:
        """Open a closed circuit if too many calls of the window have failed, or were slow."""
        found = self._outcomes
        if found.total < self._minimum or not (found.failed or found.slow):
            return
        if found.failed >= self._failure_rate * found.total:
            self._open(now, f"{found.failed} of {found.total} calls within {self._window:g} s failed")
        elif self._slow_call is not None and found.slow >= self._slow_rate * found.total:
            self._open(now, f"{found.slow} of {found.total} calls within {self._window:g} s took over {self._slow_call:g} s")

    def _end_probe(self, permit: Permit, now: float, outcome: _Outcome, slow: bool) -> None:
        self._running.pop(permit, None)
        if outcome == "failure":
            self._open(now, "a probe failed")
        elif outcome == "success":
            self._succeeded += 1
            self._slow += slow
            if self._slow >= self._slow_rate * self._probes:
                self._open(now, f"{self._slow} of {self._probes} probes took over {self._slow_call:g} s")
            elif self._succeeded >= self._probes:
                self._change(_CLOSED, f"{self._succeeded} probes succeeded")
                self._outcomes.clear()
                self._closed_at = now

    def _open(self, now: float, reason: str) -> None:
        if self._state == _CLOSED and now - self._closed_at >= self._window:
            self._openings = 0  # it had recovered
        self._openings += 1
        self._until = now + self._open_for.delay(self._openings)
        self._change(_OPEN, reason)

    def _change(self, new: CircuitState, reason: str) -> None:
        """Go to another state. Afterwards call `_notify`, without the lock."""
        until = self._until if new == _OPEN else None
        self._changes.append(CircuitChanged(name=self.name, old=self._state, new=new, reason=reason, until=until))
        self._state = new
        self._period += 1

    def _notify(self) -> None:
        """Report the changes, in their order; by one thread at a time, which takes those of others
        along."""
        while self._changes and self._notifying.acquire(blocking=False):
            try:
                while self._changes:
                    self._report(self._changes.popleft())
            finally:
                self._notifying.release()

    def _report(self, change: CircuitChanged) -> None:
        write = log.warning if change.new == _OPEN else log.info
        write("circuit %s is %s: %s", change.name, change.new, change.reason)
        for callback in self._listeners:
            try:
                callback(change)
            except Exception:  # a mistake of a listener must not fail the call of another
                log.exception("a callback for changes of circuit %s raised", change.name)

    # ---- around code

    def __enter__(self) -> Self:
        self._enter(self._acquire_inside())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._exit(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit(error)

    def _enter(self, permit: Permit) -> None:
        _entered.set((self, permit, _entered.get()))

    def _exit(self, error: BaseException | None = None) -> None:
        permit = self._leave()
        if permit is not None:
            self._end(permit, error)

    def _leave(self) -> Permit | None:
        """The permit of the innermost block of this circuit that the running code is inside of.

        None if the block was entered in another context, as by a fixture: it does not count.
        """
        kept: list[tuple[CircuitBreaker, Permit]] = []
        entry = _entered.get()
        while entry is not None:
            breaker, permit, entry = entry
            if breaker is self:
                for outer in reversed(kept):
                    entry = (*outer, entry)
                _entered.set(entry)
                return permit
            kept.append((breaker, permit))
        return None

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function or coroutine function: each call is let through, or refused.

        Raises `OptionsError` for a generator, whose call ends before its work begins.
        """
        if isinstance(function, (staticmethod, classmethod)):
            return cast("Callable[P, R]", type(function)(self(function.__func__)))
        if not callable(function):
            raise OptionsError(f"circuit {self.name!r} decorates a function, not {type(function).__name__}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise OptionsError(
                f"circuit {self.name!r} cannot decorate the generator {getattr(function, '__qualname__', function)!r}: "
                "put `with breaker.acquire():` around what it does"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", awaited)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            self._enter(self._acquire_inside())
            try:
                found = function(*args, **kwargs)
            except BaseException as error:
                self._exit(error)
                raise
            if isinstance(found, CoroutineType):  # its end is the end of the call
                return cast("R", self._finish(found, self._leave()))
            self._exit()
            return found

        return called

    async def _finish(self, coroutine: CoroutineType[Any, Any, Any], permit: Permit | None) -> Any:
        assert permit is not None
        self._enter(permit)
        try:
            found = await coroutine
        except BaseException as error:
            self._exit(error)
            raise
        self._exit()
        return found


def _name(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise OptionsError(f"name={name!r}: must be text, such as 'database'")
    return name
