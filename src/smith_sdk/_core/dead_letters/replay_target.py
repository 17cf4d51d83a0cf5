"""Where a letter may be replayed to: what the contract says, not what the letter says.

Any program that may publish to a letter's subject can forge it, such as a worker of its consumer. A
replay runs with the rights of an operator, so it goes only where a message can have come from: to a
subject that the letter's stream captures and that its consumer takes. If that was one of a shard,
and the number of shards was changed since, it goes to the shard that its payload's key has now.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ...contract import Contract, Layout, Placed, Shard, ShardingSpec, covers, is_token
from ...errors import ContractError
from ..jetstream.session import Session
from ..sharding.layouts import read_layouts
from ..sharding.placing import placed_bytes, sharding_of
from .facts import read_seq
from .selection import Ref

_LONGEST: Final = 4096
"""Characters of a subject that is checked token by token."""


def refusal(contract: Contract, ref: Ref) -> str | None:
    """Why the letter may not be replayed; None if it may."""
    stream, consumer, last = ref.id.split(".")
    if read_seq(last) is None:
        return f"its id ends with {last[:50]!r}, which is not a sequence"
    for name, said, token in zip(("stream", "consumer", "sequence"), ref.origin, (stream, consumer, last), strict=True):
        if said not in (None, token):
            return f"its headers name another {name} than its id"
    if not _is_literal(ref.subject):
        return "it has no valid original subject"
    why = _not_from(contract, stream, consumer, ref.subject)
    if why is None and ref.is_truncated:
        why = "its payload is incomplete: it was too large for a dead letter"
    return why


def _not_from(contract: Contract, stream: str, consumer: str, subject: str) -> str | None:
    """Why a message on `subject` cannot have come from that consumer; None if it can."""
    declared = next((spec for spec in contract.streams if spec.name == stream), None)
    if declared is None:
        return f"contract {contract.name} declares no stream {stream}, so nothing tells where its messages come from"
    found = next((spec for spec in contract.consumers if (spec.stream, spec.name) == (stream, consumer)), None)
    if found is None:
        shard = _pattern_of_shard(contract, stream, consumer)
        if shard is not None:
            return None if covers(shard, subject) else f"consumer {consumer} does not take its original subject {subject[:200]!r}"
        return (
            f"contract {contract.name} declares no consumer {consumer} of stream {stream}, so nothing tells where its messages "
            f"come from"
        )
    if not any(covers(pattern, subject) for pattern in declared.subjects):
        return f"stream {stream} does not capture its original subject {subject[:200]!r}"
    if found.filters and not any(covers(pattern, subject) for pattern in found.filters):
        return f"consumer {consumer} does not take its original subject {subject[:200]!r}"
    return None


def _pattern_of_shard(contract: Contract, stream: str, consumer: str) -> str | None:
    """The subjects of a shard's consumer, where the number of shards was changed on the server."""
    for spec in contract.shardings:
        generation = spec.generation_of(consumer)
        if generation is not None and stream in spec.stream_names:
            return spec.pattern_of(Shard(int(consumer.rpartition("-")[2], 16), generation))
    return None


def _is_literal(subject: str) -> bool:
    """Whether a message of an application can have that subject: `$` begins the server's own."""
    return not subject.startswith("$") and len(subject) <= _LONGEST and all(map(is_token, subject.split(".")))


class Place(msgspec.Struct, frozen=True):
    """Where a letter goes: to its original subject, unless its `shard` is another one by now."""

    subject: str
    stream: str
    shard: Placed | None = None

    @property
    def pattern(self) -> str:
        """Its subject, in whichever layout."""
        return self.subject if self.shard is None else f"{self.shard.head}.*.*"


class Places:
    """The places of letters. How many shards there are now is asked once, until `forget`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._layouts: dict[str, Layout] = {}

    def forget(self) -> None:
        """It may have changed."""
        self._layouts.clear()

    def sharding(self, ref: Ref) -> ShardingSpec[Any, Any] | None:
        """The sharding of which the letter's original subject is a shard; None if it is not."""
        contract = self._session.contract
        try:
            return sharding_of(contract, contract.parse(ref.subject))
        except ContractError:
            return None

    async def of(self, ref: Ref, spec: ShardingSpec[Any, Any], data: bytes) -> Place:
        """Where a letter of a shard with the payload `data` goes.

        Raises `ContractError` if its shard is no longer used, and its payload has no valid key, and
        what a request raises.
        """
        original = Place(ref.subject, ref.id.split(".")[0])
        layout = self._layouts.get(spec.name)
        if layout is None:
            layouts, _ = await read_layouts(self._session.api, spec)
            layout = self._layouts[spec.name] = layouts.current
        subject: Any = self._session.contract.parse(ref.subject)
        is_current = subject.shard.generation == layout.generation
        try:
            shard = placed_bytes(spec, subject, data)
        except ContractError:
            if is_current:
                return original  # its payload may be why it was dead-lettered
            raise
        place = Place(*shard.under(layout), shard)
        return original if is_current and place.subject != ref.subject else place
