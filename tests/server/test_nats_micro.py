"""A service as other tools see it: the `nats` command where there is one, else the same requests
raw, against the schemas that NATS publishes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
from buses import Account
from generated import generated
from nats_command import NATS, Nats
from nats_micro import SCHEMAS

from smith_sdk import AsyncSmithBus, MicroService

SPEC: Final = Path(__file__).parents[1] / "codegen" / "orders.toml"
SUBJECT: Final = "shop.eu.orders.7.get"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with generated(SPEC, "orders_bus", tmp_path_factory.mktemp("orders")) as package:
        yield package


def serving(shop: Any, bus: AsyncSmithBus) -> MicroService:
    service = MicroService(bus, name="orders", version="1.2.0", description="Orders of the shop.", metadata={"team": "sales"})

    @service.endpoint(shop.subjects.orders.get, metadata={"cost": "low"})
    async def get(message: Any) -> Any:
        if message.subject.order_id == "0":
            raise shop.subjects.orders.get.NOT_FOUND
        return shop.protocol.Order(order_id=message.subject.order_id, item="tea", count=1)

    @service.endpoint(shop.subjects.orders.place)
    def place(message: Any) -> Any:
        raise ValueError("secret")

    return service


async def raw(bus: AsyncSmithBus, subject: str, data: bytes = b"") -> tuple[dict[str, str], bytes]:
    answer = await bus._session.requests.request(subject, data, timeout=20)
    return answer.headers or {}, answer.data


async def test_raw_requests_of_the_protocol(shop: Any, account: Account) -> None:
    bus = AsyncSmithBus(account.url, contract=shop.topology.CONTRACT)
    async with bus, serving(shop, bus) as service:
        assert await raw(bus, SUBJECT, b"{}") == ({}, b'{"order_id":"7","item":"tea","count":1}')
        assert (await raw(bus, "shop.eu.orders.0.get", b"{}"))[0] == {
            "Nats-Service-Error": "There is no such order.",
            "Nats-Service-Error-Code": "NOT_FOUND",
        }
        failed, data = await raw(bus, "shop.orders.place", b'{"item":"tea","count":1}')
        assert (failed, data) == ({"Nats-Service-Error": "the service failed", "Nats-Service-Error-Code": "500"}, b"")
        found = {}
        for verb in ("PING", "INFO", "STATS"):
            for where in ("", ".orders", f".orders.{service.id}"):
                headers, data = await raw(bus, f"$SRV.{verb}{where}")
                found[verb] = json.loads(data)
                jsonschema.validate(found[verb], SCHEMAS[verb], format_checker=jsonschema.FormatChecker())
                assert (headers, found[verb]["id"], found[verb]["metadata"]) == ({}, service.id, {"team": "sales"})
        assert found["INFO"]["description"] == "Orders of the shop."
        assert found["INFO"]["endpoints"] == [
            {"name": "orders_get", "subject": "shop.*.orders.*.get", "queue_group": "q", "metadata": {"cost": "low"}},
            {"name": "orders_place", "subject": "shop.orders.place", "queue_group": "q", "metadata": {}},
        ]
        get, place = found["STATS"]["endpoints"]
        assert [(one["num_requests"], one["num_errors"], one["last_error"]) for one in (get, place)] == [
            (2, 1, "NOT_FOUND: There is no such order."),
            (1, 1, "500: ValueError"),
        ]


@pytest.mark.skipif(NATS is None, reason="the nats command is not on PATH")
async def test_the_nats_command_lists_asks_and_measures(shop: Any, account: Account, tmp_path: Path) -> None:
    bus = AsyncSmithBus(account.url, contract=shop.topology.CONTRACT)
    command: Any = Nats(account.url, tmp_path)
    async with bus, serving(shop, bus) as service:
        listed = await command("micro", "ls")
        assert "orders" in listed
        assert "1.2.0" in listed
        told = await command("micro", "info", "orders")
        assert service.id in told
        assert "shop.*.orders.*.get" in told
        assert "Orders of the shop." in told
        assert await command("req", SUBJECT, "{}", "--raw") == '{"order_id":"7","item":"tea","count":1}'
        refused = await command("req", "shop.eu.orders.0.get", "{}")
        assert "NOT_FOUND" in refused
        counted = await command("micro", "stats", "orders")
        assert "orders_get" in counted
        assert "orders" in await command("micro", "ping")
