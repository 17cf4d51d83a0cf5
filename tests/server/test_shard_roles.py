"""Roles of sharded subjects: on a server with their permissions, each can do all that it is for."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import pytest
from buses import Face, episode_intent, short_pins
from support import eventually_async

from smith_codegen import permissions, sources
from smith_sdk import AsyncSmithBus, Auth, Backoff, Reject, RetryPolicy, ShardedWorker, result_of, subjects
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.sharding.orders import move
from smith_sdk._core.sharding.records import Keys, Move
from smith_sdk.aio.pipeline import Allow
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import PermissionDenied

SPEC: Final = sources.load_package("smith_sdk")
ROLES: Final = {
    "shards": permissions.block(SPEC, "worker", shardings=["episode"]),
    "publisher": permissions.block(SPEC, "publisher", subjects=["intents.vetted_sharded", "intents.raw"]),
    "admission": permissions.block(SPEC, "admission"),
}
PASSWORD: Final = os.urandom(8).hex()
QUICK: Final = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.02, max=0.02, jitter=0))
CONTRACT: Final = short_pins(30)
SHARDED: Final = subjects.intents.vetted_sharded
BOTH: Final = {"async": Face("async", None), "blocking": Face("blocking", None)}  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=BOTH)
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Face, str]]:
    """A face, and a server whose users are the roles, with Smith's streams."""
    users = [permissions.User(name=name, password=PASSWORD, permissions=allowed) for name, allowed in ROLES.items()]
    with EmbeddedServer(config=permissions.authorization([permissions.User(name="owner", password=PASSWORD), *users])) as server:

        async def apply() -> None:
            async with owner(server.url, manage="apply"):
                pass

        asyncio.run(apply())
        yield BOTH[request.param], server.url


def owner(url: str, **options: Any) -> AsyncSmithBus:
    return AsyncSmithBus(url, contract=CONTRACT, auth=Auth(user="owner", password=PASSWORD), profile="dev", **options)


def in_role(face: Face, url: str, role: str) -> Any:
    auth = Auth(user=role, password=PASSWORD)
    return face.bus(url, contract=CONTRACT, auth=auth, profile="dev", inbox_prefix=ROLES[role].inbox_prefix)


@pytest.fixture
def violations(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "smith_sdk")
    return lambda: [line for line in caplog.messages if "permissions forbid" in line]


async def is_empty(bus: AsyncSmithBus) -> bool:
    return (await bus.streams.get("ATOMS_VETTED")).messages == 0


async def test_members_share_shards_and_settle_every_kind(place: tuple[Face, str], violations: Any) -> None:
    face, url = place

    def handle(message: Any) -> Any:
        if message.payload.params.path == "/reject":
            raise Reject("no")
        if message.payload.params.path == "/fail":
            raise ValueError("no")
        return result_of(message.payload, output=1)

    def member(bus: Any, **options: Any) -> Any:
        made = face.sharded_worker(bus, CONTRACT.shardings[0], retry=QUICK, **options)
        (made if face.is_async else made.inner).handler(handle)
        return made

    def shards_of(made: Any) -> dict[str, Any]:
        found: ShardedWorker[Any, Any] = made if face.is_async else made.inner._aio
        shards: Any = found.describe()["shards"]
        return dict(shards)

    async with owner(url) as own, in_role(face, url, "publisher") as bus:
        intents = [episode_intent(f"ep-{index}", path) for index, path in enumerate(("/a", "/b", "/reject", "/fail", "/c"))]
        for intent in intents:
            await bus.publish(SHARDED.of(intent), intent)
        before = len(await own.dead_letters.list())
        async with in_role(face, url, "shards") as one, in_role(face, url, "shards") as two:
            first, second = member(one, member="first", on_dead_letter="halt_key"), member(two)
            tasks = [asyncio.ensure_future(made.run(signals=())) for made in (first, second)]
            await eventually_async(lambda: len(shards_of(first)) == len(shards_of(second)) == 8, 60)
            await eventually_async(partial(is_empty, own), 60)
            there = next(iter(shards_of(second)))
            await move(Bucket(own._session, "SMITH_CONTROL"), Keys("episode"), there, Move(member="first"))
            await eventually_async(lambda: there in shards_of(first) and there not in shards_of(second), 60)
            for made in (first, second):
                await made.stop()
            await asyncio.gather(*tasks)
        assert len(await own.dead_letters.list()) == before + 2
    assert violations() == []


async def test_admission_routes_to_shards(place: tuple[Face, str], violations: Any) -> None:
    face, url = place
    async with owner(url) as own, in_role(face, url, "publisher") as bus, in_role(face, url, "admission") as gate:
        admission = face.admission(gate, policy=lambda _: Allow(), executor_id="a")
        running = asyncio.ensure_future(admission.run())
        intent = episode_intent("ep-1", "/1")
        await bus.publish(subjects.intents.raw.of(intent), intent)

        async def arrived() -> bool:
            return (await own.streams.get("ATOMS_VETTED")).messages == 1

        await eventually_async(arrived, 30)
        found = await own._session.api.next_message("ATOMS_VETTED", 1, str(SHARDED.of(intent)))
        assert found is not None
        await admission.stop()
        await running
        await own._session.api.stream_purge("ATOMS_VETTED", {})
    assert violations() == []


async def test_a_worker_may_not_change_the_layout(place: tuple[Face, str]) -> None:
    face, url = place
    async with in_role(BOTH["async"], url, "shards") as bus:
        for key in ("shards.episode.layout", "shards.other.members.m", "health"):
            with pytest.raises(PermissionDenied):
                await bus._session.publish(f"$KV.SMITH_CONTROL.{key}", b"{}", stream="KV_SMITH_CONTROL", msg_id=key, timeout=10)
        for verb in ("CONSUMER.DELETE.ATOMS_VETTED.episode-00", "CONSUMER.MSG.NEXT.ATOMS_VETTED.executor-fs-read"):
            with pytest.raises(PermissionDenied):
                await bus._session.api.call(verb, {}, stream="ATOMS_VETTED")
    assert face.name in BOTH
