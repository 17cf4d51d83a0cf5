"""Looks on while hostile messages are processed: exceptions that nothing has caught, log records
that show a mistake of ours, and memory."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from smith_sdk import SmithError

_PAGE: Final = 4096
_LOOK: Final = 0.05
MIB: Final = 1024 * 1024

_EXPECTED: Final = (SmithError, asyncio.CancelledError, TimeoutError, ConnectionError)


def is_mistake(error: BaseException) -> bool:
    """Whether it shows that code met what it did not expect, and not a state that it reports."""
    return not isinstance(error, _EXPECTED)


def resident() -> int:
    """Bytes of this process in memory; 0 where /proc has no such figure."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


class Watch(logging.Handler):
    """`async with Watch(deadline=..., memory=...) as watch`: fails at its end if a mistake showed.

    `deadline` is in seconds and cancels the block; `memory` is bytes by which the process may grow
    at any moment.
    """

    def __init__(self, *, deadline: float, memory: int) -> None:
        super().__init__(logging.WARNING)
        self._deadline = deadline
        self._memory = memory
        self.mistakes: list[str] = []
        self.records = 0
        self.grown = 0
        """The most bytes by which the process has grown."""
        self.seconds = 0.0

    # ---- what it sees

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        error = record.exc_info[1] if record.exc_info else None
        try:
            text = record.getMessage()
        except Exception as problem:
            self.mistakes.append(f"a log record of {record.name} cannot be formatted: {problem!r}")
            return
        if error is not None and is_mistake(error):
            self.mistakes.append(f"logged by {record.name}: {text:.300}\n{_shown(error)}")
        elif record.name == "asyncio":
            self.mistakes.append(f"logged by asyncio: {text:.300}")
        elif len(text) > 16 * 1024:
            self.mistakes.append(f"a log record of {record.name} of {len(text)} characters: {text:.200}")

    def saw(self, error: BaseException, where: object) -> None:
        """`error` was raised to the user; a mistake unless it is one of the SDK's errors."""
        if is_mistake(error):
            self.mistakes.append(f"{where!s:.600}\n{_shown(error)}")

    def _uncaught(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.mistakes.append(f"uncaught: {context.get('message')}\n{repr(context)[:300] if error is None else _shown(error)}")

    async def _measure(self, before: int) -> None:
        while True:
            self.grown = max(self.grown, resident() - before)
            await asyncio.sleep(_LOOK)

    # ---- around a block

    async def __aenter__(self) -> Self:
        gc.collect()
        loop = asyncio.get_running_loop()
        self._before_handler = loop.get_exception_handler()
        loop.set_exception_handler(self._uncaught)
        logging.getLogger().addHandler(self)
        self._measuring = asyncio.ensure_future(self._measure(resident()))
        self._began = time.monotonic()
        self._timeout = asyncio.timeout(self._deadline)
        await self._timeout.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            try:
                await self._timeout.__aexit__(kind, error, trace)
            except TimeoutError:
                raise AssertionError(f"not done within {self._deadline:g} s:\n{_tasks()}{self._report()}") from None
            gc.collect()  # tasks whose exception was never retrieved report it when they are deleted
            await asyncio.sleep(0)
        finally:
            self.seconds = time.monotonic() - self._began
            self._measuring.cancel()
            logging.getLogger().removeHandler(self)
            asyncio.get_running_loop().set_exception_handler(self._before_handler)
        if error is not None:
            if self.mistakes:
                error.add_note(self._report())
            return
        assert not self.mistakes, self._report()
        assert self.grown <= self._memory, f"the process grew by {self.grown // MIB} MiB; at most {self._memory // MIB} expected"

    def _report(self) -> str:
        """Each kind of mistake once, with how often it was seen."""
        kinds: dict[str, list[str]] = {}
        for one in self.mistakes:
            kinds.setdefault(one.rpartition("\n")[2][:80], []).append(one)
        return "\n".join(f"\n--- {len(some)} times:\n{some[0]}" for some in kinds.values())


def _shown(error: BaseException) -> str:
    frames = traceback.format_exception(error, limit=-6)
    return "".join(line[:1000] for line in frames).rstrip()[-3000:]


def _tasks() -> str:
    """Where each task waits, at most ten."""
    lines = []
    for task in [one for one in asyncio.all_tasks() if one is not asyncio.current_task()][:10]:
        frames = task.get_stack(limit=1)
        lines.append(f"{task.get_coro()!r:.100}" + (f" at {frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else ""))
    return "\n".join(lines) + "\n"
