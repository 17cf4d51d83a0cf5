"""`smith consumers`: the declared consumers on a server; pausing them, and letting them read again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from ..aio.consumer import ConsumerInfo
from ..contract import ConsumerSpec, Contract
from ..errors import OptionsError
from .options import HERE, Where
from .output import Json, Yes, confirm, messages, say, show_facts, show_json, show_table, shown

consumers = App(name="consumers", help="Consumers as the server has them.")

HowLong = Annotated[timedelta, Parameter(name="--for", help="How long, from now on: 10m, 1h30m, 45s.")]

_FACTS: Final = {
    "consumer": "name",
    "stream": "stream",
    "pending": "num_pending",
    "unacked": "num_ack_pending",
    "redelivered": "num_redelivered",
    "waiting": "num_waiting",
    "last delivered": "last_delivered",
    "paused until": "paused_until",
}


@consumers.command
def ls(stream: str | None = None, /, *, where: Where = HERE, json: Json = False) -> None:
    """The consumers of the contract's streams, or of STREAM: how far behind each is, and when it last did something."""
    with where.bus() as bus:
        infos = bus.streams.info() if stream is None else [bus.streams.get(stream)]
    found = [consumer for info in infos for consumer in info.consumers]
    if json:
        show_json(found)
    else:
        show_consumers(found)


@consumers.command
def show(name: str, /, *, where: Where = HERE, json: Json = False) -> None:
    """One consumer of the contract."""
    with where.bus() as bus:
        found = bus.consumer(_declared(where.declared, name)).info()
    if json:
        show_json(found)
        return
    show_facts({**_facts(found), "last acknowledged": found.last_acked, "filters": ", ".join(found.filters)})


@consumers.command
def pause(name: str, /, *, for_: HowLong, where: Where = HERE, json: Json = False) -> None:
    """Have the server deliver nothing to a consumer for a while; who reads from it waits."""
    with where.bus() as bus:
        found = bus.consumer(_declared(where.declared, name)).pause(for_)
    _tell_pause(found, json)


@consumers.command
def resume(name: str, /, *, where: Where = HERE, json: Json = False) -> None:
    """End a pause, if there is one."""
    with where.bus() as bus:
        found = bus.consumer(_declared(where.declared, name)).resume()
    _tell_pause(found, json)


@consumers.command
def reset(
    name: str,
    /,
    *,
    seq: Annotated[int | None, Parameter(help="All from this sequence of the stream on.")] = None,
    where: Where = HERE,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Deliver to a consumer again, as if for the first time, what it has not acknowledged, or all from --seq on. Asks first."""
    with where.bus() as bus:
        consumer = bus.consumer(_declared(where.declared, name))
        if not yes:
            now = consumer.info()
            again = f"{messages(now.num_ack_pending)} delivered and not acknowledged" if seq is None else f"all from {seq:,} on"
            say(f"consumer {name} of {now.stream} would get again: {again}", json=json)
            confirm("Reset it?")
        found = consumer.reset(seq)
    if json:
        show_json(found)
    else:
        print(f"consumer {name} of {found.stream} is reset: {messages(found.num_pending)} to deliver")


def show_consumers(found: Iterable[ConsumerInfo]) -> None:
    """Print a table of consumers."""
    show_table(list(_FACTS), [list(_facts(one).values()) for one in found])


def _facts(info: ConsumerInfo) -> dict[str, Any]:
    return {heading: getattr(info, field) for heading, field in _FACTS.items()}


def _declared(contract: Contract, name: str) -> ConsumerSpec[Any, Any]:
    for spec in contract.consumers:
        if spec.name == name:
            return spec
    names = ", ".join(spec.name for spec in contract.consumers) or "none"
    raise OptionsError(f"consumer {name!r} is not declared in contract {contract.name!r}, which has {names}")


def _tell_pause(found: ConsumerInfo, json: bool) -> None:
    if json:
        show_json(found)
    else:
        state = f"paused until {shown(found.paused_until)}" if found.paused_until else "not paused"
        print(f"consumer {found.name} of {found.stream} is {state}")
