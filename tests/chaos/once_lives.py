"""Workers that run each intent once and die by SIGKILL: `python -m chaos.once_lives FACE PROCESSES
MODE URL LOG`.

MODE is `result` (`once=True`) or `claim` (`once=Once(...)`). One life for each step runs at a time
with the others, takes one message and dies at its step; then one more runs, with no step, until
standard input ends. The steps:

- `before_handler`: it was looked for, or claimed, and the handler has not begun
- `in_handler`
- `before_record`: the handler has returned, and its result (in mode `claim`: that it is done) is
  about to be stored
- `before_ack`: that is stored; `after_ack`

The log has a line `run ID` for each run of a handler, and `died ID STEP`; an ID is that of an
intent, its message's sequence, or its idempotency key.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from smith_sdk import AsyncSmithBus, Once, RetryPolicy, SmithBus, Worker, consumers, result_of, sync
from smith_sdk.contract import Contract
from smith_sdk.contract.topology_spec import StreamSpec
from smith_sdk.protocol import IntentResult
from smith_sdk.topology import CONTRACT

from .wire import watch_writes

STEPS: Final = ("before_handler", "in_handler", "before_record", "before_ack", "after_ack")
EXECUTOR: Final = replace(consumers.executor_fs_read, ack_wait=1.0)
LEASE: Final = 4.0
_KEYS: Final = StreamSpec(
    name="KV_ONCE",
    subjects=("$KV.ONCE.>",),
    discard="new",
    allow_msg_ttl=True,
    max_msgs_per_subject=1,
    max_bytes=1024 * 1024,
)
HERE: Final[Contract] = replace(
    CONTRACT,
    streams=(*CONTRACT.streams, _KEYS),
    consumers=tuple(EXECUTOR if one.name == EXECUTOR.name else one for one in CONTRACT.consumers),
)
_RECORD: Final = {
    "result": re.compile(rb"H?PUB smith\.results\.(\S+) "),
    "claim": re.compile(rb'H?PUB \$KV\.ONCE\.\S+ [^{]*\{"state":"done"[^}]*"message":"([^"]+)"'),
}
_ACK: Final = re.compile(rb"PUB \$JS\.ACK\.[^.]+\.[^.]+\.\d+\.(\d+)\.[^\r]+\r\n\+ACK\r\n")
_ARRIVES: Final = 0.05
"""Seconds for what was sent to reach the server: the whole process stands still."""


class Life:
    """What one life writes down, and where it ends."""

    def __init__(self, mode: str, log: str, step: str, victim: int) -> None:
        self._mode = mode
        self._step = step
        self._victim = victim
        self._file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, *words: str) -> None:
        os.write(self._file, (" ".join(words) + "\n").encode())

    def at(self, step: str, id: str) -> None:
        if step == self._step:
            self.write("died", id, step)
            os.kill(self._victim, signal.SIGKILL)
            os._exit(1)  # a process of the worker's

    def handle(self, message: Any) -> IntentResult:
        self.at("before_handler", message.payload.id)
        self.write("run", message.payload.id)
        self.at("in_handler", message.payload.id)
        return result_of(message.payload)

    def watch_the_wire(self) -> None:
        """The steps that no handler sees are recognized where bytes are sent."""

        def written(data: bytes, write: Callable[[bytes], object]) -> None:
            for step, pattern in (("before_record", _RECORD[self._mode]), ("before_ack", _ACK), ("after_ack", _ACK)):
                found = pattern.search(data) if step == self._step else None
                if found is not None:
                    write(data[: found.end() if step == "after_ack" else found.start()])
                    time.sleep(_ARRIVES)
                    self.at(step, found[1].decode())

        watch_writes(written)


_in_this_process: Life | None = None


def handle_in_a_process(message: Any) -> IntentResult:
    global _in_this_process
    if _in_this_process is None:
        mode, log, step = os.environ["SMITH_ONCE_LIFE"].split(os.pathsep)
        _in_this_process = Life(mode, log, step, os.getppid())
    return _in_this_process.handle(message)


def live(face: str, processes: int, url: str, mode: str, life: Life, slots: int) -> None:
    """A worker's life, to its end."""
    life.watch_the_wire()
    options: dict[str, Any] = {"once": True if mode == "result" else Once(bucket="ONCE", ttl=60, lease=LEASE)}
    options |= {"processes": slots} if processes else {"concurrency": slots}
    options["retry"] = RetryPolicy(max_attempts=9)
    if face == "blocking":
        with SmithBus(url, contract=HERE) as bus:
            worker = sync.Worker(bus, EXECUTOR, **options)
            worker.handler(handle_in_a_process if processes else life.handle)
            worker.run()
    else:
        asyncio.run(live_async(url, bool(processes), options, life))


async def live_async(url: str, processes: bool, options: dict[str, Any], life: Life) -> None:
    async with AsyncSmithBus(url, contract=HERE) as bus:
        worker: Worker[Any, Any] = Worker(bus, EXECUTOR, **options)

        async def handle(message: Any) -> IntentResult:
            return life.handle(message)

        worker.handler(handle_in_a_process if processes else handle)
        await worker.run()


def die_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(face: str, processes: str, mode: str, url: str, log: str) -> None:
    def born(step: str) -> int:
        pid = os.fork()
        if not pid:
            os.environ["SMITH_ONCE_LIFE"] = os.pathsep.join([mode, log, step])
            threading.Thread(target=die_with_stdin, daemon=True).start()
            live(face, int(processes), url, mode, Life(mode, log, step, os.getpid()), 1 if step else len(STEPS))
            os._exit(0)
        return pid

    for pid in [born(step) for step in STEPS]:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != -signal.SIGKILL:
            sys.exit(f"a life that was to be killed ended with status {status}")
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(born(""), 0)[1]))


if __name__ == "__main__":
    main(*sys.argv[1:])
