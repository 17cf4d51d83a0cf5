"""A process of natsio-pcgroups, the Python port of orbit's partitioned consumer groups, for
`takeovers.py`: `python benchmarks/pcgroups_peer.py [make]`.

It needs Python 3.13 and `pip install natsio-pcgroups`, in an environment of its own: nothing of
smith-sdk is imported here. The first line of standard input is what to do, as JSON; the process
ends when its input does.

Every process has an instance of each member, and each member has one partition: so any process can
take over any partition, which is what our workers do. A member handles one message after the other.
With `max_ack_pending` 1, as its documentation recommends for strict order, or as it is by default.
"""

# pyright: reportMissingImports=false

import asyncio
import itertools
import json
import os
import random
import signal
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import natsio
from natsio.jetstream import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig, SubjectTransform
from natsio.pcgroups import PartitionedMsg, create_static, static_consume

STREAM, GROUP = "PCG", "g"


def member(shard: int) -> str:
    return f"m{shard:02d}"


async def make(role: dict[str, Any]) -> None:
    client = await natsio.connect(*role["urls"])
    context = client.jetstream()
    transform = SubjectTransform(src="pcg.*", dest=f"{{{{partition({role['shards']},1)}}}}.pcg.{{{{wildcard(1)}}}}")
    await context.create_stream(
        StreamConfig(name=STREAM, subjects=["pcg.*"], subject_transform=transform, retention=RetentionPolicy.INTEREST)
    )
    members = [member(shard) for shard in range(role["shards"])]
    await create_static(context, STREAM, GROUP, role["shards"], ["pcg.*"], members)
    # An interest stream keeps what a consumer is to get, so all exist before the first message.
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=timedelta(seconds=role["pin_timeout"]))
    config.max_ack_pending = 1 if role["kind"] == "pcgroups" else None

    async def refuse(message: PartitionedMsg) -> None:
        raise AssertionError("nothing is published yet")

    for name in members:
        await (await static_consume(context, STREAM, GROUP, name, refuse, config)).stop()
    await client.close()


async def work(role: dict[str, Any]) -> None:
    client = await natsio.connect(*role["urls"])
    context, runs = client.jetstream(), itertools.count()

    async def handle(message: PartitionedMsg) -> None:
        metadata = json.loads(message.data)["metadata"]
        await asyncio.sleep(random.random() * role["work"] if role["spread"] else role["work"])
        words = (metadata["episode_id"], metadata["number"], message.metadata.stream_seq, role["process"], 0, next(runs))
        line = " ".join(map(str, words)).encode()
        while True:
            with suppress(natsio.NATSError, TimeoutError):
                answer = await client.request(f"chaos.effects.{message.partition}", line, timeout=2)
                if "error" not in json.loads(answer.payload):
                    break
            await asyncio.sleep(0.1)
        await message.ack()

    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=timedelta(seconds=role["pin_timeout"]))
    config.max_ack_pending = 1 if role["kind"] == "pcgroups" else None
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    instances = [await static_consume(context, STREAM, GROUP, member(shard), handle, config) for shard in range(role["shards"])]
    (Path(role["directory"]) / f"{role['process']}.ready").touch()
    ended = [asyncio.ensure_future(instance.wait()) for instance in instances]
    left = asyncio.ensure_future(leaving.wait())
    done, _ = await asyncio.wait([left, *ended], return_when=asyncio.FIRST_COMPLETED)
    if left not in done:
        await next(iter(done))  # raises what ended it
    await asyncio.gather(*(instance.stop() for instance in instances))
    for one in ended:
        one.cancel()
    await client.close()


def end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os._exit(3)


def main() -> None:
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1)
    role = json.loads(line)
    if sys.argv[1:] == ["make"]:
        asyncio.run(make(role))
        return
    threading.Thread(target=end_with_stdin, daemon=True).start()
    asyncio.run(work(role))


if __name__ == "__main__":
    main()
