"""What an operator asks the members of a sharding for, by keys in the bucket."""

from __future__ import annotations

import msgspec

from ..jetstream.kv import Bucket
from .records import Keys, Move, read_member


async def set_draining(bucket: Bucket, keys: Keys, member: str, draining: bool) -> bool:
    """Have `member` give its shards to the others, or take some again. False: there is no such
    member.

    It holds for the process that runs now. Raises what those of `Bucket` raise.
    """
    key = keys.member(member)
    while (there := await bucket.get(key)) is not None:
        record = read_member(there)
        if record is None or record.stopped:
            return False
        value = msgspec.json.encode(msgspec.structs.replace(record, draining=draining))
        if record.draining == draining or await bucket.replace(key, value, revision=there.revision, ttl=there.ttl) is not None:
            return True  # otherwise it has renewed its key meanwhile
    return False


async def move(bucket: Bucket, keys: Keys, shard: str, order: Move | None) -> None:
    """Have a shard with one member for as long as that is one; None: as it is assigned.

    Raises what those of `Bucket` raise.
    """
    if order is None:
        await bucket.delete(keys.move(shard))
    else:
        await bucket.put(keys.move(shard), msgspec.json.encode(order))
