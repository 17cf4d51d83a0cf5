"""What sharding costs the servers, in their own processor time and memory.

Usage: `python benchmarks/shards.py [--quick] [--servers 1|3] [--json FILE]`. With 3, the servers
are a cluster on this machine, streams and consumers have three replicas, and a figure is the sum
over the three.

Four parts, each on a stream of its own:

- standing: durable consumers as a shard has them (pinned, a filter each), with nothing to do: the
  memory and the time to make each, and processor time while a pull of each is renewed every third
  of the pin's timeout, as an owner does.
- messages: processor time to store a message of 350 bytes on an interest stream with message ids,
  and to deliver it and take its ack: through one consumer, through one for each of 16 shards, and
  with those 16 in four streams.
- ids: what a stream keeps in memory for each message id until its duplicate window ends.
- bucket: members that renew their key every third of its TTL, each watching all keys: processor
  time for a renewal, and for each time that one is told to a member.

Rates are in the JSON and not in the table: on one machine they are those of the cores, which
servers, publisher and reader share. `docs/scaling.md` adds up processor time instead.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import machine
import nats
from harness import used_by
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from smith_sdk import AsyncSmithBus
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.jetstream.kv_watch import KeyWatch
from smith_sdk.embedded import EmbeddedServer

SHARDS: Final = 16
PIN_TIMEOUT: Final = 10.0
"""Seconds, as a sharding declares it by default; everything is renewed each third of it."""
BATCH: Final = 64
_HOST: Final = "127.0.0.1"
_BODY: Final = b"x" * 350
_GROUP: Final = "owner"
_LONGEST: Final = 300.0  # seconds that a part may take


class Servers:
    """The servers of a run, and what their processes have used."""

    def __init__(self, running: Sequence[EmbeddedServer]) -> None:
        self.replicas = len(running)
        self.urls = [server.url for server in running]
        self._pids = [pid for server in running if (pid := server.pid) is not None]

    def cpu(self) -> float:
        """Seconds of processor time since they started, of all together."""
        return sum(self.each_cpu())

    def each_cpu(self) -> list[float]:
        return [used_by(pid) for pid in self._pids]

    def memory(self) -> float:
        """KiB resident, of all together."""
        return sum(
            int(line.split()[1])
            for pid in self._pids
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("VmRSS")
        )


@contextmanager
def started(count: int) -> Iterator[Servers]:
    """One server, or a cluster of as many."""
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="smith-bench-"))
        if count == 1:
            yield Servers([stack.enter_context(EmbeddedServer(Path(scratch) / "store"))])
            return
        held = [stack.enter_context(_free_port()) for _ in range(2 * count)]
        ports = [one.getsockname()[1] for one in held]
        running = []
        for number in range(count):
            routes = ", ".join(f'"nats://{_HOST}:{port}"' for port in ports[count:] if port != ports[count + number])
            config = f'server_name: n{number}\ncluster {{ name: bench, listen: "{_HOST}:{ports[count + number]}", routes: [{routes}] }}'
            running.append(EmbeddedServer(Path(scratch) / f"n{number}", port=ports[number], config=config, start_timeout=30))
        for server in running:  # JetStream does not answer before the second has started
            stack.callback(server.stop)
        for server in running:
            server.start()
        yield Servers(running)


def _free_port() -> socket.socket:
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((_HOST, 0))
    return holder


class Api:
    """The JetStream API, over a plain connection."""

    def __init__(self, client: Client, replicas: int) -> None:
        self.client = client
        self._replicas = replicas

    async def ask(self, subject: str, request: object = None) -> dict[str, Any]:
        """Ask again while a cluster has no leader. Raises `RuntimeError` for what is refused."""
        body = b"" if request is None else json.dumps(request).encode()
        until = time.monotonic() + 60
        while True:
            try:
                answer: dict[str, Any] = json.loads((await self.client.request(f"$JS.API.{subject}", body, timeout=5)).data)
            except Error:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.2)
                continue
            if "error" not in answer:
                return answer
            if answer["error"]["code"] != 503 or time.monotonic() > until:
                raise RuntimeError(f"{subject}: {answer['error']}")
            await asyncio.sleep(0.2)

    async def create_stream(self, name: str, subjects: str, **config: object) -> None:
        base = {"name": name, "subjects": [subjects], "storage": "file", "num_replicas": self._replicas}
        await self.ask(f"STREAM.CREATE.{name}", base | config)

    async def create_shard(self, stream: str, name: str, subject: str) -> None:
        nanoseconds = int(PIN_TIMEOUT * 1e9)
        config = {
            "durable_name": name,
            "filter_subject": subject,
            "ack_policy": "explicit",
            "ack_wait": nanoseconds,
            "max_ack_pending": 4 * BATCH,
            "priority_policy": "pinned_client",
            "priority_groups": [_GROUP],
            "priority_timeout": nanoseconds,
        }
        request = {"stream_name": stream, "config": config, "action": "create"}
        await self.ask(f"CONSUMER.CREATE.{stream}.{name}.{subject}", request)


class Shards:
    """Pulls from pinned consumers and acknowledges what comes, over one connection."""

    def __init__(self, client: Client, stream: str, names: Sequence[str]) -> None:
        self._client = client
        self._stream = stream
        self._pins: dict[str, str | None] = dict.fromkeys(names)
        self._taken = dict.fromkeys(names, 0)
        self.left = 0
        self.done = asyncio.Event()

    async def open(self) -> None:
        inbox = self._client.new_inbox()
        for number, name in enumerate(self._pins):
            await self._client.subscribe(f"{inbox}.{number}", cb=self._receiver(name, f"{inbox}.{number}"))
            self._pins[name] = None
        self._inbox = inbox

    async def pull(self, batch: int) -> None:
        for number, name in enumerate(self._pins):
            await self._ask(name, f"{self._inbox}.{number}", batch)

    async def _ask(self, name: str, inbox: str, batch: int) -> None:
        pin = self._pins[name]
        request = {"batch": batch, "expires": int(PIN_TIMEOUT / 3 * 1e9), "group": _GROUP}
        body = json.dumps(request if pin is None else request | {"id": pin}).encode()
        await self._client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{name}", body, reply=inbox)

    def _receiver(self, name: str, inbox: str) -> Any:
        async def receive(message: Msg) -> None:
            headers = message.headers or {}
            if not message.reply:  # a status: of a pull that has expired, say
                if self.left:
                    self._pins[name] = None if headers.get("Status") == "423" else self._pins[name]
                    await self._ask(name, inbox, BATCH)
                return
            self._pins[name] = headers.get("Nats-Pin-Id")
            await self._client.publish(message.reply, b"+ACK")
            self._taken[name] += 1
            if self._taken[name] % BATCH == 0:
                await self._ask(name, inbox, BATCH)
            self.left -= 1
            if not self.left:
                self.done.set()

        return receive

    async def take(self, count: int) -> None:
        """Return once `count` messages have come and been acknowledged."""
        self.left = count
        await self.pull(BATCH)
        await self.done.wait()
        await self._client.flush(60)


async def standing(servers: Servers, api: Api, count: int, seconds: float) -> dict[str, float]:
    """Consumers with nothing to do: KiB and ms for each; percent of a core for 1,000."""
    await api.create_stream("STANDING", "standing.*", max_msgs=100_000)
    names = [f"c{number}" for number in range(count)]
    await asyncio.sleep(2)
    before, at = servers.memory(), time.monotonic()
    for name in names:
        await api.create_shard("STANDING", name, f"standing.{name}")
    took = time.monotonic() - at
    await asyncio.sleep(3)
    memory = servers.memory() - before
    figures = {"standing.kib": memory / count, "standing.create_ms": took / count * 1000}
    at, cpu = time.monotonic(), servers.cpu()
    await asyncio.sleep(seconds)
    idle = (servers.cpu() - cpu) / (time.monotonic() - at)
    shards = Shards(api.client, "STANDING", names)
    await shards.open()
    at, cpu = time.monotonic(), servers.cpu()
    while time.monotonic() - at < seconds:
        await shards.pull(1)
        await api.client.flush(60)
        await asyncio.sleep(PIN_TIMEOUT / 3)
    pulled = (servers.cpu() - cpu) / (time.monotonic() - at)
    await api.ask("STREAM.DELETE.STANDING")
    figures["standing.idle_core_percent_for_1000"] = idle / count * 100_000
    figures["standing.pulled_core_percent_for_1000"] = pulled / count * 100_000
    figures["standing.consumers"] = count
    return figures


async def messages(servers: Servers, api: Api, count: int) -> dict[str, float]:
    """Microseconds of the servers' processors for each message, and of the busiest server's."""
    figures: dict[str, float] = {}
    for way, streams, consumers in (("one", 1, 1), ("sharded", 1, SHARDS), ("four_streams", 4, SHARDS)):
        names = [f"WORK{number}" for number in range(streams)]
        for number, name in enumerate(names):
            limits = {"retention": "interest", "discard": "new", "max_msgs": 1_000_000, "duplicate_window": int(120e9)}
            await api.create_stream(name, f"work.{number}.>", **limits)
        durables: dict[str, list[str]] = {name: [] for name in names}
        for shard in range(consumers):
            where = shard % streams
            subject = f"work.{where}.>" if consumers == 1 else f"work.{where}.{shard:02x}"
            await api.create_shard(names[where], f"s{shard:02x}", subject)
            durables[names[where]].append(f"s{shard:02x}")
        js = api.client.jetstream(publish_async_max_pending=1_000)
        with _metered(servers, figures, f"messages.{way}.store", count):
            for number in range(count):
                shard = number % SHARDS
                subject = f"work.{shard % streams}.{shard:02x}"
                await js.publish_async(subject, _BODY, headers={"Nats-Msg-Id": f"{way}-{number}"})
            await js.publish_async_completed()
        readers = [Shards(api.client, stream, shards) for stream, shards in durables.items()]
        for reader in readers:
            await reader.open()
        with _metered(servers, figures, f"messages.{way}.deliver", count):
            await asyncio.gather(*(reader.take(count // streams) for reader in readers))
        for name in names:
            await api.ask(f"STREAM.DELETE.{name}")
    return figures


@contextmanager
def _metered(servers: Servers, figures: dict[str, float], name: str, count: int) -> Iterator[None]:
    before, at = servers.each_cpu(), time.monotonic()
    yield
    took = time.monotonic() - at
    used = [(after - earlier) / count * 1e6 for after, earlier in zip(servers.each_cpu(), before, strict=True)]
    figures |= {f"{name}.us": sum(used), f"{name}.busiest_us": max(used), f"{name}.per_s": count / took}


async def ids(servers: Servers, api: Api, count: int) -> dict[str, float]:
    """Bytes of memory, on each server, for an id of 100 characters, which an intent's is."""
    memory: dict[str, float] = {}
    for way in ("without", "with"):
        await api.create_stream("IDS", "ids", storage="memory", max_msgs=1_000, duplicate_window=int(600e9))
        js = api.client.jetstream(publish_async_max_pending=1_000)
        before = servers.memory()
        for number in range(count):
            msg_id = {"Nats-Msg-Id": f"{number:0100d}"} if way == "with" else None
            await js.publish_async("ids", b"", headers=msg_id)
        await js.publish_async_completed()
        memory[way] = servers.memory() - before
        await api.ask("STREAM.DELETE.IDS")
    return {"ids.bytes": (memory["with"] - max(memory["without"], 0)) * 1024 / count / servers.replicas}


async def bucket(servers: Servers, api: Api, members: int, renewals: int) -> dict[str, float]:
    """Microseconds for each renewal, and for each time that a member is told of one."""
    limits = {
        "max_msgs_per_subject": 1,
        "allow_msg_ttl": True,
        "allow_rollup_hdrs": True,
        "subject_delete_marker_ttl": int(3600e9),
    }
    await api.create_stream("KV_BENCH", "$KV.BENCH.>", discard="new", allow_direct=True, **limits)
    value = json.dumps(
        {"instance": "x" * 36, "host": "worker-0123", "pid": 12345, "since": "2026-01-01T00:00:00Z", "draining": False}
    ).encode()
    figures: dict[str, float] = {"bucket.members": members}
    used: dict[int, float] = {}
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(AsyncSmithBus(servers.urls[0]))
        buckets = Bucket(writer._session, "BENCH")
        for watching in (0, members):
            watches = []
            for number in range(watching):
                bus = await stack.enter_async_context(AsyncSmithBus(servers.urls[number % servers.replicas]))
                watches.append(KeyWatch(Bucket(bus._session, "BENCH"), "members.*"))
                await watches[-1].start(60)
            cpu, own = servers.cpu(), time.process_time()
            for number in range(renewals):
                await buckets.put(f"members.m{number % members}", value, ttl=PIN_TIMEOUT)
            last = await buckets.put("members.last", value, ttl=60)
            until = time.monotonic() + 60
            while not all("members.last" in one.entries and one.entries["members.last"].revision == last for one in watches):
                if time.monotonic() > until:
                    raise RuntimeError("a member was not told of a key within a minute")
                await asyncio.sleep(0.05)
            used[watching] = (servers.cpu() - cpu) / renewals * 1e6
            used[-watching - 1] = (time.process_time() - own) / renewals * 1e6
            for one in watches:
                await one.stop()
    figures["bucket.renewal_us"] = used[0]
    figures["bucket.told_us"] = (used[members] - used[0]) / members
    figures["bucket.member_renewal_us"] = used[-1]
    figures["bucket.member_told_us"] = (used[-members - 1] - used[-1]) / members
    await api.ask("STREAM.DELETE.KV_BENCH")
    return figures


async def measure(count: int, quick: bool) -> dict[str, float]:
    """Everything, by its names in the JSON."""
    figures: dict[str, float] = {"servers": count}
    async with connected(count) as (servers, api):
        _progress(f"{count} server(s): standing consumers")
        consumers = 32 if quick else 900 if count == 1 else 192
        figures |= await standing(servers, api, consumers, 4 if quick else 20)
        _progress("messages")
        figures |= await messages(servers, api, 2_048 if quick else 40_960)
        figures |= await ids(servers, api, 5_000 if quick else 200_000)
        _progress("the bucket of members")
        figures |= await bucket(servers, api, 4 if quick else 16, 100 if quick else 2_000)
    return figures


@asynccontextmanager
async def connected(count: int) -> AsyncIterator[tuple[Servers, Api]]:
    with started(count) as servers:
        client = await nats.connect(servers.urls)
        try:
            async with asyncio.timeout(_LONGEST):
                yield servers, Api(client, servers.replicas)
        finally:
            await client.close()


def show(figures: dict[str, float]) -> None:
    """A Markdown table, as `docs/scaling.md` has it."""
    rows = [
        ("a shard's consumer: memory", f"{figures['standing.kib']:,.0f} KiB"),
        ("a shard's consumer: time to make it", f"{figures['standing.create_ms']:,.1f} ms"),
        ("1,000 consumers with nothing to do", f"{figures['standing.idle_core_percent_for_1000']:.1f} % of a core"),
        ("the same, a pull of each renewed", f"{figures['standing.pulled_core_percent_for_1000']:.1f} % of a core"),
    ]
    ways = {
        "one": "one stream, one consumer",
        "sharded": f"one stream, {SHARDS} shards",
        "four_streams": f"4 streams, {SHARDS} shards",
    }
    for act, words in {"store": "store a message", "deliver": "deliver it, take its ack"}.items():
        for way, where in ways.items():
            total, busiest = (figures[f"messages.{way}.{act}.{name}"] for name in ("us", "busiest_us"))
            also = f", {busiest:.0f} of them on the busiest" if figures["servers"] > 1 else ""
            rows.append((f"{words}: {where}", f"{total:.0f} µs{also}"))
    rows += [
        ("a message id, until the duplicate window ends", f"{figures['ids.bytes']:.0f} bytes on each server"),
        ("a member renews its key", f"{figures['bucket.renewal_us']:.0f} µs"),
        ("a member is told of a renewal", f"{figures['bucket.told_us']:.0f} µs"),
        ("the same, in the member", f"{figures['bucket.member_told_us']:.0f} µs"),
    ]
    print(f"| processor time and memory | {figures['servers']:.0f} server(s) |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


def _progress(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="What sharding costs the servers.")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures as one flat JSON object, too")
    parser.add_argument("--servers", type=int, choices=(1, 3), default=1, help="how many nats-servers; 3 are a cluster")
    parser.add_argument("--quick", action="store_true", help="smaller: to see that it runs, not to compare")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.servers, options.quick))
    show(figures)
    facts = machine.facts()
    print()
    print("  ".join(f"{name.replace('_', '-')}: {value}" for name, value in facts.items()))
    if options.json is not None:
        flat = {**figures, **{f"machine.{name}": value for name, value in facts.items()}, "quick": options.quick}
        options.json.write_text(json.dumps(flat, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
