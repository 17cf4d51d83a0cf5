"""Public subject trees, ported: messages on a real server, and NATS agrees with our filters."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import nats
import pytest
from buses import Account, Face
from generated import generated
from plain_server import HOST, PlainServer, free_port
from support import eventually_async

from smith_sdk import AsyncSmithBus
from smith_sdk.contract import Leaf
from smith_sdk.errors import InvalidToken, SubjectMismatch, UnknownSubject

PORTS: Final = Path(__file__).parents[1] / "codegen" / "ports"


@pytest.fixture
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The generated package of the port that is named in the mark, as `Any`."""
    name, package = request.param
    with generated(PORTS / f"{name}.toml", package, tmp_path) as found:
        yield found


def ports(name: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("port", [(name, package)], indirect=True)


async def first(messages: Any) -> Any:
    async with asyncio.timeout(10):
        return await anext(aiter(messages))


# ---- spark: a last token that may be absent


@ports("spark", "spark_bus")
async def test_messages_with_and_without_a_device(port: Any, face: Face) -> None:
    subjects, protocol = port.subjects, port.protocol
    payload = protocol.SpbPayload(timestamp=1, metrics=[], seq=0)
    node = subjects.messages(group_id="g", msg_type="NBIRTH", edge_node_id="e")
    device = subjects.messages(group_id="g", msg_type="DBIRTH", edge_node_id="e", device_id="d")
    async with face.applied(contract=port.topology.CONTRACT) as bus:
        await bus.publish(node, payload)
        await bus.publish(device, payload)
        await bus.publish(subjects.messages(group_id="g", msg_type="NDATA", edge_node_id="e"), payload)
        consumer = port.topology.consumers.births
        assert consumer.filters == ("spBv1.*.NBIRTH.*", "spBv1.*.NBIRTH.*.*", "spBv1.*.DBIRTH.*", "spBv1.*.DBIRTH.*.*")
        messages = await bus.consumer(consumer).fetch(2)
        assert [message.subject for message in messages] == [node, device]
        for message in messages:
            assert message.payload == payload
            await message.ack()
        read = [message.subject.device_id async for message in bus.read(subjects.messages.filter(group_id="g"))]
        assert read == [None, "d", None]
    assert str(node) == "spBv1.g.NBIRTH.e"
    assert node.device_id is None


# ---- shop: several roots, parts


@ports("shop", "shop_port")
async def test_parts_and_several_roots(port: Any, face: Face) -> None:
    subjects, protocol = port.subjects, port.protocol
    address = protocol.Address(street="s", zip="1")
    order = protocol.Order.new(order_id="o1", customer_id="c", from_=address, lines=[], related=[], kind="1")
    urgent = subjects.orders.prio.of(order, priority=3)
    assert str(urgent) == "shop.orders.p3.o1"
    async with face.applied(contract=port.topology.CONTRACT) as bus:
        async with bus.subscribe(subjects.carts.filter()) as carts:
            await bus.flush()
            await bus.emit(subjects.carts(tenant="t"), protocol.Cart(skus=["a"]))
            cart = await first(carts)
            assert (cart.subject.tenant, cart.payload.skus) == ("t", ["a"])
        await bus.publish(subjects.orders.by_region(region="eu-west-1"), order)
        await bus.publish(subjects.orders.current(tenant="t", order_id="o2"), order, msg_id="current")
        await bus.publish(urgent, order, msg_id="urgent")
        (message,) = await bus.consumer(port.topology.consumers.urgent).fetch(1)
        assert message.subject == urgent
        assert message.subject.priority == 3
        assert message.payload == order
        assert b'"from":' in message.raw
        await message.ack()
        with pytest.raises(InvalidToken, match=r"p\{priority\}, with a value"):
            port.subjects.parse("shop.orders.x3.o1")
        with pytest.raises(InvalidToken, match="from 0 to 9"):
            subjects.orders.prio(priority=10, order_id="o")


# ---- wasm: versions side by side, a tail


@ports("wasm", "wasm_bus")
async def test_versions_side_by_side_and_tails(port: Any, face: Face) -> None:
    subjects, protocol = port.subjects, port.protocol
    old = protocol.ScaleComponent(component_ref="r", component_id="c", max_instances=1, host_id="h")
    new = protocol.ScaleComponentV2(component_ref="r", component_id="c", instances=2)
    ctl = subjects.ctl
    both = ctl.v1.component_scale.filter() | ctl.v2.component_scale.filter()
    call = subjects.rpc(lattice="l", component_id="c", op=("wasi:http", "incoming-handler", "handle"))
    async with (
        face.applied(contract=port.topology.CONTRACT) as bus,
        bus.subscribe(both) as messages,
        bus.subscribe(subjects.rpc.filter()) as calls,
    ):
        await bus.flush()
        await bus.emit(ctl.v1.component_scale(lattice="l", host_id="h"), old)
        await bus.emit(ctl.v2.component_scale(lattice="l", host_id="h"), new)
        received = {type(message.payload): message.subject for message in [await first(messages), await first(messages)]}
        assert received == {
            protocol.ScaleComponent: ctl.v1.component_scale(lattice="l", host_id="h"),
            protocol.ScaleComponentV2: ctl.v2.component_scale(lattice="l", host_id="h"),
        }
        await bus.emit(call, b"frame")
        message = await first(calls)
        assert (message.subject, message.payload) == (call, b"frame")
    assert str(call) == "wasmbus.rpc.l.c.wrpc.0.0.1.wasi:http.incoming-handler.handle"
    for wrong in ((), ("a.b",), ["a"], ("",), "a"):
        with pytest.raises(InvalidToken):
            subjects.rpc(lattice="l", component_id="c", op=wrong)


# ---- js: what the server reports, and a stream that keeps it


@ports("js", "jetstream_events")
async def test_advisories_of_a_real_stream(port: Any, face: Face) -> None:
    subjects = port.subjects
    async with face.applied(contract=port.topology.CONTRACT) as bus:
        async with bus.subscribe(subjects.advisory.stream.filter(action="CREATED")) as messages:
            await bus.flush()
            nc = await nats.connect(face.url)
            await nc.jetstream().add_stream(name="FRESH", subjects=["fresh.>"])
            message = await first(messages)
            assert message.subject == subjects.advisory.stream(action="CREATED", stream="FRESH")
            assert (message.payload.stream, message.payload.action) == ("FRESH", "create")
            assert message.payload.type == "io.nats.jetstream.advisory.v1.stream_action"
            assert abs(datetime.now(UTC) - message.payload.timestamp) < timedelta(minutes=5)
        kept = bus.consumer(port.topology.consumers.stream_changes)
        while (message := (await kept.fetch(1))[0]).subject.stream != "FRESH":
            await message.ack()
        assert message.payload.action == "create"
        await message.ack()
        with pytest.raises(SubjectMismatch):
            await bus.publish(subjects.advisory.stream(action="CREATED", stream="FRESH"), message.payload)
        await nc.close()


# ---- sys: events of the system account, and a request to the server


@contextlib.asynccontextmanager
async def system_server(tmp_path: Path) -> AsyncIterator[str]:
    port = free_port()
    users = 'A: { users: [{ user: "a", password: "a" }] }, SYS: { users: [{ user: "s", password: "s" }] }'
    config = f"host: {HOST}\nport: {port}\nserver_name: one\naccounts: {{ {users} }}\nsystem_account: SYS\n"
    with PlainServer(tmp_path, config, port):
        yield f"{HOST}:{port}"


@ports("sys", "sys_events")
async def test_events_of_the_system_account(port: Any, tmp_path: Path) -> None:
    subjects, protocol = port.subjects, port.protocol
    async with system_server(tmp_path) as address:
        bus = AsyncSmithBus(f"nats://s:s@{address}", contract=port.topology.CONTRACT, manage="off")
        async with bus, bus.subscribe(subjects.account.connect.filter(account="A")) as connects:
            await bus.flush()
            other = await nats.connect(f"nats://a:a@{address}", name="guest")
            message = await first(connects)
            assert message.subject == subjects.account.connect(account="A")
            assert (message.payload.server.name, message.payload.client.name) == ("one", "guest")
            assert abs(message.payload.server.time - message.payload.timestamp) < timedelta(minutes=5)
            await other.close()
            with pytest.raises(SubjectMismatch):
                await bus.emit(message.subject, message.payload)
            reply = await bus.request(subjects.req.ping(), protocol.Options())
            assert reply.server.name == "one"
            assert reply.statsz["connections"] >= 1


# ---- NATS agrees with our filters


TEXTS: Final = """
    t.x.p3.o t.x.p10.o t.x.l-low-x.o t.x.l-mid-x.o t.x.orders.o t.x.p.o t.fam.va1 t.fam.va3 t.x.files.low.a t.x.files.low.a.b.c
    t.x.files.low t.only t.only.7 t.only.70 t.v1.new-order t.v2.new-order t.0.0.1.a dev.n dev.n.d dev.n.d.e dev.traced.t.o t.noted.x
"""


@ports("../patterns", "patterns_bus")
async def test_the_server_delivers_what_the_filters_say(port: Any, account: Account) -> None:
    contract = port.topology.CONTRACT
    texts = TEXTS.split()
    classes = {leaf.cls.NAME: leaf.cls for leaf in vars(port.topology).values() if isinstance(leaf, Leaf)}
    nc = await nats.connect(account.url)
    received: dict[str, list[str]] = {name: [] for name in classes}
    for name, cls in classes.items():
        make: Any = getattr(cls, "filter", None)
        patterns = (cls.PATTERN,) if make is None else make().patterns

        async def keep(message: Any, name: str = name) -> None:
            received[name].append(message.subject)

        for pattern in patterns:
            await nc.subscribe(pattern, cb=keep)
    await nc.flush()
    for text in texts:
        await nc.publish(text)
    await nc.publish("t.end")
    await nc.flush()
    expected: dict[str, list[str]] = {name: [] for name in classes}
    for text in texts:
        with contextlib.suppress(UnknownSubject, InvalidToken):
            subject = contract.parse(text)
            assert str(subject) == text
            expected[subject.NAME].append(text)
    await eventually_async(lambda: all(set(expected[name]) <= set(received[name]) for name in classes))
    assert all(expected.values()), expected
    for name, found in received.items():
        assert len(found) == len(set(found)), f"{name} receives a message twice"
        strangers = set(found) - set(expected[name])
        for text in strangers:  # a wildcard takes whole tokens: of a part, a closed set and numbers, it takes others, too
            with contextlib.suppress(UnknownSubject, InvalidToken):
                assert type(contract.parse(text)) is not classes[name]
    await nc.close()
