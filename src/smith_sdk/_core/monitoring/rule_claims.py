"""Rules that act now, for all processes: which one acts, since when, and why.

Several processes may run a rule of the same name. The one that has created the key
`backpressure.<rule>` owns it, and does what is for all of them; the others follow. The key has a
TTL and is renewed, so that another process takes over where the owner dies.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from ...contract import Contract
from ...display import Record
from ..foreign_text import bounded, escape_control
from ..jetstream.api import parse_time
from ..jetstream.kv import Bucket, Entry
from ..jetstream.session import Session
from .control import BACKPRESSURE, BUCKET, switch_key
from .held_consumers import Held, HeldConsumers, Hold

LEASE: Final = 30.0
"""Seconds for which a rule stays the owner's that does not renew it. Shorter than the life of what
it does, so that the next owner continues it."""

_CLAIMS: Final = f"{BACKPRESSURE}.*"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a key."""

    rule: str
    reason: str
    since: datetime
    owner: str
    """The process that acts."""
    actions: tuple[str, ...] = ()
    """What it does, in words."""

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


class ActiveRule(Record, frozen=True, kw_only=True):
    """A rule of back pressure that acts now.

    `reason` has the figures that it began with, `since` when that was (UTC), `owner` the process
    that acts, `actions` what it does. `expires` is when another process takes over, or the rule
    ends, unless the owner renews it (UTC). What a process has changed that no longer exists has an
    empty `owner`, and neither `since` nor `expires`.
    """

    rule: str
    reason: str
    since: datetime | None
    owner: str
    actions: tuple[str, ...]
    expires: datetime | None


class RuleClaims:
    """The claims in the bucket of switches. Each call raises what those of `Bucket` raise."""

    def __init__(self, session: Session) -> None:
        self.bucket = Bucket(session, BUCKET)
        self.held = HeldConsumers(self.bucket, session.api)

    async def current(self) -> dict[str, tuple[Entry, Claim]]:
        """Every rule that acts now, by its name."""
        found = ((entry, _read(entry)) for entry in await self.bucket.list(_CLAIMS))
        return {entry.key.partition(".")[2]: (entry, claim) for entry, claim in found}

    async def create(self, claim: Claim) -> int | None:
        """Claim a rule. Returns the revision of the key; None if another process has it."""
        value = claim.encode()
        if await self.bucket.create(_key(claim.rule), value, ttl=LEASE) is not None:
            return None
        entry = await self.bucket.get(_key(claim.rule))
        return entry.revision if entry is not None and entry.value == value else None

    async def renew(self, claim: Claim, revision: int) -> int | None:
        """Keep a claim for another `LEASE`. None if it is lost."""
        return await self.bucket.replace(_key(claim.rule), claim.encode(), revision=revision, ttl=LEASE)

    async def drop(self, rule: str, revision: int | None = None) -> bool:
        """Give up a claim, or anybody's without a `revision`."""
        return await self.bucket.delete(_key(rule), revision=revision)

    async def was_dropped(self, rule: str) -> bool:
        """Whether a rule without a claim was given up, rather than left to expire."""
        return await self.bucket.was_deleted(_key(rule))

    async def left_behind(self, rule: str) -> list[tuple[str, str]]:
        """The consumers that `rule` holds: their streams and names."""
        return [(stream, consumer) for stream, consumer, held in await self.held.all() if rule in held.rules]

    async def undo(self, rule: str) -> None:
        """Undo all that `rule` does to others than its own process."""
        await self.bucket.delete(switch_key(rule))
        for stream, consumer in await self.left_behind(rule):
            await self.held.release(stream, consumer, rule)

    async def active(self) -> list[ActiveRule]:
        """Every rule that acts, and what others have left behind."""
        claims, held = await asyncio.gather(self.current(), self.held.all())
        rules = [_active(rule, entry, claim) for rule, (entry, claim) in claims.items()]
        left: dict[str, list[str]] = {}
        for stream, consumer, one in held:
            for rule, hold in one.rules.items():
                if rule not in claims:
                    left.setdefault(rule, []).append(_left(stream, consumer, hold, one))
        why = "left by a process that no longer exists"
        rules += [
            ActiveRule(rule=_plain(rule), reason=why, since=None, owner="", actions=tuple(actions), expires=None)
            for rule, actions in left.items()
        ]
        return sorted(rules, key=lambda one: one.rule)


def is_declared(contract: Contract) -> bool:
    """Whether `contract` has the bucket."""
    return any(one.name == f"KV_{BUCKET}" for one in contract.streams)


def _key(rule: str) -> str:
    return f"{BACKPRESSURE}.{rule}"


def _read(entry: Entry) -> Claim:
    try:
        claim = msgspec.json.decode(entry.value, type=Claim)
        return msgspec.structs.replace(claim, since=claim.since.astimezone(UTC))
    except (msgspec.ValidationError, msgspec.DecodeError, OverflowError):  # another program has written it
        return Claim(rule=entry.key.partition(".")[2], reason="", since=_stored_at(entry), owner="")


def _stored_at(entry: Entry) -> datetime:
    found = parse_time(entry.time)
    assert found is not None  # a message that is stored has a time
    return found


def _active(rule: str, entry: Entry, claim: Claim) -> ActiveRule:
    return ActiveRule(
        rule=_plain(rule),
        reason=_plain(claim.reason),
        since=claim.since,
        owner=_plain(claim.owner),
        actions=tuple(map(_plain, claim.actions)),
        expires=None if entry.ttl is None else _stored_at(entry) + timedelta(seconds=entry.ttl),
    )


def _left(stream: str, consumer: str, hold: Hold, held: Held) -> str:
    values: dict[str, Any] = {name: hold.wants(name) for name in held.before}
    parts = [f"{name}={value / 1e9:g}s" if name == "ack_wait" else f"{name}={value}" for name, value in values.items() if value]
    return _plain(f"{consumer}: {', '.join([*parts, *(['paused'] if hold.pause else [])])}")


def _plain(text: str) -> str:
    return bounded(escape_control(text, keep_layout=False))
