"""Inboxes of a user's own, another JetStream domain, and a JetStream API that is imported."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from buses import Face, bus_with, health, read_intent
from plain_server import HOST, PlainServer, free_port
from support import eventually_async, eventually_equal

from smith_sdk import Allow, AsyncSmithBus, Auth, Reject, consumers, result_of, subjects
from smith_sdk._core.connection.credentials import find_access
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk.errors import JetStreamDisabled, OptionsError, PermissionDenied

raw, vetted = subjects.intents.raw, subjects.intents.vetted


def context(directory: Path, name: str, **settings: Any) -> None:
    file = directory / "nats" / "context" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings))


async def handle(message: Any) -> Any:
    return answer(message)


def handle_blocking(message: Any) -> Any:
    return answer(message)


def answer(message: Any) -> Any:
    if message.payload.params.path == "/bad":
        raise Reject("it is bad")
    return result_of(message.payload)


async def use(face: Face, bus: Any) -> None:
    """Everything that a bus does over JetStream."""
    assert not (await bus.streams.plan(profile="dev")).changes
    intent, event = read_intent(), health()
    await bus.publish(vetted.of(intent), intent)
    [message] = await bus.consumer(consumers.executor_fs_read).fetch(1, timeout=5)
    assert message.payload == intent
    await message.ack_sync()
    await bus.publish(subjects.events.health.of(event), event)
    async for one in bus.read(subjects.events.health.filter()):
        assert one.payload == event
        break
    worker = face.worker(bus, consumers.executor_fs_read)
    worker.handler(handle if face.is_async else handle_blocking)
    admission = face.admission(bus, policy=lambda intent: Allow(), executor_id="a")
    running = [asyncio.ensure_future(one.run()) for one in (worker, admission)]
    bad = read_intent("/bad")
    await bus.publish(raw.of(bad), bad)

    async def letters() -> Any:
        return await bus.dead_letters.list()

    [letter] = await eventually_async(letters)
    assert letter.stream == "ATOMS_VETTED"
    for one in (worker, admission):
        await one.stop()
    await asyncio.gather(*running)
    assert (await bus.dead_letters.replay([letter.id])).replayed == 1

    async def left() -> int:
        info = await bus.consumer(consumers.executor_fs_read).info()
        # a hub may not yet know that the worker behind a leaf node has stopped
        return int(info.num_pending + info.num_ack_pending)

    await eventually_equal(left, 1)
    await bus.dead_letters.audit()
    bucket = Bucket((bus if face.is_async else bus.inner._aio)._session, "SMITH_NONCES")
    assert await on(face, bus, bucket.create("k", b"1", ttl=60)) is None
    assert (await on(face, bus, bucket.create("k", b"2", ttl=60))).data == b"1"


async def on(face: Face, bus: Any, call: Any) -> Any:
    """Await `call` in the event loop of `bus`."""
    if face.is_async:
        return await call

    async def run() -> Any:
        return await call

    return await asyncio.to_thread(bus.inner._portal.call, run)


# ---- inboxes


INBOXES = """authorization { users: [ { user: all, password: x },
  { user: worker, password: x, permissions: { publish: { deny: [ "_INBOX.>", "_INBOX_worker.>" ] },
    subscribe: { allow: [ "_INBOX_worker.>", "smith.>" ] } } } ] }"""


async def test_every_reply_comes_under_the_inbox_prefix(
    face: Face, make_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    server = make_server(config=INBOXES)
    auth = Auth(user="worker", password="x")
    seen: list[str] = []
    async with AsyncSmithBus(server.url, auth=Auth(user="all", password="x"), inbox_prefix="_OTHER") as other:
        await other._connection.subscribe("_INBOX.>", lambda message: seen.append(message.subject))
        async with face.bus(server.url, auth=auth, inbox_prefix="_INBOX_worker", manage="apply", profile="dev") as bus:
            await use(face, bus)
            assert (await asyncio.gather(execution(face, bus)))[0] == "ok"
        context(tmp_path, "worker", url=server.url, user="worker", password="x", inbox_prefix="_INBOX_worker")
        async with face.bus(context="worker") as bus:
            await bus.consumer(consumers.executor_fs_read).info()
        monkeypatch.setenv("SMITH_INBOX_PREFIX", "_INBOX_worker")
        async with face.bus(server.url, auth=auth) as bus:
            await bus.consumer(consumers.executor_fs_read).info()
        monkeypatch.delenv("SMITH_INBOX_PREFIX")
    assert seen == []
    assert [one.getMessage() for one in caplog.records if "forbid" in one.getMessage()] == []


async def execution(face: Face, bus: Any) -> str:
    worker = face.worker(bus, consumers.executor_fs_read)
    worker.handler(handle if face.is_async else handle_blocking)
    admission = face.admission(bus, policy=lambda intent: Allow(), executor_id="a")
    running = [asyncio.ensure_future(one.run()) for one in (worker, admission)]
    status = (await bus.execute(read_intent(), timeout=20)).status
    for one in (worker, admission):
        await one.stop()
    await asyncio.gather(*running)
    return str(status)


async def test_an_inbox_that_is_refused_is_named_with_the_way_out(face: Face, make_server: Any) -> None:
    server = make_server(config=INBOXES)
    async with face.bus(server.url, auth=Auth(user="worker", password="x"), inbox_prefix="_MINE.too") as bus:
        with pytest.raises(
            PermissionDenied,
            match=r"allow its user to subscribe to _MINE\.too\.>, or set inbox_prefix to what it may subscribe to",
        ):
            await bus.streams.plan()


@pytest.mark.parametrize("prefix", ["", ".", "a.", ".a", "a..b", "a.*", ">", "a b", "a\n", "\x00", 5])
def test_a_prefix_that_no_subject_can_begin_with_is_refused(prefix: Any) -> None:
    names = ("inbox_prefix", "api_prefix") if prefix != "a." else ("inbox_prefix",)  # of an API, a dot at the end is left out
    for name in names:
        with pytest.raises(OptionsError, match=f"{name}="):
            bus_with(**{name: prefix})


# ---- the JetStream API


def test_where_the_api_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def prefix(context: str | None = None, **options: Any) -> str:
        return find_access(None, None, None, context, **options).api_prefix

    context(tmp_path, "domain", jetstream_domain="leaf")
    context(tmp_path, "prefix", jetstream_api_prefix="JS.B.API.")
    context(tmp_path, "both", jetstream_api_prefix="JS.B.API", jetstream_domain="leaf")
    assert prefix() == "$JS.API"
    assert prefix(js_domain="hub") == "$JS.hub.API"
    assert prefix(api_prefix="JS.A.API") == prefix(api_prefix="JS.A.API.") == "JS.A.API"
    assert prefix("domain") == "$JS.leaf.API"
    assert prefix("prefix") == "JS.B.API"
    assert prefix("prefix", js_domain="hub") == "$JS.hub.API"
    with pytest.raises(OptionsError, match="context both: jetstream_domain and context both: jetstream_api_prefix: give one"):
        prefix("both")
    with pytest.raises(OptionsError, match=r"js_domain and api_prefix: give one of them; .* \$JS\.<domain>\.API"):
        prefix(js_domain="hub", api_prefix="JS.A.API")
    with pytest.raises(OptionsError, match=r"js_domain='a\.b': must be one token"):
        prefix(js_domain="a.b")
    monkeypatch.setenv("SMITH_JS_DOMAIN", "env")
    assert prefix("domain") == "$JS.env.API"
    assert prefix(api_prefix="JS.A.API") == "JS.A.API"
    monkeypatch.delenv("SMITH_JS_DOMAIN")
    monkeypatch.setenv("SMITH_API_PREFIX", "JS.E.API")
    assert prefix("domain") == "JS.E.API"
    monkeypatch.setenv("SMITH_TLS_FIRST", "perhaps")
    with pytest.raises(OptionsError, match="SMITH_TLS_FIRST='perhaps': must be true or false"):
        prefix()


@pytest.fixture
def leaf(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """URLs of a hub with JetStream, and of a leaf node with a JetStream of its own."""
    hub_port, leafs, leaf_port = free_port(), free_port(), free_port()
    hub = f"""listen: "{HOST}:{hub_port}", server_name: hub, max_payload: 8MB
        jetstream {{ domain: hub, store_dir: "{tmp_path}/hub" }}, leafnodes {{ listen: "{HOST}:{leafs}" }}"""
    here = f"""listen: "{HOST}:{leaf_port}", server_name: leaf, max_payload: 8MB
        jetstream {{ domain: leaf, store_dir: "{tmp_path}/leaf" }}
        leafnodes {{ remotes: [ {{ url: "nats://{HOST}:{leafs}" }} ] }}"""
    with PlainServer(tmp_path, hub, hub_port, leafs), PlainServer(tmp_path, here, leaf_port):
        yield f"nats://{HOST}:{hub_port}", f"nats://{HOST}:{leaf_port}"


async def test_a_leaf_node_reaches_the_domain_of_its_hub(
    face: Face, leaf: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    hub_url, leaf_url = leaf

    async def is_linked() -> bool:
        async with AsyncSmithBus(leaf_url, js_domain="hub") as bus:
            try:
                await bus._session.api.account()
            except JetStreamDisabled as error:
                assert "no JetStream API answers at $JS.hub.API on " + leaf_url in str(error)  # noqa: PT017
                return False
            return True

    await eventually_async(is_linked)
    async with face.bus(leaf_url, js_domain="hub", manage="apply", profile="dev") as bus:
        await use(face, bus)
        assert await execution(face, bus) == "ok"
    async with AsyncSmithBus(leaf_url) as here, AsyncSmithBus(hub_url) as hub:
        assert await here._session.api.streams(">") == []
        assert len(await hub._session.api.streams(">")) > 5
    context(tmp_path, "hub", url=leaf_url, jetstream_domain="hub")
    if face.is_async:
        command = [sys.executable, "-m", "smith_sdk.cli", "streams", "plan", "--profile", "dev", "--context", "hub"]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


ACCOUNTS = """accounts {{
  A: {{ jetstream: enabled, users: [ {{ user: a, password: x }} ], exports: [
    {{ service: "$JS.API.>", response_type: stream }}, {{ service: "$JS.ACK.>" }}, {{ service: "smith.>" }},
    {{ service: "$KV.>" }} ] }}
  B: {{ users: [ {{ user: b, password: x }} ], imports: [
    {{ service: {{ account: A, subject: "$JS.API.>" }}, to: "JS.A.API.>" }}, {{ service: {{ account: A, subject: "$JS.ACK.>" }} }},
    {{ service: {{ account: A, subject: "smith.>" }} }}, {{ service: {{ account: A, subject: "$KV.>" }} }} ] }} }}
  jetstream {{ store_dir: "{store}" }}, listen: "{host}:{port}", max_payload: 8MB"""


async def test_an_account_uses_the_jetstream_of_another_under_an_imported_prefix(
    face: Face, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    port = free_port()
    with PlainServer(tmp_path, ACCOUNTS.format(store=tmp_path / "js", host=HOST, port=port), port):
        url, auth = f"nats://{HOST}:{port}", Auth(user="b", password="x")
        async with face.bus(url, auth=auth, api_prefix="JS.A.API", manage="apply", profile="dev") as bus:
            await use(face, bus)
        async with face.bus(url, auth=auth, api_prefix="JS.C.API") as bus:
            with pytest.raises(
                JetStreamDisabled, match=r"no JetStream API answers at JS\.C\.API on .*: check js_domain or api_prefix"
            ):
                await bus.streams.plan()
        context(tmp_path, "b", url=url, user="b", password="x", jetstream_api_prefix="JS.A.API")
        async with face.bus(context="b") as bus:
            assert (await bus.consumer(consumers.executor_fs_read).info()).stream == "ATOMS_VETTED"


async def test_everything_in_one_context(face: Face, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A websocket, an inbox of its own, an imported API, and a user with no more rights."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    port, websocket = free_port(), free_port()
    narrow = """permissions: { publish: { deny: [ "_INBOX.>", "_MINE.b.>", "$JS.API.>" ] },
        subscribe: { allow: [ "_MINE.b.>", "smith.>" ] } }"""
    accounts = ACCOUNTS.format(store=tmp_path / "js", host=HOST, port=port)
    config = accounts.replace("user: b, password: x", f"user: b, password: x, {narrow}")
    config += f'\nwebsocket {{ listen: "{HOST}:{websocket}", no_tls: true }}'
    place = {"inbox_prefix": "_MINE.b", "jetstream_api_prefix": "JS.A.API."}
    context(tmp_path, "all", url=f"ws://{HOST}:{websocket}/nats?hidden=1", user="b", password="x", **place)
    with PlainServer(tmp_path, config, port, websocket):
        async with face.bus(context="all", manage="apply", profile="dev") as bus:
            assert bus.url == f"ws://{HOST}:{websocket}/nats"
            assert await execution(face, bus) == "ok"
            await use(face, bus)
        if face.is_async:
            monkeypatch.setenv("SMITH_NATS_URL", f"ws://b:x@{HOST}:{websocket}")
            monkeypatch.setenv("SMITH_INBOX_PREFIX", "_MINE.b")
            monkeypatch.setenv("SMITH_API_PREFIX", "JS.A.API")
            command = [sys.executable, "-m", "smith_sdk.cli", "consumers", "ls"]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, "")
