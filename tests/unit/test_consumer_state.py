"""Whether delayed retries keep a consumer from delivering, as a reader without messages decides it.

The info that is looked at has the fields of the server's own (nats-server 2.15).
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from smith_sdk._core.jetstream.consumer_state import ConsumerState, DelayedRetries
from smith_sdk.errors import DeadlineExceeded, PermissionDenied, SmithError


class Server:
    """A consumer whose info can be looked at."""

    def __init__(self, **info: int) -> None:
        self.info = {"num_pending": 3, "num_ack_pending": 5, "delivered": 5, "max_ack_pending": 5, **info}
        self.looks = 0
        self.error: SmithError | None = None

    async def look(self) -> dict[str, Any]:
        self.looks += 1
        if self.error is not None:
            raise self.error
        found: dict[str, Any] = {name: self.info[name] for name in ("num_pending", "num_ack_pending")}
        found["delivered"] = {"consumer_seq": self.info["delivered"]}
        found["config"] = {"max_ack_pending": self.info["max_ack_pending"]}
        return found | ({"paused": True} if self.info.get("paused") else {})


async def looked(state: ConsumerState, *times: float, held: int = 0) -> int:
    """How often it looked, if it was asked at each of `times`."""
    count = 0
    for time in times:
        if state.is_due(time):
            await state.look(time, held)
            count += 1
    return count


def test_delayed_retries_count_until_they_are_due() -> None:
    delayed = DelayedRetries()
    for delay in (30, 10, 20):
        delayed.add(0, delay)
    assert [delayed.count(now) for now in (0, 9.9, 10, 29, 30)] == [3, 3, 2, 1, 0]
    delayed.add(100, 5)
    assert delayed.next_in(101) == 4


async def test_own_delayed_retries_are_a_stall_at_once(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    state = ConsumerState("S", "c", server.look)
    for _ in range(5):
        state.delayed.add(0, 600)
    assert state.is_due(5)
    await state.look(5, 0)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    text = record.getMessage()
    assert "S/c delivers nothing: 5 messages are unanswered, which is its max_ack_pending=5, and 3 more wait" in text
    assert "5 of them wait for a retry that this process has delayed, the first for another 595 s" in text
    assert (record.__dict__["stream"], record.__dict__["consumer"]) == ("S", "c")

    assert await looked(state, *range(6, 60)) == 0, "the warning is not repeated at each look"
    assert await looked(state, 66) == 1
    assert len(caplog.records) == 2
    state.goes_on(70)
    state.goes_on(71)
    assert [one.getMessage() for one in caplog.records[2:]] == ["S/c delivers again, after 65 s"]


async def test_what_others_hold_is_a_stall_only_if_nothing_is_delivered(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    state = ConsumerState("S", "c", server.look)
    now = 0.0
    for _ in range(5):  # other readers are busy with what is unanswered
        server.info["delivered"] += 1
        now += 10
        await state.look(now, 0)
    assert not caplog.records
    await state.look(now + 10, 0)
    assert "other readers hold them" in caplog.text


@pytest.mark.parametrize("info", [{"num_pending": 0}, {"num_ack_pending": 4}, {"max_ack_pending": -1}, {"paused": 1}], ids=str)
async def test_a_consumer_that_delivers_is_looked_at_more_and_more_rarely(
    info: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(**info)
    state = ConsumerState("S", "c", server.look)
    assert await looked(state, *range(3600)) < 25
    assert not caplog.records


async def test_a_new_delayed_retry_is_looked_at_soon_however_long_the_pause_was() -> None:
    server = Server(num_ack_pending=0)
    state = ConsumerState("S", "c", server.look)
    await looked(state, *range(3600))
    state.delayed.add(3600, 600)
    assert state.is_due(3600)


async def test_a_look_that_fails_is_no_stall(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    server.error = DeadlineExceeded("no reply", timeout=5)
    state = ConsumerState("S", "c", server.look)
    await looked(state, *range(100))
    state.restrict_pulls()
    assert state.limits.pulls == 1
    await state.look_up_limits()
    assert state.limits.is_looked_up
    assert state.limits.pulls > 1
    assert not caplog.records


async def test_messages_that_the_reader_holds_itself_are_no_stall(caplog: pytest.LogCaptureFixture) -> None:
    """Such as those in the buffer of an iteration whose reader takes its time."""
    state = ConsumerState("S", "c", Server().look)
    await looked(state, *range(100), held=5)
    assert not caplog.records


async def test_a_look_that_is_forbidden_is_not_repeated() -> None:
    server = Server()
    server.error = PermissionDenied("not allowed", subject="$JS.API.CONSUMER.INFO.S.c")
    state = ConsumerState("S", "c", server.look)
    state.delayed.add(0, 600)
    assert await looked(state, *range(1000)) == 1
