"""`smith consumers`: show, pause, resume and reset the declared consumers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from ..errors import OptionsError
from .options import HERE, Where
from .output import Json, Yes, confirm, messages, say, show_facts, show_json, show_table, shown
from .values import Duration

if TYPE_CHECKING:
    from ..aio.consumer import ConsumerInfo
    from ..contract import ConsumerSpec, Contract

consumers = App(name="consumers", help="Show, pause, resume and reset consumers.")

HowLong = Annotated[Duration, Parameter(name="--for", help="Duration from now on, such as 45s, 10m or 1h30m.")]

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
    """List the consumers of the contract, or of STREAM, with their counts of messages."""
    with where.bus() as bus:
        infos = bus.streams.info() if stream is None else [bus.streams.get(stream)]
    found = [consumer for info in infos for consumer in info.consumers]
    if json:
        show_json(found)
    else:
        show_consumers(found)


@consumers.command
def show(name: str, /, *, where: Where = HERE, json: Json = False) -> None:
    """Show one consumer of the contract."""
    with where.bus() as bus:
        found = bus.consumer(_declared(where.declared, name)).info()
    if json:
        show_json(found)
        return
    show_facts({**_facts(found), "last acknowledged": found.last_acked, "filters": ", ".join(found.filters)})
    _show_full([found])


@consumers.command
def pause(name: str, /, *, for_: HowLong, where: Where = HERE, json: Json = False) -> None:
    """Stop delivery to a consumer for a while. Its readers wait."""
    with where.bus() as bus:
        found = bus.consumer(_declared(where.declared, name)).pause(for_)
    _show_pause(found, json)


@consumers.command
def resume(name: str, /, *, where: Where = HERE, json: Json = False) -> None:
    """Resume delivery to a consumer. Does nothing if it is not paused."""
    with where.bus() as bus:
        found = bus.consumer(_declared(where.declared, name)).resume()
    _show_pause(found, json)


@consumers.command
def reset(
    name: str,
    /,
    *,
    seq: Annotated[int | None, Parameter(help="Deliver everything from this sequence of the stream on.")] = None,
    where: Where = HERE,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Deliver messages to a consumer again, as if for the first time. Asks for confirmation.

    Those that it has not acknowledged, or all from --seq on.
    """
    with where.bus() as bus:
        consumer = bus.consumer(_declared(where.declared, name))
        if not yes:
            now = consumer.info()
            which = (
                f"{messages(now.num_ack_pending)} not acknowledged" if seq is None else f"all messages from sequence {seq:,} on"
            )
            say(f"to be delivered again to consumer {name} of {now.stream}: {which}", json=json)
            confirm("Reset the consumer?", "this redelivers messages")
        found = consumer.reset(seq)
    if json:
        show_json(found)
    else:
        say(f"reset consumer {name} of {found.stream}: {messages(found.num_pending)} to deliver")


def show_consumers(found: Iterable[ConsumerInfo]) -> None:
    """Print a table of consumers, and which of them are full."""
    found = list(found)
    show_table(
        list(_FACTS),
        [list(_facts(one).values()) for one in found],
        empty="no consumers of the contract: `smith streams apply` creates those that it declares",
        sections="stream",
    )
    _show_full(found)


def _show_full(found: Iterable[ConsumerInfo]) -> None:
    for one in found:
        if one.is_full:
            say(
                f"{one.name} delivers nothing: {messages(one.num_ack_pending)} unacknowledged, which is its max_ack_pending="
                f"{one.max_ack_pending}. They are being handled, or wait for a delayed retry"
            )


def _facts(info: ConsumerInfo) -> dict[str, Any]:
    return {heading: getattr(info, field) for heading, field in _FACTS.items()}


def _declared(contract: Contract, name: str) -> ConsumerSpec[Any, Any]:
    for spec in contract.consumers:
        if spec.name == name:
            return spec
    names = ", ".join(spec.name for spec in contract.consumers) or "none"
    raise OptionsError(f"consumer {name!r} is not declared in contract {contract.name!r}, which has {names}")


def _show_pause(found: ConsumerInfo, json: bool) -> None:
    if json:
        show_json(found)
    else:
        state = f"paused until {shown(found.paused_until)}" if found.paused_until else "not paused"
        say(f"consumer {found.name} of {found.stream} is {state}")
