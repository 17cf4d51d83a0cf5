"""Stamps: which contract, of which hash and profile, a stream or consumer was applied from.

They stand in its metadata on the server. A stamp that differs is not drift: keys of the topology
may all be the same. `verify` and the start of a worker log it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...contract import ConsumerSpec, Contract
from ...errors import SmithError
from ..jetstream.api import JetStreamApi
from ..log_records import LogFields, sdk_logger

log: Final = sdk_logger("streams")

CONTRACT: Final = "smith.contract"
HASH: Final = "smith.contract_hash"
PROFILE: Final = "smith.profile"
STAMPS: Final = frozenset((CONTRACT, HASH, PROFILE))

Json = dict[str, Any]
_LISTED: Final = 3
"""How many names a warning lists."""


def stamped(config: Json, contract: Contract, profile: str | None = None) -> Json:
    """`config` with a stamp in its metadata; a consumer has no `profile`."""
    stamp = {CONTRACT: contract.name, HASH: contract.spec_hash}
    if profile is not None:
        stamp[PROFILE] = profile
    return {**config, "metadata": {**config.get("metadata", {}), **stamp}}


def stamp_of(config: Mapping[str, Any] | None) -> dict[str, str]:
    """The stamp of a stream or consumer; empty if it has none."""
    metadata = (config or {}).get("metadata") or {}
    return {key: value for key, value in metadata.items() if key in STAMPS}


def stale(config: Json | None, declared: Json) -> bool:
    """Whether what is on the server has another stamp than the one that is declared."""
    return config is not None and stamp_of(config) != stamp_of(declared)


def differing_hashes(pairs: Iterable[tuple[str, Json | None, Json]]) -> list[str]:
    """A warning for each contract that something on the server was applied from, if it has another
    hash than the one declared here. `pairs`: a name, the config on the server, and the declared.
    """
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for name, config, declared in pairs:
        there, here = stamp_of(config), stamp_of(declared)
        if there.get(HASH) and (there.get(CONTRACT), there[HASH]) != (here[CONTRACT], here[HASH]):
            key = (there.get(CONTRACT, ""), there[HASH], here[CONTRACT], here[HASH])
            found.setdefault(key, []).append(name)
    return [
        f"{_listed(names)} on the server: applied from contract {theirs} {their_hash}, and this program has {ours} {our_hash}; "
        f"regenerate or redeploy the older of the two, then run `smith streams apply`"
        for (theirs, their_hash, ours, our_hash), names in found.items()
    ]


async def warn_if_other_hash(api: JetStreamApi, contract: Contract, spec: ConsumerSpec[Any, Any]) -> None:
    """Log a warning if the consumer was applied from a contract of another hash.

    Needs the permission for CONSUMER.INFO; without an answer nothing is known.
    """
    fields = LogFields(stream=spec.stream, consumer=spec.name)
    try:
        info = await api.consumer_info(spec.stream, spec.name)
    except SmithError as error:
        log.debug("consumer %s of %s: its contract's hash is not known: %s", spec.name, spec.stream, error, extra=fields)
        return
    declared = stamped({}, contract.owner(spec.stream, spec.name))
    for warning in differing_hashes([(f"consumer {spec.name} of {spec.stream}", info["config"], declared)]):
        log.warning("%s", warning, extra=fields)


def _listed(names: list[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
