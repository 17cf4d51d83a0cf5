"""One real nats-server for the whole run, others on demand; `async def` tests; no mock of
anything."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from buses import Account, Face
from checkers import WARM, warm_cache
from hypothesis import HealthCheck, settings
from shared import run_folder

import smith_sdk
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.testing import NatsServer

FUZZ_SEED = 17

pytest_plugins = ["smith_sdk.testing"]

# By default hypothesis derandomizes its examples if `CI` is set, and only then.
settings.register_profile(
    "everywhere",
    parent=settings.get_profile("default"),
    max_examples=50,  # others in each run
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("everywhere")


def pytest_report_header() -> str:
    return f"smith_sdk: {smith_sdk.__file__}"


def pytest_configure() -> None:
    # What a shell starts in the background ignores these, and hands that on to every process that a
    # test starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # Set by `nox -s tests` to the path of the wheel: what is tested must be that, not the checkout.
    if os.environ.get("SMITH_TEST_WHEEL") and "site-packages" not in str(smith_sdk.__file__):
        pytest.exit(f"smith_sdk comes from {smith_sdk.__file__}, not from the installed wheel", returncode=3)


def pytest_collection_finish() -> None:
    _settle_garbage()  # what the collection of tests has made stays to the end


@pytest.fixture(scope="module")
def quick_garbage_collections() -> None:
    """For modules whose tests call `gc.collect()` often: what exists before them is left out. To go
    through all that pytest and earlier tests have made takes a fifth of a second."""
    _settle_garbage()


def _settle_garbage() -> None:
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """`async def` tests run to their end in a loop of their own. Fixtures are plain functions."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(pyfuncitem.obj(**arguments), debug=False)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was logged may hold what UTF-8 does not, and xdist would end with an error over it."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    """URL of a server that all tests share: keep to names of your own, and leave no stream
    behind."""
    with EmbeddedServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """`mypy_cache(name)`: a cache of mypy. Runs with the same options share one, so that mypy reads
    the SDK once.

    mypy writes the entries of a cache anew for other options, so each set of options has its own
    name. Those of `checkers.WARM` begin as copies of ones that the whole run shares.
    """
    top = tmp_path_factory.mktemp("mypy-caches")
    shared = run_folder(tmp_path_factory)

    def find(name: str) -> str:
        folder = top / name
        if name in WARM and not folder.exists():
            shutil.copytree(warm_cache(shared, name), folder)
        return str(folder)

    return find


@pytest.fixture
def account(request: pytest.FixtureRequest) -> Account:
    """An account of the test's own on the shared server. Whatever needs no server of its own runs
    there."""

    def url() -> str:
        server: NatsServer = request.getfixturevalue("nats_server")
        return server.url

    return Account(url)


@pytest.fixture(params=["async", "blocking"])
def face(request: pytest.FixtureRequest, account: Account) -> Face:
    """Each of the two faces, on the test's account."""
    return Face(request.param, account)


@pytest.fixture
def make_server() -> Iterator[Callable[..., EmbeddedServer]]:
    """Starts servers of a test's own: `make_server(...)` takes what `EmbeddedServer` takes. Stopped
    at the end of the test."""
    servers: list[EmbeddedServer] = []

    def make(*args: Any, **options: Any) -> EmbeddedServer:
        server = EmbeddedServer(*args, **options)
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.kill()  # one that a test has halted would need seconds for anything else
        server.stop()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-seed", type=int, default=FUZZ_SEED, help="seed of the hostile messages (default: %(default)s)")


@pytest.fixture
def fuzz_seed(request: pytest.FixtureRequest) -> int:
    seed: Any = request.config.getoption("--fuzz-seed")
    return int(seed)
