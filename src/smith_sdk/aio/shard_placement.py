"""Which shard a payload goes to: by its key alone, whatever subject it is published with."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from .. import subjects
from .._core.jetstream.session import Session
from ..contract import Layout, Placed, ShardingSpec
from ..contract.sharding import shown
from ..errors import SubjectMismatch
from ..protocol import Intent

_MAX_KNOWN: Final = 1024
"""Capabilities and domains of which the place is remembered."""


def layout_of(session: Session, spec: ShardingSpec[Any, Any]) -> Layout:
    """The layout that the bus knows to be in use; the declared one until it knows of another."""
    return session.layouts.publishing(spec)


def placed(session: Session, subject: Any, where: str, payload: Any) -> Placed | None:
    """Where `payload` goes; None if `subject` is the plain one, and the payload has no key.

    `subject`, which is `where` as text, is of one of `session.sharded_subjects`. Raises
    `InvalidShardKey`, and `SubjectMismatch` for a payload with a key on the plain subject, without
    one on the sharded one, and in another shard than that of its key.
    """
    spec = session.sharded_subjects[type(subject)]
    found = spec.key_and_hash(payload)
    if spec.subject == subject.NAME:
        if found is None:
            return None
        raise SubjectMismatch(
            f"the payload for {subject} has the key {shown(found[0])} of sharding {spec.name}, so it belongs to the shard of that: "
            f"publish it to subjects.{spec.sharded}.of(payload)"
        )
    if found is None:
        raise spec.no_key(payload)
    key, key_hash = found
    if not spec.layout.has(subject.shard, key_hash) and not layout_of(session, spec).has(subject.shard, key_hash):
        raise SubjectMismatch(
            f"{subject} is not the shard of the payload's key {shown(key)}: publish it to subjects.{spec.sharded}.of(payload)"
        )
    return Placed(spec, where.rsplit(".", 2)[0], key_hash)


class Place(msgspec.Struct, frozen=True):
    """Where a message goes: its subject, the stream that keeps it, and the shard of its key."""

    subject: str
    stream: str
    shard: Placed | None

    @property
    def name(self) -> str:
        """Its subject without the shard, which differs between layouts."""
        return self.subject if self.shard is None else self.shard.head

    def is_at(self, subject: str) -> bool:
        """Whether `subject` is this one, in whichever layout."""
        return subject == self.subject or (self.shard is not None and subject.rpartition(".shard")[0] == self.name)


class VettedPlaces:
    """Where intents go that are let through. Knows the places of those without a key."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._spec = session.contract.sharding_of(subjects.intents.vetted.NAME)
        self._plain: dict[tuple[type, str], Place] = {}

    def of(self, intent: Intent) -> Place:
        """The place of `intent`. Raises `InvalidShardKey`, `InvalidToken`."""
        spec = self._spec
        key = None if spec is None else spec.key_of(intent)
        plain = self._plain.get((type(intent), intent.domain)) or self._first(intent)
        if spec is None or key is None:
            return plain
        shard = spec.placed(plain.subject, key)
        return Place(*shard.under(layout_of(self._session, spec)), shard)

    def _first(self, intent: Intent) -> Place:
        subject = subjects.intents.vetted.of(intent)
        if len(self._plain) >= _MAX_KNOWN:  # publishers choose the domains
            self._plain.clear()
        found = self._plain[type(intent), intent.domain] = Place(str(subject), str(subject.STREAM), None)
        return found


def vetted_place(session: Session, intent: Intent) -> Place:
    """Where `intent` goes if it is let through. Raises `InvalidShardKey`, `InvalidToken`."""
    return VettedPlaces(session).of(intent)


def vetted_patterns(session: Session) -> dict[str, tuple[str, ...]]:
    """The streams that store vetted intents, each with the patterns of their subjects there."""
    plain = subjects.intents.vetted
    found = {str(plain.STREAM): plain.filter().patterns}
    spec = session.contract.sharding_of(plain.NAME)
    for stream in () if spec is None else spec.stream_names:
        found[stream] = (*found.get(stream, ()), *subjects.intents.vetted_sharded.filter().patterns)
        found[stream] += subjects.intents.vetted_crates.filter().patterns
    return found
