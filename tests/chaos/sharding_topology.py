"""What the runs read and write: the SDK's sharding, with a pin timeout of the test's own, or the
same streams and consumers for workers that rely on the pin alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace
from nats.aio.client import Client

from smith_sdk import SmithBus, sharding
from smith_sdk.contract import Contract, Profile
from smith_sdk.topology import CONTRACT

from .sharding_wire import ask

_STREAMS: Final = ("ATOMS_VETTED", "ATOMS_RESULTS", "SMITH_DLQ", "KV_SMITH_CONTROL")
_CHANGES: Final[dict[str, dict[str, Any]]] = {
    "ATOMS_VETTED": {"max_msgs": None},
    # Results have message ids; nothing is to be taken for a duplicate that comes later than this.
    "ATOMS_RESULTS": {"duplicate_window": 0.1},
}


def contract(pin_timeout: float, shards: int = 16) -> Contract:
    """Smith's own, as far as sharded workers need it; the stream has room for a run."""
    episode = replace(sharding.episode, pin_timeout=pin_timeout, layout=replace(sharding.episode.layout, shards=shards))
    streams = (CONTRACT.stream(name) for name in _STREAMS)
    return replace(
        CONTRACT,
        streams=tuple(replace(one, **_CHANGES.get(one.name, {})) for one in streams),
        consumers=episode.consumers,
        shardings=(episode,),
        profiles=(Profile(name="single", replicas=1, fit=1 << 30), Profile(name="cluster", replicas=3, fit=1 << 30)),
    )


class System:
    """Workers of one kind: the stream that they read, and its consumers."""

    stream = "ATOMS_VETTED"
    group = "owner"
    subjects: str | None = None
    """Where messages are published, with {key} and {shard}; None: by the SDK."""

    def consumer(self, shard: int) -> str:
        """The name of a shard's consumer."""
        return f"episode-{shard:02x}"

    def command(self) -> list[str]:
        """Starts a worker process; its `Role` is the first line of its input."""
        return [sys.executable, "-m", "chaos.sharding_worker"]

    async def make(self, client: Client, setting: Any, urls: Sequence[str]) -> None:
        """Create all that the run needs, besides the stream of effects."""
        raise NotImplementedError


class Sharded(System):
    """`ShardedWorker`."""

    async def make(self, client: Client, setting: Any, urls: Sequence[str]) -> None:
        await asyncio.to_thread(self._apply, setting, urls)

    def _apply(self, setting: Any, urls: Sequence[str]) -> None:
        with SmithBus(urls, contract=contract(setting.pin_timeout, setting.shards), connect_timeout=10.0) as bus:
            bus.streams.apply(profile="single" if setting.servers == 1 else "cluster")


class PinAlone(System):
    """The control."""

    subjects = "smith.intents.vetted.fs.read.v1.chaos.shard.{shard:02x}"

    async def make(self, client: Client, setting: Any, urls: Sequence[str]) -> None:
        config = {
            "name": self.stream,
            "subjects": ["smith.intents.vetted.>"],
            "retention": "interest",
            "num_replicas": setting.servers,
            "discard": "new",
        }
        await ask(client, f"STREAM.CREATE.{self.stream}", config)
        for shard in range(setting.shards):
            nanoseconds = int(setting.pin_timeout * 1e9)
            consumer = {
                "durable_name": self.consumer(shard),
                "filter_subject": f"smith.intents.vetted.*.*.*.*.shard.{shard:02x}",
                "ack_policy": "explicit",
                "ack_wait": nanoseconds,
                "max_deliver": -1,
                "max_ack_pending": 256,
                "priority_policy": "pinned_client",
                "priority_groups": [self.group],
                "priority_timeout": nanoseconds,
            }
            request = {"stream_name": self.stream, "config": consumer, "action": "create"}
            await ask(client, f"CONSUMER.CREATE.{self.stream}.{self.consumer(shard)}.{consumer['filter_subject']}", request)


def system_of(face: str) -> System:
    return PinAlone() if face == "control" else Sharded()
