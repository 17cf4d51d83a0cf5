"""A pytest plugin, and helpers for both faces, to test code that uses the SDK. Nothing is mocked.

Load it with `pytest_plugins = ["smith_sdk.testing"]` in the root conftest.py, or with
`-p smith_sdk.testing`. One real nats-server runs in each test process, and each test has an account
of its own on it.

Fixtures: `smith_bus` (blocking, connected), `async_smith_bus` (connects in the test's own loop:
`async with async_smith_bus as bus`), `nats_server` (its `url` is for code that makes its own bus),
`instant_retries` (no test waits for a backoff). For another contract than Smith's, override
`smith_contract`, and `smith_profile` if needed. Helpers: `run_worker_once`, `published`.

This package may import every other one except `cli`, but on loading no nats, no server and no
asyncio. PYTEST_DONT_REWRITE: no assertions, and it may be imported before pytest loads it.
"""

# There is no entry point: pytest would load the plugin wherever the SDK is installed, and rewrite
# every module of the SDK for its assertions. The tested code would differ from production's, and
# every run would pay for it. pytest marks a plugin's submodules for rewriting, too, so that each of
# them has to contain PYTEST_DONT_REWRITE.

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
