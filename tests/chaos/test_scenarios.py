"""Whatever happens on the way, nothing that was confirmed is lost: both faces under load, faults one after the other, then the count.

Both faces share a scenario and its faults, each with a publisher and a consumer of its own. The small size runs with the other tests,
the full one (marker `chaos`) with `nox -s chaos`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos.cluster import Cluster
from chaos.load import Load
from chaos.proxy import Proxy
from support import eventually

from smith_sdk.server import EmbeddedServer

Tell = Callable[[str], None]

LINKS = 4  # a publisher and a consumer on each face


def sizes(small: int, full: int, *, seconds: float) -> pytest.MarkDecorator:
    """How many faults: `small` of them in the ordinary tests, `full` in `nox -s chaos`, which may take so many seconds."""
    marks = [pytest.mark.chaos, pytest.mark.timeout(seconds)]
    return pytest.mark.parametrize("faults", [pytest.param(small, id="small"), pytest.param(full, id="full", marks=marks)])


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


def finish(load: Load, tell: Tell, what: str) -> None:
    count = load.settle()
    tell(f"{what}: {count}; slowest recovery {load.slowest:.1f} s")


@sizes(1, 20, seconds=200)
def test_servers_are_killed(faults: int, server: EmbeddedServer, tmp_path: Path, tell: Tell, chance: random.Random) -> None:
    with Load(tmp_path, urls=[server.url], direct=[server.url]) as load:
        for _ in range(faults):
            server.kill()
            time.sleep(chance.uniform(0, 0.5))  # how long it is away
            server.start()
            load.recovered()
        finish(load, tell, f"{faults} servers killed")


@sizes(3, 100, seconds=200)
def test_links_are_cut(
    faults: int, server: EmbeddedServer, proxy: Proxy, tmp_path: Path, tell: Tell, chance: random.Random
) -> None:
    with Load(tmp_path, urls=[proxy.url], direct=[server.url]) as load:
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
