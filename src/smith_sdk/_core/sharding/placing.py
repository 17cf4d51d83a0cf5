"""The shard of a message that was stored as bytes, under a layout that may be in use no more."""

from __future__ import annotations

from typing import Any

from ...contract import AnySubject, Contract, Placed, ShardingSpec
from .. import codec


def sharding_of(contract: Contract, subject: AnySubject) -> ShardingSpec[Any, Any] | None:
    """The sharding whose shards `subject` is one of; None if it is no sharded subject of ours."""
    spec = contract.sharding_of(subject.NAME)
    return spec if spec is not None and spec.sharded == subject.NAME else None


def placed_bytes(spec: ShardingSpec[Any, Any], subject: AnySubject, data: bytes) -> Placed:
    """Where the message with the sharded `subject` and the payload `data` goes.

    Raises `ContractError` if its payload cannot be read, or has no valid key.
    """
    payload, text = codec.decode(subject.message_type, data, str(subject)), str(subject)
    found = spec.key_and_hash(payload)
    if found is None:
        raise spec.no_key(payload)
    return Placed(spec, text.rsplit(".", 2)[0], found[1])
