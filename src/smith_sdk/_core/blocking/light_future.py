"""A future for threads that costs a third of the standard one until a thread waits for it."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any, Final, TypeVar

T = TypeVar("T")

_PENDING: Final = "PENDING"
_RUNNING: Final = "RUNNING"
_FINISHED: Final = "FINISHED"


class LightFuture(concurrent.futures.Future[T]):
    """`concurrent.futures.Future`, whose condition is made by the first call that needs it.

    A condition is a dozen objects, which the garbage collector visits. Of a thousand submits, few
    are waited for before they have ended. A thread makes the condition before it looks at the
    state. So where `lock` is held and there is none, no thread has to be woken.
    """

    # The state as the standard library keeps it: `concurrent.futures.wait` uses it, too.
    _made = False
    """Whether there is a condition."""
    _state = _PENDING
    _result: Any = None
    _exception: BaseException | None = None

    def __init__(self, lock: threading.RLock) -> None:  # not that of the base class, which makes the condition
        self._lock = lock

    def __getattr__(self, name: str) -> Any:
        if name != "_condition":
            raise AttributeError(name)
        # Nothing is called under the lock: a signal handler could run there, and wait for the loop,
        # which takes the lock as well.
        waiters, callbacks, condition = list[Any](), list[Any](), threading.Condition()
        with self._lock:
            if not self._made:
                self._waiters, self._done_callbacks, self._condition, self._made = waiters, callbacks, condition, True
        return self._condition

    def set_running_or_notify_cancel(self) -> bool:
        with self._lock:
            if not self._made and self._state == _PENDING:
                self._state = _RUNNING
                return True
        return super().set_running_or_notify_cancel()

    def set_result(self, result: T) -> None:
        with self._lock:
            if not self._made and self._state == _RUNNING:
                self._result, self._state = result, _FINISHED  # in this order: `result` takes no lock
                return
        super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        with self._lock:
            if not self._made and self._state == _RUNNING:
                self._exception, self._state = exception, _FINISHED
                return
        super().set_exception(exception)

    def done(self) -> bool:
        return self._state != _PENDING and self._state != _RUNNING

    def result(self, timeout: float | None = None) -> T:
        if self._state == _FINISHED and self._exception is None:
            found: T = self._result
            return found
        return super().result(timeout)
