"""Requests and services: replies, errors, bounds and draining, on both faces."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import re
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from buses import Account, Face, request
from chaos.proxy import Proxy
from generated import generated
from support import eventually_async

from smith_sdk import AsyncSmithBus, Auth, aio, subjects
from smith_sdk._core.services.ask import ask
from smith_sdk._core.services.format import Info, Stats
from smith_sdk.aio import service_calls
from smith_sdk.contract import Contract
from smith_sdk.errors import (
    ConnectionLost,
    NoResponders,
    OptionsError,
    PayloadDecodeError,
    PayloadMismatch,
    PermissionDenied,
    RequestTimeout,
    ServiceError,
    SubjectMismatch,
)

SPEC: Final = Path(__file__).parents[1] / "codegen" / "orders.toml"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The generated package, as `Any`."""
    with generated(SPEC, "orders_bus", tmp_path_factory.mktemp("orders")) as package:
        yield Shop(package)


class Shop:
    """The names of the generated package that the tests use."""

    def __init__(self, package: ModuleType) -> None:
        made: Any = package
        self.orders = made.subjects.orders
        self.protocol = made.protocol
        self.contract: Contract = made.topology.CONTRACT

    def get(self, order: str = "7", region: str = "eu") -> Any:
        return self.orders.get(region=region, order_id=order)

    @property
    def what(self) -> Any:
        return self.protocol.GetOrder()

    def order(self, order_id: str = "7", count: int = 1) -> Any:
        return self.protocol.Order(order_id=order_id, item="tea", count=count)


def serving(shop: Shop, bus: Any, **options: Any) -> aio.MicroService:
    """A service on `bus`, which is one of the async face or a `Crossing`."""
    return aio.MicroService(bus, name="orders", version="1.2.0", **options)


def connected(shop: Shop, account: Account) -> AsyncSmithBus:
    return AsyncSmithBus(account.url, contract=shop.contract)


@contextlib.asynccontextmanager
async def both(shop: Shop, face: Face, handler: Any, kind: Any = None, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """A caller and a running service of the face, in buses of their own."""
    async with face.bus(face.url, contract=shop.contract) as caller, face.bus(face.url, contract=shop.contract) as bus:
        service = face.service(bus, name="orders", version="1.2.0", **options)
        service.endpoint(kind or shop.orders.get)(handler)
        async with service:
            yield caller, service


async def test_a_request_is_answered_with_its_reply(shop: Shop, face: Face) -> None:
    def look_up(message: Any) -> Any:
        assert (message.subject.region, message.headers["Trace"]) == ("eu", "abc")
        return shop.order(message.subject.order_id, count=message.payload.version + 1)

    async with both(shop, face, look_up) as (caller, service):
        found = await caller.request(shop.get("9"), shop.protocol.GetOrder(version=3), headers={"Trace": "abc"})
        assert found == shop.order("9", count=4)
        (counts,) = service.counts if face.is_async else service.inner.counts
        assert (counts.name, counts.subject, counts.requests, counts.errors) == ("orders_get", "shop.*.orders.*.get", 1, 0)


async def test_declared_errors_are_classes_on_both_sides(shop: Shop, face: Face) -> None:
    errors = {"1": shop.orders.get.NOT_FOUND("no order 1\r\nhere"), "2": shop.orders.get.GONE(data=b"since 2020")}

    def fail(message: Any) -> Any:
        raise errors[message.subject.order_id]

    async with both(shop, face, fail) as (caller, _):
        with pytest.raises(shop.orders.get.NOT_FOUND) as failed:
            await caller.request(shop.get("1"), shop.what)
        error = failed.value
        assert (error.code, error.description, error.subject) == ("NOT_FOUND", "no order 1 here", "shop.eu.orders.1.get")
        assert str(error) == "shop.eu.orders.1.get was answered with the error NOT_FOUND: no order 1 here"
        with pytest.raises(shop.orders.get.GONE) as gone:
            await caller.request(shop.get("2"), shop.what)
        assert (gone.value.code, gone.value.description, gone.value.data) == ("410", "The order was deleted.", b"since 2020")
        copy = pickle.loads(pickle.dumps(gone.value))
        assert (type(copy), copy.code, copy.data) == (shop.orders.get.GONE, "410", b"since 2020")


async def test_other_errors_are_500_and_leak_nothing(shop: Shop, face: Face, caplog: pytest.LogCaptureFixture) -> None:
    raised: list[BaseException] = [
        ValueError("the password is tea"),
        shop.orders.place.SOLD_OUT("an error of another subject"),
        ServiceError("made by hand", code="NOT_FOUND"),
        SystemExit(3),
    ]
    returned = [None, shop.what, shop.order(count=1000), {"order_id": "7"}]
    count = len(raised) + len(returned)

    def fail(message: Any) -> Any:
        if raised:
            raise raised.pop()
        return returned.pop()

    async with both(shop, face, fail) as (caller, service):
        for _ in range(count):
            with pytest.raises(ServiceError) as failed:
                await caller.request(shop.get(), shop.what)
            error = failed.value
            assert (type(error), error.code, error.description, error.data) == (ServiceError, "500", "the service failed", b"")
        (counts,) = service.counts if face.is_async else service.inner.counts
        assert (counts.requests, counts.errors, counts.last_error) == (count, count, "500: PayloadMismatch")
    assert "the password is tea" in caplog.text  # the service's own log has it


async def test_without_an_endpoint_it_does_not_start(shop: Shop, account: Account) -> None:
    async with connected(shop, account) as bus:
        with pytest.raises(OptionsError, match="has no endpoint"):
            await serving(shop, bus).run()


def answering(shop: Shop, bus: AsyncSmithBus, **options: Any) -> aio.MicroService:
    """A service whose handler answers at once."""
    service = serving(shop, bus, **options)

    @service.endpoint(shop.orders.get)
    async def get(message: Any) -> Any:
        return shop.order(message.subject.order_id)

    return service


async def answers(bus: AsyncSmithBus, kind: Any, count: int) -> Any:
    """What so many services answer, once all have answered in time."""
    found = await ask(bus._connection, kind, seconds=0.3)
    return found if len(found) == count else None


async def raw_request(bus: AsyncSmithBus, subject: str, data: bytes) -> tuple[str, bytes]:
    """The code of the answer to a request of any bytes ("" for a reply), and its body."""
    answer = await bus._session.requests.request(subject, data, timeout=20)
    return (answer.headers or {}).get("Nats-Service-Error-Code", ""), answer.data


async def test_hostile_requests_are_400_and_the_service_goes_on(shop: Shop, account: Account) -> None:
    async with connected(shop, account) as bus, answering(shop, bus) as service:
        subject = "shop.eu.orders.7.get"
        for data in (
            b"",
            b"{",
            b"[" * 50_000,
            b'{"version":-1}',
            b'{"version":"1"}',
            b"\xff",
            b"null",
            b'{"version":' + b"9" * 5000,
        ):
            assert await raw_request(bus, subject, data) == ("400", b""), data[:20]
        assert await raw_request(bus, "shop.mars.orders.7.get", b"{}") == ("400", b"")
        await bus._connection.publish(subject, b"{}")  # no reply subject: not a request
        for reply in ("shop.orders.seen", "$JS.API.STREAM.PURGE.X", "$SRV.PING"):
            await bus._connection.publish(subject, b"{}", reply)
        assert await raw_request(bus, subject, b"{}") == ("", b'{"order_id":"7","item":"tea","count":1}')
        (counts,) = service.counts
        assert (counts.requests, counts.errors) == (10, 9)


async def test_hostile_answers_are_errors_of_the_request(shop: Shop, account: Account) -> None:
    block = b"NATS/1.0\r\nNats-Service-Error: %s\r\nNats-Service-Error-Code: %s\r\n\r\n"
    answers = {
        b"{": PayloadDecodeError,
        b'{"order_id":"7","item":"tea","count":1000}': PayloadDecodeError,
        b"[" * 50_000: PayloadDecodeError,
        b"\xff\xfe": PayloadDecodeError,
    }
    errors = [(b"x" * 10_000, b"y" * 10_000), (b"\x1b[31m", b""), (b"", b"7"), (b"\xff", b"\xff")]
    async with connected(shop, account) as bus:
        given: list[tuple[bytes, bytes]] = [(data, b"") for data in answers] + [(b"", block % pair) for pair in errors]
        tasks: list[Any] = []

        def answer(message: Any) -> None:
            data, headers = given.pop(0)
            tasks.append(asyncio.ensure_future(bus._connection.publish(message.reply, data, block=headers)))

        await bus._connection.subscribe("shop.eu.orders.7.get", answer)
        for kind in answers.values():
            with pytest.raises(kind):
                await bus.request(shop.get(), shop.what)
        for _, code in errors:
            with pytest.raises(ServiceError) as failed:
                await bus.request(shop.get(), shop.what)
            assert len(failed.value.code) <= 512
            assert "\x1b" not in str(failed.value)
            assert failed.value.code == "500" or code
        await asyncio.gather(*tasks)


async def test_no_service_a_late_one_and_a_lost_connection(shop: Shop, face: Face) -> None:
    with Proxy(face.url) as proxy:
        async with face.bus(proxy.url, contract=shop.contract) as caller, AsyncSmithBus(face.url, contract=shop.contract) as bus:
            with pytest.raises(NoResponders, match=r"shop.eu.orders.7.get") as unanswered:
                await caller.request(shop.get(), shop.what, timeout=20)
            assert unanswered.value.subject == "shop.eu.orders.7.get"
            asked: list[Any] = []
            await bus._connection.subscribe("shop.*.orders.*.get", asked.append)
            await request(bus)
            with pytest.raises(RequestTimeout) as late:
                await caller.request(shop.get(), shop.what, timeout=0.05)
            assert (late.value.subject, late.value.timeout, isinstance(late.value, TimeoutError)) == (str(shop.get()), 0.05, True)
            waiting = asyncio.ensure_future(caller.request(shop.get(), shop.what, timeout=60))
            await eventually_async(lambda: len(asked) == 2)
            proxy.cut()
            with pytest.raises(ConnectionLost):
                await waiting


async def test_a_caller_needs_its_subject_and_its_inbox_and_another_subject_is_denied(
    shop: Shop, face: Face, make_server: Callable[..., Any]
) -> None:
    allowed = f'publish: {{ allow: "{shop.get()}" }}, subscribe: {{ allow: "_INBOX.>" }}'
    server = make_server(config=f'authorization {{ users: [ {{ user: "a", password: "x", permissions: {{ {allowed} }} }} ] }}')
    async with face.bus(server.url, contract=shop.contract, auth=Auth(user="a", password="x")) as bus:
        with pytest.raises(NoResponders):  # it has reached the server, and the answer the caller
            await bus.request(shop.get(), shop.what)
        other = shop.get(order="8")
        with pytest.raises(PermissionDenied, match=re.escape(str(other))) as refused:
            await bus.request(other, shop.what, timeout=20)
        assert refused.value.subject == str(other)


async def test_what_is_not_a_request_is_refused_before_it_is_sent(shop: Shop, account: Account) -> None:
    async with connected(shop, account) as bus:
        untyped: Any = bus
        with pytest.raises(SubjectMismatch, match=r"has no reply: use emit\(\)"):
            await untyped.request(shop.orders.seen(), shop.order())
        with pytest.raises(SubjectMismatch, match=r"use request\(\)"):
            await untyped.emit(shop.get(), shop.what)
        with pytest.raises(PayloadMismatch):
            await untyped.request(shop.get(), shop.order())
        with pytest.raises(PayloadMismatch):
            await untyped.request(shop.get(), shop.protocol.GetOrder(version=-1))
        with pytest.raises(SubjectMismatch):
            await untyped.request(subjects.results.filter(), shop.what)
        with pytest.raises(OptionsError):
            await untyped.request(shop.get(), shop.what, timeout=0)
        with pytest.raises(OptionsError):
            await untyped.request(shop.get(), shop.what, headers={"Nats-Msg-Id": "1"})


async def test_options_of_a_service_are_checked(shop: Shop, account: Account) -> None:
    bus: Any = connected(shop, account)
    good: dict[str, Any] = {"name": "orders", "version": "1.0.0"}
    wrong: dict[str, Any]
    for wrong in (
        {"name": "a b"},
        {"name": ""},
        {"version": "1"},
        {"concurrency": 0},
        {"queue_group": "a b"},
        {"metadata": {"a": 1}},
        {"timeout": 0},
        {"drain_timeout": -1},
        {"description": None},
    ):
        with pytest.raises(OptionsError):
            aio.MicroService(bus, **{**good, **wrong})
    service: Any = aio.MicroService(bus, **good, timeout=1)
    get = shop.orders.get
    overlapping = get.filter(region="eu") | get.filter(order_id="7")
    for what in (shop.get(), shop.orders.seen, "shop.x", get.filter(), overlapping):
        with pytest.raises(OptionsError):
            service.endpoint(what)
    with pytest.raises(OptionsError, match="in common"):
        service.endpoint(overlapping, name="both")
    with pytest.raises(SubjectMismatch):
        aio.MicroService(AsyncSmithBus(account.url), **good).endpoint(get)
    with pytest.raises(OptionsError, match="plain function"):
        service.endpoint(get)(lambda message: None)
    assert service.describe()["endpoints"] == {}


async def test_services_of_one_name_share_the_requests(shop: Shop, account: Account) -> None:
    """By queue group; a filter takes its own part, and bytes go through as they are."""
    async with connected(shop, account) as bus:
        first, second = answering(shop, bus), answering(shop, bus)
        other = aio.MicroService(bus, name="exports", version="1.0.0", queue_group=None, metadata={"team": "a"})

        @other.endpoint(shop.orders.export, metadata={"unit": "bytes"})
        async def export(message: Any) -> bytes:
            return bytes(reversed(message.payload))

        @other.endpoint(shop.orders.place)
        def place(message: Any) -> Any:
            raise shop.orders.place.SOLD_OUT

        async with first, second, other:
            await asyncio.gather(*(bus.request(shop.get(str(n)), shop.what) for n in range(200)))
            counts = [one.counts[0].requests for one in (first, second)]
            assert (sum(counts), min(counts) > 0) == (200, True)
            assert await bus.request(shop.orders.export(), b"\x00abc") == b"cba\x00"
            with pytest.raises(shop.orders.place.SOLD_OUT, match="There is no more of that"):
                await bus.request(shop.orders.place(), shop.protocol.NewOrder(item="tea", count=1))
            found = await eventually_async(partial(answers, bus, Info, 3))
            assert sorted(one.name for one in found) == ["exports", "orders", "orders"]
            exports = next(one for one in found if one.name == "exports")
            assert [(one.name, one.queue_group, one.metadata) for one in exports.endpoints] == [
                ("orders_export", "", {"unit": "bytes"}),
                ("orders_place", "", {}),
            ]
            assert await bus.workers(0.2) == []  # a service is not a worker


async def test_concurrency_is_bounded_and_what_waits_too(shop: Shop, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_calls, "_MOST_WAITING", 5)
    going, most = asyncio.Event(), 0
    async with connected(shop, account) as bus:
        service = serving(shop, bus, concurrency=2)

        @service.endpoint(shop.orders.get)
        async def get(message: Any) -> Any:
            nonlocal most
            most = max(most, service._calls.running)
            await going.wait()
            return shop.order()

        async with service:
            asked = [asyncio.ensure_future(bus.request(shop.get(), shop.what, timeout=20)) for _ in range(10)]
            await eventually_async(lambda: sum(one.done() for one in asked) == 3)
            going.set()
            done = await asyncio.gather(*asked, return_exceptions=True)
        refused = [one for one in done if isinstance(one, ServiceError)]
        assert ({one.code for one in refused}, len(refused), most) == ({"503"}, 3, 2)
        assert service.counts[0].errors == 3


async def test_a_timeout_cancels_the_handler_and_answers_504(shop: Shop, account: Account) -> None:
    async with connected(shop, account) as bus:
        service = serving(shop, bus, timeout=0.05)

        @service.endpoint(shop.orders.get)
        async def get(message: Any) -> Any:
            await asyncio.Event().wait()

        async with service:
            with pytest.raises(ServiceError, match="504: the handler took too long"):
                await bus.request(shop.get(), shop.what, timeout=20)


@pytest.mark.parametrize("now", [False, True])
async def test_it_drains_when_it_is_stopped(shop: Shop, account: Account, now: bool) -> None:
    """What was started is answered; with `now`, or after `drain_timeout`, with 503."""
    going = asyncio.Event()
    async with connected(shop, account) as caller, connected(shop, account) as bus:
        service = serving(shop, bus, concurrency=1)

        @service.endpoint(shop.orders.get)
        async def get(message: Any) -> Any:
            await going.wait()
            return shop.order()

        running = asyncio.ensure_future(service.run(signals=()))
        await eventually_async(lambda: bus._session.parts)
        asked = []
        await eventually_async(lambda: service._subscriptions)
        await request(bus)
        for _ in range(3):
            asked.append(asyncio.ensure_future(caller.request(shop.get(), shop.what, timeout=20)))
        await eventually_async(lambda: (service.describe()["running"], service.describe()["waiting"]) == (1, 2))
        stopping = asyncio.ensure_future(service.stop(now=now))
        if not now:
            await eventually_async(lambda: no_service(caller, shop))
            going.set()
        await stopping
        await running
        done = await asyncio.gather(*asked, return_exceptions=True)
        if now:
            assert {one.code for one in done if isinstance(one, ServiceError)} == {"503"}
        else:
            assert done == [shop.order()] * 3
        with pytest.raises(NoResponders):
            await caller.request(shop.get(), shop.what)
        await service.stop()  # safe to repeat; the next run returns at once
        await service.run(signals=())


async def no_service(bus: AsyncSmithBus, shop: Shop) -> bool:
    try:
        await bus.request(shop.get(), shop.what, timeout=0.2)
    except NoResponders:
        return True
    except RequestTimeout:
        return False
    return False


async def test_closing_the_bus_drains_the_service(shop: Shop, face: Face) -> None:
    """And a handler may stop its own service."""
    started, going = threading.Event(), threading.Event()

    def get(message: Any) -> Any:
        started.set()
        going.wait(20)
        return shop.order()

    async with AsyncSmithBus(face.url, contract=shop.contract) as caller:
        bus = face.bus(face.url, contract=shop.contract)
        await bus.connect()
        service = face.service(bus, name="orders", version="1.2.0")
        service.endpoint(shop.orders.get)(get)
        await service.__aenter__()
        asked = asyncio.ensure_future(caller.request(shop.get(), shop.what, timeout=20))
        await eventually_async(started.is_set)
        closing = asyncio.ensure_future(bus.close())
        going.set()
        assert await asked == shop.order()
        await closing


async def test_a_signal_drains_it(shop: Shop, account: Account) -> None:
    async with connected(shop, account) as caller, connected(shop, account) as bus:
        service = serving(shop, bus)

        @service.endpoint(shop.orders.get)
        async def get(message: Any) -> Any:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(0)
            assert message.draining
            return shop.order()

        running = asyncio.ensure_future(service.run())
        await eventually_async(lambda: service._subscriptions)
        await request(bus)
        assert await caller.request(shop.get(), shop.what, timeout=20) == shop.order()
        await running


async def test_it_answers_on_the_next_connection(shop: Shop, account: Account) -> None:
    with Proxy(account.url) as proxy:
        bus, caller = AsyncSmithBus(proxy.url, contract=shop.contract), connected(shop, account)
        async with bus, caller, answering(shop, bus) as service:
            await caller.request(shop.get(), shop.what)
            proxy.cut()
            proxy.restore()
            await eventually_async(lambda: bus._connection.reconnects == 1)
            assert await caller.request(shop.get(), shop.what) == shop.order()
            (found,) = await eventually_async(partial(answers, caller, Stats, 1))
            assert (found.name, found.version, found.id) == ("orders", "1.2.0", service.id)
