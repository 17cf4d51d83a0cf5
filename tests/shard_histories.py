"""Random histories of faults for ordered processing, against a model of the server.

Whatever happens: first effects of a key are in order, nothing is lost, and once the faults are over
everything is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from shard_model import ACK_WAIT, TICK, Consumer, Process
from virtual_time import VirtualLoop

KEYS: Final = ["a", "b", "c"]
OUTCOMES: Final = st.sampled_from([None, None, None, 0.0, 3.0, 60.0, "left"])
LONGEST: Final = 40 * ACK_WAIT
"""Seconds within which everything is done once the faults are over."""


class Histories(RuleBasedStateMachine):
    """Processes take over from each other, with and without knowing it."""

    random: Random
    consumer: Consumer
    processes: list[Process]
    ticking: asyncio.Task[None]

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.started: list[tuple[str | None, int]] = []
        self.succeeded: list[tuple[str | None, int]] = []

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)

    @initialize(seed=st.integers(0, 2**32), max_ack_pending=st.sampled_from([4, 16]), room=st.sampled_from([1, 8]))
    def make(self, seed: int, max_ack_pending: int, room: int) -> None:
        self.random = Random(seed)
        self.consumer = Consumer(self.random, self.loop, max_ack_pending)

        async def start() -> None:
            self.processes = [Process(self.consumer, self.started, self.succeeded, room) for _ in range(2)]
            self.consumer.give(self.processes[0])
            self.ticking = asyncio.ensure_future(self.tick())

        self.run(start())
        self.publish([*KEYS, *KEYS], 0.1)

    async def tick(self) -> None:
        while True:
            self.consumer.turn()
            await asyncio.sleep(TICK)

    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    # ---- what happens

    @rule(keys=st.lists(st.sampled_from([*KEYS, None]), min_size=2, max_size=8), seconds=st.sampled_from([0.0, 0.1]))
    def publish(self, keys: list[str | None], seconds: float) -> None:
        for key in keys:
            self.consumer.publish(key)
        self.consumer.turn()
        self.wait(seconds)

    @rule(seconds=st.sampled_from([0.02, 0.3, 2.0, ACK_WAIT + 1, 3 * ACK_WAIT]))
    def pass_time(self, seconds: float) -> None:
        self.wait(seconds)

    def has_running(self) -> bool:
        return any(process.running for process in self.processes)

    @precondition(has_running)
    @rule(data=st.data(), outcome=OUTCOMES)
    def end(self, data: st.DataObject, outcome: float | str | None) -> None:
        running = [(process, item) for process in self.processes for item in process.running]
        process, item = data.draw(st.sampled_from(running), "handler")
        self.loop.call_soon(process.end, item, outcome)
        self.wait(0.0)

    @precondition(has_running)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 3.0]))
    def fail_and_delete(self, data: st.DataObject, delay: float) -> None:
        """A message is deleted while its retry waits."""
        process = next(process for process in self.processes if process.running)
        item = data.draw(st.sampled_from(process.running), "handler")
        self.loop.call_soon(process.end, item, delay)
        self.wait(0.0)
        self.consumer.delete(item.seq)

    @precondition(has_running)
    @rule()
    def end_all(self) -> None:
        for process in self.processes:
            for item in list(process.running):
                self.loop.call_soon(process.end, item, None)
        self.wait(0.1)

    @rule(is_told=st.booleans())
    def take_over(self, is_told: bool) -> None:
        """The other process is pinned: the owner has stopped pulling, or the leader has changed."""
        x, y = self.processes
        former, successor = (x, y) if self.consumer.owner is x else (y, x)
        if is_told:
            self.loop.call_soon(former.lose)
        self.consumer.give(successor)
        self.wait(0.1)

    @rule()
    def pin_anew(self) -> None:
        """The leader has changed, and the owner is pinned again."""
        assert self.consumer.owner is not None
        self.consumer.give(self.consumer.owner)
        self.wait(0.1)

    @rule(index=st.integers(0, 1), seconds=st.sampled_from([0.5, ACK_WAIT / 2, 2 * ACK_WAIT]))
    def stop_and_resume(self, index: int, seconds: float) -> None:
        """SIGSTOP, SIGCONT: its answers lie in the socket meanwhile."""
        process, other = self.processes[index], self.processes[1 - index]
        process.stop()
        self.wait(seconds)
        if seconds >= ACK_WAIT and self.consumer.owner is process:
            self.consumer.give(other)
            self.wait(0.1)
        process.resume()
        self.wait(0.1)

    @rule(index=st.integers(0, 1), seconds=st.sampled_from([0.05, 2.0]))
    def lose_the_link(self, index: int, seconds: float) -> None:
        """What is on its way is lost, and so are answers."""
        process = self.processes[index]
        process.is_linked = False
        self.consumer.turn()
        self.wait(seconds)
        process.is_linked = True
        self.wait(0.05)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if found := sorted(self.consumer.stored):
            self.consumer.delete(data.draw(st.sampled_from(found), "message"))
        self.wait(0.02)

    @rule(answers=st.booleans(), starts=st.booleans(), paused=st.booleans())
    def fail(self, answers: bool, starts: bool, paused: bool) -> None:
        self.consumer.answers, self.consumer.paused = answers, paused
        for process in self.processes:
            process.starts_allowed = starts

    # ---- what holds

    @invariant()
    def effects_are_in_order(self) -> None:
        """First starts and first successes: a handler may have its effect at either.

        Left out is what no count can tell: behind a deleted message in hand, one that is to come,
        and a deleted one whose handler a former owner still runs.
        """
        hidden, deleted = self.consumer.hidden, self.consumer.deleted
        for effects, left_out in ((self.started, hidden), (self.succeeded, hidden | deleted)):
            highest: dict[str, int] = {}
            for key, seq in dict.fromkeys(effects):
                if key is None or seq in left_out:
                    continue
                assert highest.get(key, 0) < seq, f"{seq} of key {key} ran after {highest[key]}"
                highest[key] = seq

    def teardown(self) -> None:
        if not hasattr(self, "processes"):
            self.loop.close()
            return
        try:
            self.fail(answers=True, starts=True, paused=False)
            for process in self.processes:
                process.is_linked = True
            end = self.loop.time() + LONGEST
            while self.open() and self.loop.time() < end:
                self.end_all()
                self.wait(0.5)
                self.effects_are_in_order()
            assert not self.open(), f"left undone: {self.open()}"
            never = {*self.consumer.stored} - {seq for _, seq in self.started}
            assert not never, f"acknowledged and never run: {never}"
        finally:
            self.run(self.close())
            self.loop.close()
            asyncio.set_event_loop(None)

    def open(self) -> list[int]:
        return [seq for seq in self.consumer.stored if seq not in self.consumer.acked]

    async def close(self) -> None:
        self.ticking.cancel()
        for process in self.processes:
            await process.close()


def run_histories(examples: int, steps: int, *, derandomize: bool) -> None:
    """Let `examples` histories of at most `steps` steps happen."""
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
            derandomize=derandomize,
        ),
    )
