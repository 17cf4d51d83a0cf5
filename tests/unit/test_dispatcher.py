"""The dispatcher: order of arrival, and every message reported done once."""

from __future__ import annotations

import asyncio

from sources import Queue

from smith_sdk._core.execution.dispatcher import Dispatcher, Fifo


async def test_messages_run_in_the_order_of_their_arrival() -> None:
    source = Queue()
    dispatcher: Dispatcher[int] = Fifo(source)
    source.put(7, 8, 9)
    assert await dispatcher.next() == 7
    assert source.finished == 0
    assert dispatcher.exchange(7) == 8
    assert dispatcher.exchange(8) == 9
    assert dispatcher.exchange(9) is None
    assert (source.handed_out, source.finished) == (3, 3)


async def test_a_slot_waits_for_the_next_message_and_learns_of_the_end() -> None:
    source = Queue()
    dispatcher: Dispatcher[int] = Fifo(source)
    waiting = asyncio.ensure_future(dispatcher.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    source.put(1)
    assert await waiting == 1
    source.end()
    assert await dispatcher.next() is None


async def test_a_slot_that_ends_reports_its_message_and_takes_no_other() -> None:
    source = Queue()
    dispatcher: Dispatcher[int] = Fifo(source)
    source.put(1, 2)
    assert await dispatcher.next() == 1
    dispatcher.done(1)
    assert (source.handed_out, source.finished, list(source.items)) == (1, 1, [2])
