"""Each fault of the plan shows in `bus.health()`, in the right check, with its reason and what to
do about it; and once it is over, all is well again. On one server and on a cluster of three.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NamedTuple

import pytest
from buses import Face
from chaos.cluster import Cluster, Node
from chaos.proxy import Proxy
from chaos.topology import CHAOS, EXECUTOR, new_intent
from msgspec.structs import replace
from support import eventually_async

from smith_sdk import AsyncSmithBus, Backoff, RetryPolicy, Worker, result_of
from smith_sdk.aio import Check, HealthReport
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.subjects import intents, results
from smith_sdk.topology import CONTRACT

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

AT_MOST: Final = 5.0
"""Seconds until a fault shows, and until it is over."""
SLACK: Final = float(os.environ.get("SMITH_CHAOS_SLACK", "5"))
"""Seconds for a machine with much to do."""
STOPPED: Final = 10.0
ROOM: Final = 50
SMALL: Final = 12 << 20
"""Bytes that the small account may store."""
ACCOUNTS: Final = f"""
no_auth_user: main
accounts {{
    main: {{ jetstream: enabled, users: [{{ user: main, password: main }}] }}
    small: {{ jetstream: {{ max_file: {SMALL}, max_mem: 1000000 }}, users: [{{ user: small, password: small }}] }}
}}
"""
_STREAMS: Final = {
    **{spec.name: spec for spec in CHAOS.streams},
    "SDLC_RAW": replace(CHAOS.stream("SDLC_RAW"), max_msgs=ROOM),
    "KV_SMITH_CONTROL": replace(CONTRACT.stream("KV_SMITH_CONTROL"), max_bytes=1 << 20),
}
HEALTH: Final = replace(CHAOS, streams=tuple(_STREAMS.values()))
# Streams that reserve nothing: the account may be full of what they hold.
SPARSE: Final = replace(
    HEALTH,
    streams=(replace(CHAOS.stream("ATOMS_RESULTS"), max_bytes=None, max_msgs=None), _STREAMS["KV_SMITH_CONTROL"]),
    consumers=(),
    dead_letters=None,
    profiles=tuple(replace(one, fit=None) for one in CHAOS.profiles),
)


class Place:
    """A server or a cluster."""

    def __init__(self, server: EmbeddedServer | None, cluster: Cluster | None) -> None:
        self._server = server
        self.cluster = cluster

    @property
    def profile(self) -> str:
        return "single" if self.cluster is None else "cluster"

    @property
    def home(self) -> EmbeddedServer:
        """The server that the bus is connected to."""
        if self.cluster is not None:
            return self.cluster.nodes[0].server
        assert self._server is not None
        return self._server

    @property
    def others(self) -> list[Node]:
        return [] if self.cluster is None else self.cluster.nodes[1:]

    def bus(self, url: str = "", **options: Any) -> AsyncSmithBus:
        return AsyncSmithBus(url or self.home.url, **{"contract": HEALTH, "profile": self.profile, **options})

    async def wait_healthy(self) -> None:
        if self.cluster is not None:
            await asyncio.to_thread(self.cluster.wait_healthy, 60)


@pytest.fixture(scope="module", params=["server", "cluster"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("health")
    with contextlib.ExitStack() as stack:
        if request.param == "server":
            found = Place(stack.enter_context(EmbeddedServer(directory, config=ACCOUNTS)), None)
        else:
            found = Place(None, stack.enter_context(Cluster(directory, config=ACCOUNTS)))
        yield found


# ---- the faults


class Stage(NamedTuple):
    """Where a fault is made: the bus that is watched, one that is not, and a proxy before its
    server. What is entered into `after` lasts longer than the fault."""

    place: Place
    bus: Any
    admin: AsyncSmithBus
    proxy: Proxy
    after: contextlib.AsyncExitStack

    @property
    def api(self) -> Any:
        return self.admin._session.api


@contextlib.asynccontextmanager
async def stopped(stage: Stage) -> AsyncIterator[None]:
    server = stage.place.home
    await asyncio.to_thread(server.kill)
    began = time.monotonic()
    try:
        yield
        await asyncio.sleep(began + STOPPED - time.monotonic())  # what the fault lasts
    finally:
        await asyncio.to_thread(server.start)


@contextlib.asynccontextmanager
async def deaf(stage: Stage) -> AsyncIterator[None]:
    stage.proxy.deafen()
    yield
    stage.proxy.hear()


@contextlib.asynccontextmanager
async def full(stage: Stage) -> AsyncIterator[None]:
    sent = [new_intent("async", f"full-{time.time_ns()}-{number}") for number in range(ROOM)]
    await stage.admin.publish_many([intents.raw.of(one).envelope(one) for one in sent])
    yield
    await stage.admin.streams.purge("SDLC_RAW")


@contextlib.asynccontextmanager
async def stream_deleted(stage: Stage) -> AsyncIterator[None]:
    await stage.api.stream_delete("ATOMS_RESULTS")
    yield
    await stage.admin.streams.apply()


@contextlib.asynccontextmanager
async def consumer_deleted(stage: Stage) -> AsyncIterator[None]:
    await stage.api.consumer_delete(EXECUTOR.stream, EXECUTOR.name)
    yield
    await stage.admin.streams.apply()


@contextlib.asynccontextmanager
async def paused(stage: Stage) -> AsyncIterator[None]:
    await stage.admin.consumer(EXECUTOR).pause(600)
    yield
    await stage.admin.consumer(EXECUTOR).resume()


@contextlib.asynccontextmanager
async def drift(stage: Stage) -> AsyncIterator[None]:
    config = (await stage.api.stream_info("SDLC_RAW"))["config"]
    await stage.api.stream_update({**config, "max_msgs": 2 * ROOM})
    yield
    await stage.admin.streams.apply()


@contextlib.asynccontextmanager
async def killed(stage: Stage, *nodes: Node) -> AsyncIterator[None]:
    assert stage.place.cluster is not None
    await asyncio.gather(*(asyncio.to_thread(stage.place.cluster.kill, node) for node in nodes))
    began = time.monotonic()
    try:
        yield
        await asyncio.sleep(began + STOPPED - time.monotonic())  # what the fault lasts
    finally:
        await asyncio.gather(*(asyncio.to_thread(stage.place.cluster.restart, node) for node in nodes))


async def leader(stage: Stage, *, elsewhere: bool) -> Node:
    """The leader of the raw intents, on another server than the bus's if so wished."""
    assert stage.place.cluster is not None
    while True:
        found = await asyncio.to_thread(stage.place.cluster.leader_of, "SDLC_RAW")
        if not elsewhere or found in stage.place.others:
            return found
        await stage.api.call("STREAM.LEADER.STEPDOWN.SDLC_RAW", {})
        await stage.place.wait_healthy()


@contextlib.asynccontextmanager
async def follower_down(stage: Stage) -> AsyncIterator[None]:
    first = await leader(stage, elsewhere=False)
    async with killed(stage, next(node for node in stage.place.others if node is not first)):
        yield


@contextlib.asynccontextmanager
async def leader_down(stage: Stage) -> AsyncIterator[None]:
    async with killed(stage, await leader(stage, elsewhere=True)):
        yield


@contextlib.asynccontextmanager
async def no_quorum(stage: Stage) -> AsyncIterator[None]:
    async with killed(stage, *stage.place.others):
        yield
    await stage.place.wait_healthy()  # elections are the cluster's own affair: they take 4 to 9 seconds


@contextlib.asynccontextmanager
async def working(
    stage: Stage, handler: Callable[[Any], Any], *, bus: AsyncSmithBus | None = None, attempts: int = 3
) -> AsyncIterator[Worker[Any, Any]]:
    """A worker on the bus that is watched, or on another one."""
    retry = RetryPolicy(max_attempts=attempts, backoff=Backoff(initial=0.2, max=0.2, jitter=0))
    worker = Worker(bus or stage.bus, EXECUTOR, concurrency=2, retry=retry, answer_failures=False)
    worker.handler(handler)
    running = asyncio.ensure_future(worker.run(signals=()))
    try:
        for number in range(20):  # what is usual
            await send(stage, f"usual-{number}")
        await eventually_async(lambda: worker.stats.succeeded >= 20, 60)
        yield worker
    finally:
        await worker.stop(now=True)
        await running


async def send(stage: Stage, path: str) -> None:
    intent = new_intent("async", f"{path}-{time.time_ns()}")
    await stage.admin.publish(intents.vetted.of(intent), intent)


@contextlib.asynccontextmanager
async def slow(stage: Stage) -> AsyncIterator[None]:
    gate = asyncio.Event()

    async def handle(message: Any) -> None:
        if message.payload.id.startswith("slow"):
            await gate.wait()

    await stage.after.enter_async_context(working(stage, handle))
    for number in range(4):
        await send(stage, f"slow-{number}")
    yield
    gate.set()


@contextlib.asynccontextmanager
async def poisoned(stage: Stage, *, elsewhere: bool = False) -> AsyncIterator[None]:
    async def handle(message: Any) -> None:
        if message.payload.id.startswith("poison"):
            raise ValueError("no handler can process this")

    bus, attempts = (stage.admin, 20) if elsewhere else (stage.bus, 3)
    await stage.after.enter_async_context(working(stage, handle, bus=bus, attempts=attempts))
    for number in range(10):
        await send(stage, f"poison-{number}")
    yield
    await eventually_async(lambda: emptied(stage.bus), 60)
    await stage.admin.dead_letters.discard(until=datetime.now(UTC))


async def emptied(bus: AsyncSmithBus) -> bool:
    info = await bus.consumer(EXECUTOR).info()
    return not info.num_pending and not info.num_ack_pending


class Fault(NamedTuple):
    """What is made, and where it has to show: the check, and words of its reason and remedy."""

    make: Callable[[Stage], contextlib.AbstractAsyncContextManager[None]]
    check: str
    status: str
    reason: str
    remedy: str
    faces: tuple[str, ...] = ("async",)


BOTH: Final = ("async", "blocking")
EXECUTING: Final = f"consumer {EXECUTOR.name}"
FAULTS: Final = {
    "server stopped 10 s": Fault(stopped, "connection", "failing", "no connection to", "start the server", BOTH),
    "link deaf": Fault(deaf, "connection", "failing", "does not answer", "the network", BOTH),
    "stream full": Fault(full, "stream SDLC_RAW", "failing", "full, 50 of 50 messages", "run more workers", BOTH),
    "stream deleted": Fault(stream_deleted, "stream ATOMS_RESULTS", "failing", "does not exist", "streams apply", BOTH),
    "consumer deleted": Fault(consumer_deleted, EXECUTING, "failing", "does not exist", "streams apply", BOTH),
    "consumer paused": Fault(paused, EXECUTING, "degraded", "by somebody", f"consumers resume {EXECUTOR.name}", BOTH),
    "drift": Fault(drift, "stream SDLC_RAW", "degraded", "max_msgs: 100 -> 50", "streams plan", BOTH),
    "slow handler": Fault(slow, f"worker {EXECUTOR.name}", "degraded", "slow: all of 2 slots", "its handlers wait for"),
    "poison messages": Fault(poisoned, "dead letters", "degraded", "", "smith dlq ls"),
    "poison messages, by the worker": Fault(
        poisoned, f"worker {EXECUTOR.name}", "degraded", "failed; the last: ValueError", "look at its log"
    ),
    "poison messages, seen by another process": Fault(
        partial(poisoned, elsewhere=True), EXECUTING, "degraded", "were redelivered", "the log of its workers"
    ),
}
CLUSTER_FAULTS: Final = {
    "follower down": Fault(
        follower_down, "stream SDLC_RAW", "degraded", "2 of 3 replicas are up", "start the servers that are down", BOTH
    ),
    "leader down": Fault(leader_down, "stream SDLC_RAW", "failing", "no leader", "look at the servers", BOTH),
    "no quorum": Fault(no_quorum, "writing", "failing", "no leader", "a majority of them has to be up", BOTH),
}


# ---- watching


class Watch:
    """Looks at the health of a bus again and again."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus
        self.last: HealthReport | None = None

    async def _until(self, is_so: Callable[[HealthReport], Any], what: str) -> Any:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            began = time.monotonic()
            self.last = report = await self._bus.health(timeout=2)
            assert time.monotonic() - began < 2 + SLACK
            if found := is_so(report):
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(f"not {what}: {[(one.name, one.reason) for one in self.last.problems] if self.last else None}")

    async def seen(self, fault: Fault) -> Check:
        """Once the fault shows."""
        is_it = lambda one: (one.name, one.status) == (fault.check, fault.status) and fault.reason in one.reason  # noqa: E731
        found: Check = await self._until(lambda report: next(filter(is_it, report.checks), None), f"seen: {fault.reason}")
        return found

    async def well(self) -> None:
        await self._until(lambda report: report.status == "ok", "well")


async def measure(name: str, fault: Fault, place: Place, face: str, tell: Callable[[str], None]) -> tuple[float, float]:
    with Proxy(place.home.url) as proxy:
        face_ = Face(face, None)  # type: ignore[arg-type]
        options = {"contract": HEALTH, "profile": place.profile}
        async with place.bus() as admin, face_.bus(proxy.url if fault.make is deaf else place.home.url, **options) as bus:
            await place.wait_healthy()
            await admin.streams.apply()
            for stream in ("SDLC_RAW", "ATOMS_VETTED", "SMITH_DLQ"):
                await admin.streams.purge(stream)
            watch = Watch(bus)
            await watch.well()
            async with contextlib.AsyncExitStack() as after:
                async with fault.make(Stage(place, bus, admin, proxy, after)):
                    began = time.monotonic()
                    check = await watch.seen(fault)
                    seen = time.monotonic() - began
                began = time.monotonic()
                await watch.well()
                over = time.monotonic() - began
    assert fault.remedy in check.remedy
    assert check.since is not None
    where = "server" if place.cluster is None else "cluster"
    tell(f"{name} | {check.name} | {check.reason} | {where}, {face} | {seen:.1f} | {over:.1f}")
    return seen, over


@pytest.mark.parametrize(("name", "face"), [(name, face) for name, fault in FAULTS.items() for face in fault.faces], ids=str)
async def test_each_fault_shows_and_clears(name: str, face: str, place: Place, tell: Callable[[str], None]) -> None:
    seen, over = await measure(name, FAULTS[name], place, face, tell)
    assert seen < AT_MOST + SLACK
    assert over < AT_MOST + SLACK


@pytest.mark.parametrize(
    ("name", "face"), [(name, face) for name, fault in CLUSTER_FAULTS.items() for face in fault.faces], ids=str
)
async def test_each_fault_of_a_cluster_shows_and_clears(name: str, face: str, place: Place, tell: Callable[[str], None]) -> None:
    if place.cluster is None:
        pytest.skip("one server has no followers")
    seen, over = await measure(name, CLUSTER_FAULTS[name], place, face, tell)
    assert seen < AT_MOST + SLACK
    assert over < AT_MOST + SLACK


async def test_an_account_near_its_limit_shows_and_clears(place: Place, tell: Callable[[str], None]) -> None:
    await place.wait_healthy()
    scheme, _, rest = place.home.url.partition("://")
    url = f"{scheme}://small:small@{rest.rpartition('@')[2]}"
    async with place.bus(url, contract=SPARSE) as bus:
        await bus.streams.apply()
        await bus.streams.purge("ATOMS_RESULTS")
        watch = Watch(bus)
        await watch.well()

        size, copies = 500_000, 1 if place.cluster is None else len(place.cluster.nodes)
        for number in range(SMALL * 87 // 100 // (size * copies)):
            result = result_of(new_intent("async", f"fill-{time.time_ns()}-{number}"), output={"padding": "x" * size})
            await bus.publish(results.of(result), result)
        began = time.monotonic()
        near = Fault(full, "jetstream", "degraded", "storage 8", "raise max_file of the account")
        check = await watch.seen(near)
        seen = time.monotonic() - began
        await bus.streams.purge("ATOMS_RESULTS")
        began = time.monotonic()
        await watch.well()
        over = time.monotonic() - began
        assert near.remedy in check.remedy
        where = "server" if place.cluster is None else "cluster"
        tell(f"account limit near | {check.name} | {check.reason} | {where}, async | {seen:.1f} | {over:.1f}")
        assert seen < AT_MOST + SLACK
        assert over < AT_MOST + SLACK
