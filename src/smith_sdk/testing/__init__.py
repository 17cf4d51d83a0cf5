"""Testing code that uses the SDK: a pytest plugin, and helpers for both faces. Nothing is mocked: a real nats-server runs.

Fixtures: `smith_bus` (connected, blocking), `async_smith_bus` (connects in the test's own loop: `async with async_smith_bus as bus`),
`nats_server` (its `url` is for code that makes its own bus), `instant_retries` (no test waits for a backoff). For another contract than
Smith's, override `smith_contract`, and `smith_profile` where need be, in a conftest or a module. Helpers: `run_worker_once`, `published`.

One nats-server runs at a time, in each process of pytest-xdist its own, and each test has an account of its own on it. An account is the
server's own wall: streams, consumers, ids that are remembered, sequences, pulls and clients that an earlier test left running are all on
the other side of it. To purge the streams would leave the ids that they remember and their sequences, and an audit stream cannot be
purged; to delete and make them again takes as long, and leaves a forgotten worker of test A to take the messages of test B. An account
cannot be emptied of clients, so none is used twice: a server has some, and when they are used up the next server takes its place, which
is quicker than to have the first read a new configuration.

It is loaded by those who ask for it: `pytest_plugins = ["smith_sdk.testing"]` in the conftest.py at the root, or `-p smith_sdk.testing`.
With an entry point pytest would load it wherever the SDK is installed, and rewrite every module of the SDK for its assertions: what is
tested would no longer be what runs in production, and each run would pay for it. Until a fixture is used it imports no nats, no server
and no asyncio. PYTEST_DONT_REWRITE: it has no assertions, and may be imported before pytest loads it.
"""

from .accounts import NatsServer
from .plugin import _smith_servers as _smith_servers
from .plugin import async_smith_bus as async_smith_bus
from .plugin import instant_retries as instant_retries
from .plugin import nats_server as nats_server
from .plugin import smith_bus as smith_bus
from .plugin import smith_contract as smith_contract
from .plugin import smith_profile as smith_profile
from .published import Stored, published
from .run_once import Retry, WorkerReport, run_worker_once

__all__ = ["NatsServer", "Retry", "Stored", "WorkerReport", "published", "run_worker_once"]
