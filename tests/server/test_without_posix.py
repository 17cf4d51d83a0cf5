"""The client on a system without POSIX: the modules and calls that Windows lacks are hidden.

Each program runs in a process of its own; the server is one that stands already.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import partial

import pytest
from buses import Account

HIDE = """
import asyncio, concurrent.futures, multiprocessing.connection, os, selectors, signal, socket, ssl, subprocess, sys, tempfile
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty"):
    sys.modules[name] = None
for name in ("fork", "forkpty", "register_at_fork", "getuid", "geteuid", "getpgid", "setsid", "killpg", "pread", "pwrite", "pipe2"):
    delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGCHLD", "SIGUSR1", "SIGUSR2", "pthread_kill", "pthread_sigmask", "setitimer"):
    delattr(signal, name)

def refuse(self, *args):
    raise NotImplementedError

asyncio.SelectorEventLoop.add_signal_handler = refuse
asyncio.SelectorEventLoop.remove_signal_handler = refuse
"""

BLOCKING = """
import threading
from smith_sdk import Allow, SmithBus, consumers, result_of
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params
from smith_sdk.sync import Admission, Worker

with SmithBus(sys.argv[1]) as bus:
    worker = Worker(bus, consumers.executor_fs_read)

    @worker.handler
    def handle(message):
        return result_of(message.payload, output="done")

    parts = [Admission(bus, policy=lambda intent: Allow(), executor_id="gate"), worker]
    threads = [threading.Thread(target=part.run) for part in parts]
    for thread in threads:
        thread.start()
    result = bus.execute(FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/x")), timeout=60)
    print(result.status, result.output, result.runner_meta.max_rss_kb)
    for part in parts:
        part.stop()
    for thread in threads:
        thread.join()
"""

ASYNC = """
from smith_sdk import Allow, Admission, AsyncSmithBus, Worker, consumers, result_of
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params

async def main():
    async with AsyncSmithBus(sys.argv[1]) as bus:
        worker = Worker(bus, consumers.executor_fs_read)

        @worker.handler
        async def handle(message):
            return result_of(message.payload, output="done")

        parts = [Admission(bus, policy=lambda intent: Allow(), executor_id="gate"), worker]
        tasks = [asyncio.create_task(part.run()) for part in parts]
        result = await bus.execute(FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/x")), timeout=60)
        print(result.status, result.output, result.runner_meta.max_rss_kb)
        for part in parts:
            await part.stop()
        await asyncio.gather(*tasks)

asyncio.run(main())
"""

EMBEDDED = """
from smith_sdk import SmithBus, SmithError

try:
    SmithBus.embedded().connect()
except SmithError as error:
    print(error)
"""


async def output_of(program: str, *arguments: str) -> str:
    run = partial(subprocess.run, stdout=subprocess.PIPE, text=True, check=True, timeout=100)
    return (await asyncio.to_thread(run, [sys.executable, "-c", HIDE + program, *arguments])).stdout


@pytest.mark.parametrize("program", [BLOCKING, ASYNC], ids=["blocking", "async"])
async def test_an_intent_is_executed(account: Account, program: str) -> None:
    async with account.applied():
        assert await output_of(program, account.url) == "ok done 0\n"


async def test_the_embedded_server_is_refused_with_the_remedy() -> None:
    assert "start nats-server yourself, and pass its URL" in await output_of(EMBEDDED)
