"""Nothing that was confirmed is lost: both faces under load, faults one after the other, then the
count.

Both faces share a scenario and its faults, each with a publisher and a consumer of its own. The
small size runs with the other tests, the full one (marker `chaos`) with `nox -s chaos`.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from chaos.cluster import Cluster, Node
from chaos.load import Load
from chaos.proxy import Direction, Proxy
from chaos.topology import FACES
from support import eventually

from smith_sdk.embedded import EmbeddedServer

Tell = Callable[[str], None]

LINKS: Final = 4  # a publisher and a consumer on each face
DIRECTIONS: Final[tuple[Direction, ...]] = ("both", "to_server", "to_client")
CLUSTER_RATE: Final = 300.0  # three servers share the processor with the load
SMALL_RATE: Final = 300.0  # beside other tests
FULL_RATE: Final = 500.0
DRAWN: Final = 30
NOTICED: Final = 27.0  # 25 s until a silently dead link is noticed, and a moment to connect and to go on


def sizes(small: int, full: int, *, seconds: float) -> pytest.MarkDecorator:
    """How many faults: `small` of them in the ordinary tests (0: it is not one of them), `full` in
    `nox -s chaos`, which may take so many seconds."""
    marks = [pytest.mark.chaos, pytest.mark.timeout(seconds)]
    cases = [pytest.param(small, id="small")] if small else []
    return pytest.mark.parametrize("faults", [*cases, pytest.param(full, id="full", marks=marks)])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "store") as server:
        yield server


@pytest.fixture
def proxy(server: EmbeddedServer) -> Iterator[Proxy]:
    with Proxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The same draws in every run of a test."""
    return random.Random(request.node.name)


def _rate(faults: int) -> float:
    """Messages a second of each publisher, for so many faults."""
    return SMALL_RATE if faults <= 3 else FULL_RATE


def finish(load: Load, tell: Tell, what: str, *, restarted: bool = False) -> None:
    count = load.settle(restarted=restarted)
    usual, slowest = statistics.median(load.recoveries), max(load.recoveries)
    tell(f"{what}: {count}; recovered in {usual:.1f} s (median), {slowest:.1f} s at the slowest")


@sizes(1, 20, seconds=300)
def test_servers_are_killed(faults: int, server: EmbeddedServer, tmp_path: Path, tell: Tell, chance: random.Random) -> None:
    with Load(tmp_path, urls=[server.url], direct=[server.url], rate=_rate(faults)) as load:
        for _ in range(faults):
            server.kill()
            time.sleep(chance.uniform(0, 0.5))  # how long it is away
            server.start()
            load.recovered()
        finish(load, tell, f"{faults} servers killed", restarted=True)


@sizes(3, 100, seconds=300)
def test_links_are_cut(
    faults: int, server: EmbeddedServer, proxy: Proxy, tmp_path: Path, tell: Tell, chance: random.Random
) -> None:
    with Load(tmp_path, urls=[proxy.url], direct=[server.url], rate=_rate(faults)) as load:
        for number in range(faults):
            eventually(lambda: proxy.links >= LINKS, 20)
            time.sleep(chance.uniform(0, 0.1))
            assert proxy.cut(reset=chance.random() < 0.5) >= LINKS
            time.sleep(chance.uniform(0, 0.1))
            proxy.restore()
            if number % 5 == 0:
                load.recovered()
        load.recovered()
        finish(load, tell, f"{faults} cuts of all links")


@sizes(0, 10, seconds=300)
def test_links_are_deaf(
    faults: int, server: EmbeddedServer, proxy: Proxy, tmp_path: Path, tell: Tell, chance: random.Random
) -> None:
    length = 5.0
    with Load(tmp_path, urls=[proxy.url], direct=[server.url], rate=_rate(faults)) as load:
        for number in range(faults):
            proxy.deafen(DIRECTIONS[number % 3])
            time.sleep(length)
            proxy.hear()
            load.recovered()
        finish(load, tell, f"{faults} times {length:g} s of deaf links")


@sizes(0, 6, seconds=200)
def test_links_stall(
    faults: int, server: EmbeddedServer, proxy: Proxy, tmp_path: Path, tell: Tell, chance: random.Random
) -> None:
    """Every buffer on the way is full; then it all goes through, or the link is cut under it."""
    length = 3.0
    with Load(tmp_path, urls=[proxy.url], direct=[server.url], rate=_rate(faults)) as load:
        for number in range(faults):
            proxy.stall(("both", "to_server")[number % 2])
            time.sleep(length)
            if (number // 2) % 2 == 0:
                proxy.cut(reset=chance.random() < 0.5)
            proxy.hear()
            proxy.restore()
            load.recovered()
        finish(load, tell, f"{faults} times {length:g} s of stalled links, every second pair cut")


@pytest.mark.chaos
@pytest.mark.timeout(120)
def test_a_link_that_is_dead_for_good_is_noticed(server: EmbeddedServer, proxy: Proxy, tmp_path: Path, tell: Tell) -> None:
    with Load(tmp_path, urls=[proxy.url], direct=[server.url]) as load:
        assert proxy.bury() == LINKS
        load.recovered(NOTICED)
        finish(load, tell, "all links dead for good")


@sizes(0, 5, seconds=240)
def test_leaders_are_killed(faults: int, tmp_path: Path, tell: Tell) -> None:
    with (
        Cluster(tmp_path) as cluster,
        Load(tmp_path, urls=cluster.urls, direct=cluster.urls, profile="cluster", rate=CLUSTER_RATE) as load,
    ):
        for number in range(faults):
            cluster.wait_healthy()
            leader = cluster.leader_of(("ATOMS_RESULTS", "SDLC_RAW", None)[number % 3])
            cluster.kill(leader)
            load.recovered()
            cluster.restart(leader)
            load.recovered()
        finish(load, tell, f"{faults} leaders killed in the cluster", restarted=True)


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_everything_at_once(tmp_path: Path, tell: Tell, chance: random.Random) -> None:
    """Drawn at random, one fault often before the last is over; but never two nodes down, where
    a cluster of three has to stop."""
    with Cluster(tmp_path) as cluster, contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(Proxy(url)) for url in cluster.urls]
        urls = [proxy.url for proxy in proxies]
        load = stack.enter_context(Load(tmp_path, urls=urls, direct=cluster.urls, profile="cluster", rate=CLUSTER_RATE))
        happened: Counter[str] = Counter()
        down: list[Node] = []

        def heal() -> None:
            for proxy in proxies:
                proxy.hear()
                proxy.delay(0)
                proxy.restore()
            while down:
                cluster.restart(down.pop())

        for number in range(DRAWN):
            fault = chance.choice(("kill", "leader", "cut", "cut", "deaf", "stall", "delay", "publisher", "consumer"))
            proxy, face = chance.choice(proxies), chance.choice(FACES)
            if fault in ("kill", "leader") and down:
                fault = "cut"
            match fault:
                case "kill":
                    cluster.wait_healthy()  # a node that is not current may not be counted on
                    down.append(chance.choice(cluster.nodes))
                    cluster.kill(down[0])
                case "leader":
                    cluster.wait_healthy()
                    down.append(cluster.leader_of(chance.choice(("ATOMS_RESULTS", "SDLC_RAW"))))
                    cluster.kill(down[0])
                case "cut":
                    proxy.cut(reset=chance.random() < 0.5)
                case "deaf":
                    proxy.deafen(chance.choice(DIRECTIONS))
                case "stall":
                    proxy.stall(chance.choice(DIRECTIONS))
                case "delay":
                    proxy.delay(chance.uniform(0.01, 0.2))
                case "publisher" | "consumer":
                    load.restart(fault, face)
            happened[fault] += 1
            time.sleep(chance.uniform(0, 2))
            if number % 3 == 2:
                heal()
                load.recovered()
        words = ", ".join(f"{count} {fault}" for fault, count in sorted(happened.items()))
        finish(load, tell, f"everything at once ({words})", restarted=True)
