"""The future of a submit: like the standard one, whenever a thread begins to look at it."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable

import pytest

from smith_sdk._core.blocking.light_future import LightFuture

Future = LightFuture[int]


def new() -> Future:
    return LightFuture(threading.RLock())


def ended(how: Callable[[Future], None]) -> Future:
    future = new()
    assert future.set_running_or_notify_cancel()
    how(future)
    return future


def test_it_has_what_it_ended_with() -> None:
    done, failed = ended(lambda it: it.set_result(7)), ended(lambda it: it.set_exception(KeyError("x")))
    assert (done.done(), done.result(), done.exception(), done.cancelled(), done.cancel()) == (True, 7, None, False, False)
    assert isinstance(failed.exception(), KeyError)
    with pytest.raises(KeyError):
        failed.result(0)
    assert concurrent.futures.wait([done, failed], 0).done == {done, failed}
    called: list[concurrent.futures.Future[int]] = []
    done.add_done_callback(called.append)
    assert called == [done]
    for again in (done, failed):
        with pytest.raises(concurrent.futures.InvalidStateError):
            again.set_result(8)
        with pytest.raises(concurrent.futures.InvalidStateError):
            again.set_exception(KeyError("y"))


@pytest.mark.parametrize("begun", [False, True])
def test_threads_that_wait_are_woken(begun: bool) -> None:
    one, two, called = new(), new(), list[concurrent.futures.Future[int]]()
    if begun:
        assert one.set_running_or_notify_cancel()
    one.add_done_callback(called.append)
    assert (one.done(), one.running()) == (False, begun)
    with pytest.raises(TimeoutError):
        one.result(0)

    def end() -> None:
        if not begun:
            assert one.set_running_or_notify_cancel()
        one.set_result(1)
        assert two.set_running_or_notify_cancel()
        two.set_exception(KeyError("x"))

    threading.Timer(0.01, end).start()
    assert list(concurrent.futures.as_completed([one, two], 20))
    assert one.result(20) == 1
    assert isinstance(two.exception(20), KeyError)
    assert called == [one]


def test_it_can_be_cancelled_until_it_runs() -> None:
    cancelled, running = new(), new()
    assert cancelled.cancel()
    assert cancelled.done()
    assert not cancelled.set_running_or_notify_cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        cancelled.result(0)
    assert running.set_running_or_notify_cancel()
    assert not running.cancel()
    running.set_result(1)
    assert running.result(0) == 1
    assert not hasattr(running, "other")


def test_a_thread_that_begins_to_wait_while_it_ends_is_woken() -> None:
    for _ in range(300):
        future = new()
        assert future.set_running_or_notify_cancel()
        ending = threading.Thread(target=future.set_result, args=(1,))
        ending.start()
        assert future.result(20) == 1
        ending.join()
