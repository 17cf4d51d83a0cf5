"""The demo's executor, a process of its own: reads the files that fs.read.v1 intents name.

It ends when its standard input ends, so it never outlives the demo.
"""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import threading

import msgspec

from ..contract import now_ns
from ..errors import Reject
from ..options import Backoff, RetryPolicy
from ..protocol import FsReadV1Intent, IntentResult
from ..sync import Message, SmithBus, Worker, result_of
from ..topology import consumers
from ..trust import Trust
from .demo_roles import EXECUTOR_ROLE, ExecutorRole

CHUNK = 1024 * 1024
FAST_RETRIES = Backoff(initial=0.05, max=0.5)
"""Short, so that the demo does not wait for a real backoff."""


def read_file(path: str) -> dict[str, object]:
    """Size and SHA-256 of a file; raises `OSError`, and `Reject` if it is not a regular file."""
    with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Reject(f"{path} is not a regular file")
        digest, size = hashlib.sha256(), 0
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"size": size, "sha256": digest.hexdigest()}


def main() -> None:
    """Work until SIGTERM, or until standard input ends."""
    spec = consumers.executor_fs_read
    told = os.environ.get(EXECUTOR_ROLE)
    role = None if told is None else msgspec.json.decode(told, type=ExecutorRole)
    trust = None if role is None else Trust(keys=role.trusted, replay_window=0)  # admission refuses replays
    with SmithBus(name="smith-demo-executor", inbox_prefix=None if role is None else role.inbox_prefix) as bus:
        retry = RetryPolicy(max_attempts=spec.max_attempts, backoff=FAST_RETRIES)
        worker = Worker(bus, spec, concurrency=8, retry=retry, trust=trust)

        @worker.handler
        def read(message: Message[FsReadV1Intent]) -> IntentResult:
            started = now_ns()
            return result_of(message.payload, output=read_file(message.payload.params.path), started_at_ns=started)

        threading.Thread(target=_end_with_stdin, daemon=True).start()
        worker.run()


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
