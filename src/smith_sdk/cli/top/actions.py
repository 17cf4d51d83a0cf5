"""What the screen does to the bus. Each returns the outcome in words, or raises `SmithError`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ...aio import AsyncSmithBus, DeadLetter
from ...contract import ConsumerSpec
from ...errors import MessageNotFound, OptionsError, SmithError
from ..output import shown
from .board import Board, ConsumerRow
from .source import Source


class Actions:
    """The board of a source, and the actions on its rows."""

    def __init__(self, bus: AsyncSmithBus[Any], source: Source) -> None:
        self._bus = bus
        self._source = source

    @property
    def board(self) -> Board:
        return self._source.board

    async def letter(self, id: str) -> DeadLetter:
        try:
            return await self._bus.dead_letters.get(id)
        except MessageNotFound:
            self._source.refresh_letters()
            raise SmithError(f"{id} is no longer there: it was replayed or discarded") from None

    async def replay(self, id: str) -> str:
        report = await self._bus.dead_letters.replay([id])
        self._source.refresh_letters()
        if report.replayed or report.finished:
            return f"replayed {id}"
        if report.gone:
            return f"{id} is no longer there: it was replayed or discarded before"
        for outcome in (*report.failed, *report.refused):
            raise SmithError(f"{id} was not replayed: {outcome.error}")
        return f"{id} is in doubt: an interrupted replay may have published it. `smith dlq replay --help` tells more"

    async def pause(self, row: ConsumerRow, length: timedelta) -> str:
        found = await self._bus.consumer(self._declared(row)).pause(length)
        return f"{row.name} is paused until {shown(found.paused_until)}"

    async def resume(self, row: ConsumerRow) -> str:
        await self._bus.consumer(self._declared(row)).resume()
        return f"{row.name} is resumed"

    def _declared(self, row: ConsumerRow) -> ConsumerSpec[Any, Any]:
        for spec in self._bus._session.contract.consumers:
            if (spec.stream, spec.name) == (row.stream, row.name):
                return spec
        raise OptionsError(f"consumer {row.name} of {row.stream} is not declared in the contract: pause it with the nats command")
