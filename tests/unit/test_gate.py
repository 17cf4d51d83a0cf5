"""One limit over several dispatchers, and slots that are started for a message."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest
from support import eventually_async

from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.execution import gate as gates
from smith_sdk._core.execution.dispatcher import Dispatcher
from smith_sdk._core.execution.gate import Gate, Gated
from smith_sdk.aio.slot_tasks import SlotTasks


class Line:
    """A dispatcher of numbers that can be waited for."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = deque(numbers)
        self.out: list[int] = []
        self.over = False
        self._changed = asyncio.Event()

    def put(self, number: int) -> None:
        self.numbers.append(number)
        self._changed.set()

    async def wait(self) -> bool:
        while not self.over and not self.numbers:
            self._changed.clear()
            await self._changed.wait()
        return not self.over

    def take(self) -> int | None:
        if self.over or not self.numbers:
            return None
        self.out.append(self.numbers.popleft())
        return self.out[-1]

    async def next(self) -> int | None:
        return self.take() if await self.wait() else None

    def exchange(self, item: int) -> int | None:
        self.done(item)
        return self.take()

    def done(self, item: int) -> None:
        self.out.remove(item)

    def put_back(self, item: int) -> None:
        self.out.remove(item)
        self.numbers.appendleft(item)

    def held(self) -> list[int]:
        return list(self.numbers)

    def take_all(self) -> list[int]:
        return [self.numbers.popleft() for _ in tuple(self.numbers)]

    async def stop(self) -> None:
        self.over = True
        self._changed.set()


async def test_no_more_are_inside_than_the_limit_whichever_dispatcher_they_are_of() -> None:
    gate, one, other = Gate(2), Line(1, 2, 3), Line(10, 20)
    first, second = Gated(one, gate), Gated(other, gate)
    assert (await first.next(), await second.next(), gate.inside) == (1, 10, 2)
    waits = asyncio.ensure_future(first.next())
    await asyncio.sleep(0)
    assert (waits.done(), one.numbers) == (False, deque([2, 3])), "what waits for room is not taken"
    second.done(10)
    assert await waits == 2
    gate.resize(3)
    assert await second.next() == 20
    assert gate.inside == 3


async def test_dispatchers_that_all_have_messages_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "SLICE", 0.0)
    gate = Gate(1)
    lines = [Line(*range(n, n + 3)) for n in (0, 10, 20)]
    order: list[int] = []

    async def slot(dispatcher: Gated[int]) -> None:
        item = await dispatcher.next()
        while item is not None:
            order.append(item)
            await asyncio.sleep(0)
            item = dispatcher.exchange(item) or (await dispatcher.next() if len(order) < 9 else None)

    slots = [asyncio.ensure_future(slot(Gated(line, gate))) for line in lines]
    await eventually_async(lambda: len(order) == 9)
    for one in slots:
        one.cancel()
    assert [number // 10 for number in order] == [0, 1, 2] * 3


async def test_a_slot_goes_on_without_the_line_while_no_other_dispatcher_waits() -> None:
    gate, line = Gate(1), Line(1, 2)
    dispatcher = Gated(line, gate)
    assert (await dispatcher.next(), dispatcher.exchange(1), dispatcher.exchange(2)) == (1, 2, None)
    assert gate.inside == 0


async def test_a_slot_goes_on_for_a_slice_of_time_although_another_dispatcher_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "SLICE", 60.0)
    gate = Gate(1)
    busy, other = Gated(Line(1, 2, 3), gate), Gated(Line(10), gate)
    assert await busy.next() == 1
    waits = asyncio.ensure_future(other.next())
    await eventually_async(lambda: gate.waiting == 1)
    assert (busy.exchange(1), gate.waiting, gate.inside) == (2, 1, 1)
    monkeypatch.setattr(gates, "SLICE", 0.0)
    assert busy.exchange(2) is None
    assert (await waits, gate.inside, busy.held()) == (10, 1, [3])


async def test_whatever_waits_for_room_is_let_go_of_when_its_dispatcher_ends_or_its_slot_is_cancelled() -> None:
    gate = Gate(1)
    busy, cancelled, ended = (Gated(line, gate) for line in (Line(1), Line(2), Line(3)))
    assert await busy.next() == 1
    waits = asyncio.ensure_future(cancelled.next())
    ends = asyncio.ensure_future(ended.next())
    await eventually_async(lambda: gate.waiting == 2)
    waits.cancel()
    await ended.stop()
    assert await ends is None
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert (gate.waiting, gate.inside, cancelled.held(), ended.held()) == (0, 1, [2], [3])
    busy.put_back(1)
    assert (gate.inside, busy.take_all()) == (0, [1])


async def test_a_slot_that_is_cancelled_as_it_is_let_in_leaves_its_room() -> None:
    gate, line = Gate(1), Line(1)
    waits = asyncio.ensure_future(Gated(line, gate).next())
    assert gate.enter()
    await eventually_async(lambda: gate.waiting == 1)
    gate.leave()  # which lets the waiting slot in
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert (gate.inside, line.numbers) == (0, deque([1]))


def raw(number: int) -> RawMessage:
    return RawMessage("subject", str(number), b"", None)


async def test_a_slot_is_started_for_each_message_and_an_error_of_one_ends_the_run() -> None:
    ran: list[str] = []
    line: Line = Line()

    async def slot(dispatcher: Dispatcher[RawMessage], message: RawMessage | None) -> None:
        assert message is not None
        ran.append(message.reply)
        if message.reply == "3":
            raise KeyError(message.reply)

    class Raws:
        """The numbers of `line` as messages."""

        async def next(self) -> RawMessage | None:
            number = await line.next()
            return None if number is None else raw(number)

    tasks = SlotTasks(slot)
    tasks.start_feeding(Raws())  # type: ignore[arg-type]  # all that is used of it
    ended = asyncio.ensure_future(tasks.ended())
    for number in (1, 2):
        line.put(number)
    await eventually_async(lambda: ran == ["1", "2"])
    assert not ended.done()
    line.put(3)
    await asyncio.wait_for(ended, 10)
    await line.stop()
    assert await tasks.wait(10) == 0
    with pytest.raises(KeyError):
        tasks.raise_failure()
