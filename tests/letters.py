"""Dead letters for tests: a contract with room and short times, letters put there at will, and
what a stream holds."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from smith_sdk import Message, consumers
from smith_sdk._core.dead_letters import attempt_marker
from smith_sdk._core.dead_letters.format import Death, Original
from smith_sdk._core.dead_letters.store import DeadLetterStore
from smith_sdk._core.jetstream.stream_reader import Stored, read_page
from smith_sdk.aio.dead_letters import dead_letter
from smith_sdk.contract import Contract
from smith_sdk.topology import CONTRACT

STREAM: Final = "SYSTEM_EVENTS"
READER: Final = replace(consumers.executor_fs_read, ack_wait=1.0)
EVENTS_READER: Final = replace(consumers.audit_collector, name="reader", stream=STREAM, filters=("smith.events.>",))
"""The consumer of the letters that `original` makes."""


def contract(**events: Any) -> Contract:
    """Smith's own, with other settings for SYSTEM_EVENTS, where letters may be replayed without
    anybody who reads them."""
    streams = tuple(
        replace(one, **{"max_msgs": 200_000, "max_bytes": None, **events}) if one.name == STREAM else one
        for one in CONTRACT.streams
    )
    declared = tuple(READER if one.name == READER.name else one for one in CONTRACT.consumers)
    return replace(CONTRACT, streams=streams, consumers=(*declared, EVENTS_READER))


APPLIED: Final = contract()
"""For a command: `--contract letters:APPLIED`."""


def original(number: int, **otherwise: Any) -> Original:
    fields: dict[str, Any] = {
        "stream": STREAM,
        "consumer": "reader",
        "seq": number,
        "subject": f"smith.events.health.s{number}",
        "data": msgspec.json.encode({"number": number}),
        "headers": {"Trace-Id": f"t{number}", "Nats-Msg-Id": f"m{number}"},
        "stored": time.time_ns(),
        "attempts": 3,
    }
    return Original(**{**fields, **otherwise})


async def put_letters(bus: Any, *originals: Original, **death: Any) -> None:
    """Store letters in this order, without their originals."""
    reason = Death(**{"error_type": "ValueError", "error": "no good", **death})
    for one in originals:
        await DeadLetterStore(bus._session).put(one, reason)


async def put_many_letters(bus: Any, count: int) -> None:
    for first in range(1, count + 1, 500):
        await asyncio.gather(*(put_letters(bus, original(number)) for number in range(first, min(first + 500, count + 1))))


async def to_dead_letters(bus: Any, message: Message[Any, Any], error_type: str, error: str, **death: Any) -> None:
    """Dead-letter a delivered message, as a worker does."""
    await dead_letter(bus._session, message, Death(error_type=error_type, error=error, **death))


async def mark(bus: Any, message: Message[Any, Any]) -> bool:
    """Store the marker of an isolated attempt, as a worker does before it begins."""
    return await attempt_marker.put(DeadLetterStore(bus._session), message.metadata)


async def held(bus: Any, stream: str = STREAM, pattern: str = ">") -> list[Stored]:
    """All that the stream holds."""
    found: list[Stored] = []
    while page := await read_page(bus._session, stream, pattern, after=found[-1].seq if found else 0):
        found += page
    return found


async def replayed(bus: Any) -> list[int]:
    """The numbers of the letters that were replayed, as they stand in the stream."""
    return [msgspec.json.decode(one.data)["number"] for one in await held(bus)]
