"""Which consumers make way for which, so that a domain is served as declared. Pure.

All consumers of a family, those that were derived from the same one and that one itself, may have
domains in common. Those on the server that are not declared any more make way for the declared ones
with the same domains: all at once, since the filters of none are changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from ...contract import ConsumerSpec, Contract, covers, is_token
from ...contract.domain_names import DERIVED_FROM
from ...display import Record
from ...errors import InvalidToken, OptionsError
from ..topology.config_keys import Json
from ..topology.work_queues import any_overlap, filters_of
from .keys import MoveRecord

Spec = ConsumerSpec[Any, Any]
Infos = Mapping[str, Mapping[str, Json]]
"""The INFO of each consumer on the server, by stream and name, filters as in `with_filters`."""
Place = tuple[str, str]
"""A stream, and the consumer that a family is derived from."""

_UNSERVED: Final = "other domains"


class MoveStep(Record, frozen=True, kw_only=True):
    """One step of a move: its `action`, and in words what it does.

    `action` is "hold", "drain", "stop", "create", "delete", "start" or "release".
    """

    action: str
    consumer: str
    text: str


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """`old` consumers of `stream` make way for `new` ones of the same family."""

    stream: str
    family: str
    old: tuple[str, ...]
    new: tuple[Spec, ...]
    patterns: tuple[str, ...]
    """What all of them receive: it is held meanwhile."""
    dropped: tuple[str, ...]
    """Patterns of `old` that no consumer receives afterwards."""
    is_queue: bool

    def steps(self) -> Iterator[MoveStep]:
        """What is done, in order."""
        names = ", ".join(self.old)
        into = ", ".join(spec.name for spec in self.new)

        def step(action: str, consumer: str, text: str) -> MoveStep:
            return MoveStep(action=action, consumer=consumer, text=text)

        if not self.old:
            yield step("start", into, f"start deliveries to {into}")
            yield step("release", self.family, "let admission go on")
            return
        yield step("hold", self.family, f"hold {', '.join(self.patterns)} at admission: new intents wait in the raw stream")
        yield step("drain", names, f"wait until {names} has nothing left")
        yield step("stop", names, f"stop deliveries to {names}")
        changes = [
            step("create", into, f"create {into}" + (", which waits" if not self.is_queue else "")),
            step("delete", names, f"delete {names}"),
        ]
        yield from reversed(changes) if self.is_queue else changes
        if not self.is_queue:
            yield step("start", into, f"start deliveries to {into}")
        text = "let admission go on"
        if self.dropped:
            text += f"; no consumer receives {', '.join(self.dropped)} any more but for the domains of {into}: NO_EXECUTOR"
        yield step("release", self.family, text)


def find_moves(
    contract: Contract,
    infos: Infos,
    queues: Collection[str],
    records: Mapping[Place, MoveRecord],
    domain: str,
    to: Sequence[str] | None = None,
) -> list[Move]:
    """The moves by which the declared consumers, or those named in `to`, come to serve `domain`.

    Those in `records` were begun. Raises `InvalidToken`, and `OptionsError` for a domain that no
    declared consumer serves, an unknown name, and a move that would leave a declared domain without
    a consumer.
    """
    if not is_token(domain):
        raise InvalidToken(f"{domain!r} cannot be a domain", pattern="", token="domain", value=domain)
    targets = [spec for template in contract.templates for spec in _declared(contract, template) if serves(spec, domain)]
    if not targets:
        known = sorted({one for spec in contract.consumers for one in spec.domains}) or "none"
        raise OptionsError(
            f"domain {domain!r}: contract {contract.name!r} declares no consumer that serves it; the domains that it names are "
            f"{', '.join(known) if known != 'none' else known}"
        )
    if to is not None:
        names = [spec.name for spec in targets]
        for name in to:
            if name not in names:
                raise OptionsError(f"to={name!r}: is not a declared consumer of domain {domain!r}, which are {', '.join(names)}")
        targets = [spec for spec in targets if spec.name in to]
    found = (_move(contract, infos.get(spec.stream, {}), spec, queues, records) for spec in targets)
    return [move for move in found if move is not None]


def serves(spec: Spec, domain: str) -> bool:
    """Whether `spec` receives what is for `domain`."""
    return domain in spec.domains if spec.domains else bool(spec.domain_filters)


def family_of(info: Json) -> str:
    """The name of the consumer that the one with `info` was derived from, or its own."""
    return str((info["config"].get("metadata") or {}).get(DERIVED_FROM) or info["name"])


def _declared(contract: Contract, template: Spec) -> Iterator[Spec]:
    for spec in contract.consumers:
        if spec.stream == template.stream and template.name in (spec.name, spec.derived_from):
            yield spec


def _move(
    contract: Contract, infos: Mapping[str, Json], target: Spec, queues: Collection[str], records: Mapping[Place, MoveRecord]
) -> Move | None:
    """The move that puts `target` in place; None if it is."""
    family = target.derived_from or target.name
    declared = [spec for spec in contract.consumers if spec.stream == target.stream and family in (spec.name, spec.derived_from)]
    kept = {spec.name for spec in declared}
    undeclared = {
        name: filters_of(info["config"])
        for name, info in infos.items()
        if name not in kept and family_of(info) == family and info["config"].get("durable_name")
    }
    old: dict[str, tuple[str, ...]] = {}
    new = {target.name: target}
    while True:  # what shares a domain with one of them belongs to the move
        grown = {
            name: filters
            for name, filters in undeclared.items()
            if any(any_overlap(filters, spec.filters) for spec in new.values())
        }
        more = {spec.name: spec for spec in declared if any(any_overlap(spec.filters, filters) for filters in grown.values())}
        if grown.keys() == old.keys() and more.keys() <= new.keys():
            break
        old, new = grown, {**new, **more}
    record = records.get((target.stream, family))
    if not old and (record is None or not set(record.new) & set(new)):
        return None
    if not old and record is not None:
        new = {spec.name: spec for spec in declared if spec.name in record.new}
    afterwards = [pattern for spec in new.values() for pattern in spec.filters]
    lost = [one for filters in old.values() for one in filters if not any(covers(pattern, one) for pattern in afterwards)]
    whole = [pattern for pattern in lost if "*" not in pattern]
    if whole:
        raise OptionsError(
            f"consumer{'s' * (len(old) > 1)} {', '.join(old)} also {'receive' if len(old) > 1 else 'receives'} {', '.join(whole)}, "
            f"and no declared consumer does: declare one for that domain, too"
        )
    patterns = tuple(dict.fromkeys(one for filters in (*old.values(), tuple(afterwards)) for one in filters))
    return Move(
        stream=target.stream,
        family=family,
        old=tuple(sorted(old)),
        new=tuple(new[name] for name in sorted(new)),
        patterns=tuple(one for one in patterns if not any(other != one and covers(other, one) for other in patterns)),
        dropped=tuple(lost),
        is_queue=target.stream in queues,
    )
