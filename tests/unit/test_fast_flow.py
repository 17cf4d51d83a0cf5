"""A batch of fast ingest against a model of the server's side: what counts as stored always is."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from smith_sdk._core.jetstream.fast_flow import AHEAD, FLOW, FastFlow


class Batch(RuleBasedStateMachine):
    """The server of the mode `fail`: it stores in order, and ends at the first gap or refusal."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = FastFlow()
        self.every = FLOW
        self.said = 0
        """The last message that the server has confirmed."""
        self.stored = 0
        self.is_known = True
        self.arriving: deque[tuple[int, dict[str, Any]]] = deque()
        self.flow.sent = 1
        self.reply(1, {"type": "ack", "seq": 0, "msgs": FLOW})
        self.stored = 1

    def reply(self, number: int, answer: dict[str, Any]) -> None:
        self.arriving.append((number, answer))

    def end(self, number: int) -> None:
        self.is_known = False
        self.reply(number, {"stream": "S", "seq": 100 + self.stored, "batch": "b", "count": self.stored})

    @precondition(lambda self: self.flow.has_room)
    @rule(count=st.integers(1, 700), fate=st.sampled_from(["stored", "stored", "lost", "refused", "alone"]))
    def send(self, count: int, fate: str) -> None:
        """Some messages, the last of which may be lost, refused, or refused apart from it."""
        for left in range(count, 0, -1):
            if not self.flow.has_room:
                return
            self.flow.sent += 1
            self.arrives(self.flow.sent, "stored" if left > 1 else fate)

    def arrives(self, number: int, fate: str) -> None:
        if fate == "lost":
            return
        error = {"code": 503, "err_code": 10077, "description": "full"}
        if not self.is_known:
            self.reply(number, {"error": {"code": 400, "err_code": 10208, "description": "unknown"}, "stream": "S", "seq": 0})
        elif fate == "alone":
            self.reply(number, {"error": {**error, "err_code": 10054}, "stream": "S", "seq": 0})
        elif number != self.stored + 1:
            self.reply(number, {"type": "gap", "last_seq": self.stored + 1, "seq": number})
            self.end(number)
        elif fate == "refused":
            self.reply(number, {"type": "err", "seq": number, "error": error})
            self.end(number)
        else:
            self.stored = number
            if number >= self.said + self.every:
                self.said = number
                self.reply(number, {"type": "ack", "seq": number, "msgs": self.every})

    @rule(every=st.sampled_from([1, 2, 250, 500, 10_000]))
    def the_server_changes_its_pace(self, every: int) -> None:
        self.every = every

    @rule()
    def it_forgets_the_batch(self) -> None:
        self.is_known = False

    @rule()
    def a_ping_or_the_end_arrives(self) -> None:
        if not self.is_known:
            self.arrives(self.flow.sent, "stored")
        else:
            self.reply(self.flow.sent, {"type": "ack", "seq": self.said, "msgs": self.every})

    @rule(number=st.integers(0, 2000), data=st.sampled_from([b"", b"{", b"[]", b'{"type":7}', b'{"type":"new"}', b"\xff"]))
    def something_else_arrives(self, number: int, data: bytes) -> None:
        if data != b'{"type":"new"}':
            assert not self.flow.reply(number, data)

    @precondition(lambda self: self.arriving)
    @rule(is_lost=st.booleans())
    def read(self, is_lost: bool) -> None:
        number, answer = self.arriving.popleft()
        if not is_lost:
            self.flow.reply(number, json.dumps(answer).encode())

    @rule()
    def end_it(self) -> None:
        """Everything that was sent arrives, and the end after it."""
        while self.arriving:
            self.read(is_lost=False)
        if self.flow.ended is None:
            if self.is_known and self.flow.sent == self.stored:
                self.end(self.flow.sent + 1)
            else:
                self.arrives(self.flow.sent + 1, "stored")
            while self.arriving:
                self.read(is_lost=False)
        assert self.flow.ended is not None
        assert self.flow.ended.count in (None, self.stored)

    @invariant()
    def nothing_is_counted_that_is_not_stored(self) -> None:
        flow = self.flow
        assert flow.confirmed <= self.stored <= flow.sent
        assert flow.sent <= max(1, flow.confirmed + AHEAD * FLOW)
        if flow.ended is not None and flow.ended.count is not None:
            assert flow.ended.count == flow.confirmed == self.stored


TestBatch = Batch.TestCase
TestBatch.settings = settings(max_examples=20, stateful_step_count=15)


def reply(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_a_hostile_server_confirms_no_more_than_was_sent() -> None:
    flow = FastFlow()
    flow.sent = 3
    flow.reply(1, reply(type="ack", seq=10**9, msgs=10**9))
    assert (flow.confirmed, flow.limit) == (3, 3 + AHEAD * FLOW)
    flow.reply(3, reply(type="ack", seq=-5, msgs=-5))
    assert flow.confirmed == 3
    flow.reply(3, reply(stream="S", batch="b", count=1, seq=-1))  # less than it has confirmed before
    assert flow.ended is not None
    assert flow.ended.count == 3


@pytest.mark.parametrize("fate", ["lost", "refused", "alone"])
def test_a_batch_ends_before_the_message_that_is_missing(fate: str) -> None:
    batch = Batch()
    batch.read(is_lost=False)
    batch.send(3, "stored")
    batch.send(2, fate)
    batch.send(5, "stored")
    batch.end_it()
    assert batch.flow.ended is not None
    assert (batch.flow.ended.count, batch.flow.ended.seq, batch.flow.sent) == (5, 105, 11)
    assert batch.flow.refused == (6 if fate != "lost" else 0)


@pytest.mark.parametrize("code", [10205, 10211, 10054, 10077])
def test_a_refused_first_message_ends_a_batch_that_has_not_begun(code: int) -> None:
    flow = FastFlow()
    flow.sent = 1
    assert flow.reply(1, reply(error={"err_code": code}, stream="S", seq=0))
    assert flow.ended is not None
    assert (flow.ended.count, flow.refused) == (0, 1)


def test_without_a_leader_a_batch_that_has_not_begun_is_over_and_another_is_broken() -> None:
    flow = FastFlow()
    flow.sent = 1
    flow.no_responders()
    assert flow.ended is not None
    assert (flow.ended.count, flow.without_leader) == (0, True)
    begun = FastFlow()
    begun.sent = 1
    begun.reply(1, reply(type="ack", seq=0, msgs=5))
    begun.no_responders()
    assert (begun.ended, begun.is_broken, begun.has_room) == (None, True, False)


def test_a_server_without_batches_has_stored_the_first_message() -> None:
    flow = FastFlow()
    flow.sent = 1
    flow.reply(1, reply(stream="S", seq=7))
    assert flow.ended is not None
    assert (flow.ended.count, flow.ended.seq, flow.confirmed) == (1, 7, 1)
