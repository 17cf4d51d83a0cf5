"""The `smith` command in tests: in this process, in one of its own, and on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from support import eventually_has

from smith_sdk import AsyncSmithBus
from smith_sdk.cli.app import run
from smith_sdk.contract import Contract

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Smith:
    """`smith(...)` runs a command line in this process: `status`, `out` and `err` say how it
    ended."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self.status, self.out, self.err = 0, "", ""

    def __call__(self, *arguments: str) -> Smith:
        self._capture.readouterr()
        self.status = run(list(arguments))
        self.out, self.err = self._capture.readouterr()
        return self

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def shown_at(columns: int, *arguments: str, **env: str) -> str:
    """What a command line of this process shows on a terminal that is so wide, without colour.

    It has to end with status 0. In a process of its own, `on_terminal` takes ten times as long.
    """
    ours, theirs = pty.openpty()
    found: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(ours, 65536):
                found.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    with pytest.MonkeyPatch.context() as patch, open(theirs, "w", encoding="utf-8") as terminal:
        for name in ("NO_COLOR", "FORCE_COLOR"):
            patch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm-256color", "COLUMNS": str(columns), **env}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdout", terminal)
        patch.setattr(sys, "stderr", terminal)
        status = run(list(arguments))
    reader.join(10)
    os.close(ours)
    shown = without_colour(b"".join(found).decode().replace("\r\n", "\n"))
    assert status == 0, shown
    return shown


@contextmanager
def contract_module(name: str, contract: Contract) -> Iterator[str]:
    """`contract` as what `--contract` names, in this process."""
    module = ModuleType(name)
    module.CONTRACT = contract  # type: ignore[attr-defined]
    sys.modules[name] = module
    try:
        yield f"{name}:CONTRACT"
    finally:
        del sys.modules[name]


def on_terminal(*arguments: str, answer: str = "", env: dict[str, str] | None = None, timeout: float = 60) -> tuple[int, str]:
    """Run `smith` on a terminal of 200 columns, type `answer` at its first question; its exit
    status, and all that was shown."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "200", **(env or {})}
    command = [sys.executable, "-m", "smith_sdk.cli", *arguments]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    ) as process:
        os.close(theirs)
        shown, deadline = b"", time.monotonic() + timeout
        try:
            while time.monotonic() < deadline:
                if not select.select([ours], [], [], 0.1)[0]:
                    continue
                try:
                    read = os.read(ours, 65536)
                except OSError:  # the other end is closed: it has ended
                    break
                if not read:
                    break
                shown += read
                if answer and b"[y/n]" in shown:
                    os.write(ours, answer.encode())
                    answer = ""
            status = process.wait(timeout=max(0.1, deadline - time.monotonic()))
        finally:
            process.kill()
            os.close(ours)
    return status, shown.decode().replace("\r\n", "\n")


def apply_declared(url: str, contract: Contract, messages: int = 0) -> None:
    """Bring the server to what `contract` declares, with messages in its first stream, half of them
    on each of two subjects."""

    async def fill() -> None:
        async with AsyncSmithBus(url, contract=contract) as bus:
            await bus.streams.apply(profile=contract.profiles[0].name)
            stream = contract.streams[0]
            root = stream.subjects[0].removesuffix(">")
            for number in range(messages):
                await bus._session.publish(f"{root}{'ab'[number % 2]}", b"x" * 100, stream=stream.name, msg_id=str(number))
            for spec in contract.consumers:
                filtered = sum(f"{root}{'ab'[number % 2]}" in spec.filters for number in range(messages))
                await eventually_has(bus.consumer(spec).info, num_pending=filtered)

    asyncio.run(fill())


def without_colour(shown: str) -> str:
    return _CODES.sub("", shown)
