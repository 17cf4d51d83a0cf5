"""What the sharding runs read and write."""

from __future__ import annotations

from typing import Any, Final

from nats.aio.client import Client

from .sharding_wire import ask

STREAM: Final = "ATOMS_VETTED"
GROUP: Final = "episode"


def consumer_of(shard: int) -> str:
    return f"episode-{shard:02x}"


async def make(client: Client, setting: Any, urls: list[str]) -> None:
    """The stream and the consumers of its shards."""
    config = {
        "name": STREAM,
        "subjects": ["smith.intents.vetted.>"],
        "retention": "interest",
        "storage": "file",
        "num_replicas": setting.servers,
        "discard": "new",
        "duplicate_window": 120_000_000_000,
    }
    await ask(client, f"STREAM.CREATE.{STREAM}", config)
    for shard in range(setting.shards):
        nanoseconds = int(setting.pin_timeout * 1e9)
        consumer = {
            "durable_name": consumer_of(shard),
            "filter_subject": f"smith.intents.vetted.*.*.*.*.shard.{shard:02x}",
            "ack_policy": "explicit",
            "ack_wait": nanoseconds,
            "max_deliver": -1,
            "max_ack_pending": 256,
            "priority_policy": "pinned_client",
            "priority_groups": [GROUP],
            "priority_timeout": nanoseconds,
        }
        request = {"stream_name": STREAM, "config": consumer, "action": "create"}
        await ask(client, f"CONSUMER.CREATE.{STREAM}.{consumer_of(shard)}.{consumer['filter_subject']}", request)
