"""Servers and children for the tests of the blocking face."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from buses import Account
from faces.children import ChildProcess
from support import is_alive

from smith_sdk import SmithBus
from smith_sdk.embedded import EmbeddedServer


@pytest.fixture
def url(account: Account) -> str:
    """An account of the test's own, with the streams."""
    with SmithBus(account.url) as bus:
        bus.streams.apply(profile="dev")
    return account.url


@pytest.fixture
def deaf() -> Iterator[EmbeddedServer]:
    """A server with the streams, which the test or its child may stop with SIGSTOP: it accepts
    bytes, and answers nothing."""
    with EmbeddedServer() as server:
        with SmithBus(server.url) as bus:
            bus.streams.apply(profile="dev")
        yield server
        if server.pid is not None and is_alive(server.pid):
            os.kill(server.pid, signal.SIGCONT)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., ChildProcess]]:
    """`run(body, *arguments)` starts a child, which does not outlive the test."""
    with ExitStack() as children:

        def start(body: str, *arguments: object) -> ChildProcess:
            folder = tmp_path / f"child-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            return children.enter_context(ChildProcess(folder, body, *arguments))

        yield start
