"""The pytest plugin for users: what its fixtures provide and isolate, with every way to run
`async def` tests, and its helpers."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from buses import Crossing, Face, health, log_entry, read_intent

from smith_sdk import Message, Reject, RetryLater, RetryPolicy, Worker, consumers, result_of, subjects, sync
from smith_sdk.errors import BusClosed, ConsumerNotFound, DeadlineExceeded, OptionsError, PayloadDecodeError, SubjectMismatch
from smith_sdk.protocol import Domain, FsReadV1Intent, LogService, Service
from smith_sdk.testing import NatsServer, Retry, WorkerReport, published, run_worker_once

vetted = subjects.intents.vetted


# ---- helpers, on both faces


class Connected(Crossing):
    """The blocking bus of the fixture, which is open already."""

    async def __aenter__(self) -> Connected:
        return self

    async def __aexit__(self, *exception: Any) -> None:
        pass


@pytest.fixture
def bus(face: Face, request: pytest.FixtureRequest) -> Any:
    if face.is_async:
        return request.getfixturevalue("async_smith_bus")
    return Connected(request.getfixturevalue("smith_bus"))


async def run_once(worker: Any, **options: Any) -> WorkerReport:
    if isinstance(worker, Crossing):
        blocking: sync.Worker[Any, Any] = worker.inner
        return await asyncio.to_thread(lambda: run_worker_once(blocking, **options))
    on_the_loop: Worker[Any, Any] = worker
    return await run_worker_once(on_the_loop, **options)


async def stored(bus: Any, what: Any) -> Any:
    return await (asyncio.to_thread(published, bus.inner, what) if isinstance(bus, Crossing) else published(bus, what))


async def put(bus: Any, *paths: str) -> list[FsReadV1Intent]:
    intents = [read_intent(path) for path in paths]
    for intent in intents:
        await bus.publish(vetted.of(intent), intent)
    return intents


def path_of(message: Any) -> str:
    return str(message.payload.params.path)


async def test_a_run_reports_the_verdict_of_each_message(face: Face, bus: Any, instant_retries: list[Retry]) -> None:
    async with bus:
        worker = face.worker(bus, consumers.executor_fs_read)

        def handle(message: Message[FsReadV1Intent]) -> Any:
            path, attempt = path_of(message), message.metadata.num_delivered
            if path == "reject":
                raise Reject("not mine")
            if path == "never" or (path == "third" and attempt < 3):
                raise ValueError(f"not {path} at {attempt}")
            if path == "later" and attempt == 1:
                raise RetryLater(600)
            return result_of(message.payload, output=path)

        worker.handler(handle)
        began = time.monotonic()
        await put(bus, "first", "third", "never", "reject", "later")
        report = await run_once(worker)
        assert time.monotonic() - began < 40  # of the ten minutes that were asked for
        assert (report.succeeded, report.retried, report.dead_lettered, report.terminated, report.waiting) == (3, 5, 2, 0, 0)
        assert sorted(report.retries, key=str) == sorted(instant_retries, key=str)
        by_seq = {seq: [one.attempt for one in report.retries if one.seq == seq] for seq in (1, 2, 3, 4, 5)}
        assert by_seq == {1: [], 2: [1, 2], 3: [1, 2], 4: [], 5: [1]}
        assert [one.delay for one in report.retries if one.seq == 5] == [600]
        assert {(one.stream, one.consumer) for one in report.retries} == {("ATOMS_VETTED", "executor-fs-read")}
        for words in ("ValueError: not third at 2", "ValueError: not never at 3", "Reject: not mine"):
            assert any(words in line for line in report.errors), (words, report.errors)
        results = [one.payload for one in await stored(bus, subjects.results.filter())]
        assert sorted(one.output for one in results if one.status == "ok") == ["first", "later", "third"]
        failed = sorted((one.error.code, one.error.message) for one in results if one.error is not None)
        assert failed == [("HANDLER_FAILED", "ValueError: not never at 3"), ("REJECTED", "not mine")]
        assert len(await bus.dead_letters.list()) == 2


async def test_a_worker_can_be_run_again_and_again(face: Face, bus: Any) -> None:
    async with bus:
        worker = face.worker(bus, consumers.executor_fs_read)
        worker.handler(lambda message: None)
        assert (await run_once(worker)).succeeded == 0
        for count in (1, 3):
            await put(bus, *map(str, range(count)))
            assert (await run_once(worker)).succeeded == count


async def test_messages_redelivered_too_late_are_left(face: Face, bus: Any) -> None:
    async with bus:
        worker = face.worker(bus, consumers.executor_fs_read)

        def handle(message: Message[FsReadV1Intent]) -> None:
            if message.metadata.num_delivered == 1:
                raise RetryLater(0.3 if path_of(message) == "soon" else 600)

        worker.handler(handle)
        await put(bus, "soon", "late")
        began = time.monotonic()
        report = await run_once(worker, timeout=30)
        assert 0.3 <= time.monotonic() - began < 20
        assert (report.succeeded, report.retried, report.waiting) == (1, 2, 1)
        (left,) = await stored(bus, vetted.filter())
        assert left.payload.params.path == "late"
        await put(bus, "soon")
        report = await run_once(worker, timeout=30)  # which knows what the first has left
        assert (report.succeeded, report.retried, report.waiting) == (1, 1, 1)


async def test_work_queues_and_streams_that_keep_all_are_seen_to_their_end(face: Face, bus: Any) -> None:
    async with bus:
        intents = [read_intent(str(number)) for number in range(300)]
        await bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])
        results = [result_of(intent) for intent in intents]
        await bus.publish_many([subjects.results.of(result).envelope(result) for result in results])
        for spec in (consumers.admission, consumers.http_results):
            worker = face.worker(bus, spec, concurrency=32)
            worker.handler(lambda message: None)
            assert (await run_once(worker)).succeeded == 300
            assert (await run_once(worker)).succeeded == 0


async def test_what_is_published_by_the_handler_to_its_own_consumer_is_handled_too(async_smith_bus: Any) -> None:
    async with async_smith_bus as bus:
        worker = Worker(bus, consumers.executor_fs_read)

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            if (left := int(path_of(message))) > 0:
                await put(bus, str(left - 1))

        await put(bus, "20")
        assert (await run_once(worker)).succeeded == 21


async def test_a_message_that_its_handler_terminates_is_counted_apart(async_smith_bus: Any) -> None:
    async with async_smith_bus as bus:
        worker = Worker(bus, consumers.executor_fs_read)

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            await message.term("seen enough")

        await put(bus, "x")
        report = await run_once(worker)
        assert (report.succeeded, report.dead_lettered, report.terminated) == (0, 0, 1)


async def test_a_handler_that_never_ends_is_named_at_the_deadline(async_smith_bus: Any) -> None:
    async with async_smith_bus as bus:
        worker = Worker(bus, consumers.executor_fs_read, concurrency=1)
        hangs = True

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            if hangs:
                await asyncio.sleep(3600)

        await put(bus, "a", "b")
        with pytest.raises(
            DeadlineExceeded, match=r"worker of executor-fs-read is not done after 0.5 s: .*ATOMS_VETTED.*0 succeeded"
        ):
            await run_once(worker, timeout=0.5)
        hangs = False
        assert (await run_once(worker)).succeeded == 2  # nothing is held, nothing lost


async def test_a_thread_that_hangs_does_not_keep_the_run_beyond_its_deadline(face: Face, bus: Any) -> None:
    release = threading.Event()
    async with bus:
        worker = face.worker(bus, consumers.executor_fs_read, concurrency=1)

        def handle(message: Message[FsReadV1Intent]) -> None:
            release.wait(30)

        worker.handler(handle)
        await put(bus, "x")
        began = time.monotonic()
        try:
            with pytest.raises(DeadlineExceeded, match=r"is not done after 0\.5 s"):
                await run_once(worker, timeout=0.5)
            assert time.monotonic() - began < 25
        finally:
            release.set()


async def test_a_handler_that_asks_for_another_retry_without_end_is_stopped(
    async_smith_bus: Any, instant_retries: list[Retry]
) -> None:
    async with async_smith_bus as bus:
        worker = Worker(bus, consumers.executor_fs_read, retry=RetryPolicy(max_attempts=-1))

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            raise RetryLater(3600)

        await put(bus, "x")
        for _ in range(60):  # a busy machine may not come to it as often in half a second
            with pytest.raises(DeadlineExceeded, match="raises RetryLater each time"):
                await run_once(worker, timeout=0.5)
            if len(instant_retries) > 3:
                break
        assert len(instant_retries) > 3


async def test_what_ends_the_reading_is_raised(face: Face, bus: Any) -> None:
    async with bus:
        worker = face.worker(bus, consumers.executor_fs_read)
        worker.handler(lambda message: None)
        aio = bus.inner._aio if isinstance(bus, Crossing) else bus
        delete = aio._session.api.consumer_delete("ATOMS_VETTED", "executor-fs-read")
        if isinstance(bus, Crossing):
            portal = bus.inner._portal
            await asyncio.to_thread(portal.call, lambda: delete)
        else:
            await delete
        with pytest.raises(ConsumerNotFound):
            await run_once(worker)


async def test_published_is_typed_and_in_order(face: Face, bus: Any) -> None:
    async with bus:
        first, second = await put(bus, "1", "2")
        third = read_intent("3", domain="other")
        await bus.publish(vetted.of(third), third, headers={"Trace-Id": "t3"})
        raw = read_intent("4")
        await bus.publish(subjects.intents.raw.of(raw), raw)
        await bus.publish(subjects.events.health(service=Service("web")), health())

        assert [one.payload for one in await stored(bus, vetted.filter(domain=Domain("default")))] == [first, second]
        (found,) = await stored(bus, vetted.of(third))
        assert (found.payload, found.subject, found.headers["Trace-Id"]) == (third, vetted.of(third), "t3")
        assert (found.stream, found.seq) == ("ATOMS_VETTED", 3)
        both = await stored(bus, vetted.filter() | subjects.intents.raw.filter())
        assert [one.payload for one in both] == [first, second, third, raw]
        assert await stored(bus, subjects.results.filter()) == []
        with pytest.raises(OptionsError, match=r"no stream stores smith\.logs\.web\.info: subscribe"):
            await stored(bus, subjects.logs.service(log_service=LogService("web"), level="info"))
        for no_subject in ("smith.>", subjects.results):
            with pytest.raises(SubjectMismatch, match="not a subject of contract"):
                await stored(bus, no_subject)


async def test_published_shows_bytes_that_are_not_a_payload(async_smith_bus: Any) -> None:
    async with async_smith_bus as bus:
        intent = read_intent()
        where = str(vetted.of(intent))
        await bus._session.publish(where, b"{no", stream="ATOMS_VETTED", msg_id="1")
        (found,) = await published(bus, vetted.filter())
        assert found.raw == b"{no"
        with pytest.raises(PayloadDecodeError):
            found.payload  # noqa: B018


async def test_before_it_is_connected_the_bus_raises_with_advice(async_smith_bus: Any) -> None:
    with pytest.raises(BusClosed, match="use it in a `with` block"):
        await published(async_smith_bus, subjects.results.filter())


def test_the_server_shows_no_password(nats_server: NatsServer) -> None:
    password = nats_server.url.split(":")[2].partition("@")[0]
    assert len(password) >= 16
    assert password not in repr(nats_server)


def test_a_subscription_receives_what_no_stream_keeps(smith_bus: Any) -> None:
    with smith_bus.subscribe(subjects.logs.service.filter()) as told:
        smith_bus.emit(subjects.logs.service(log_service=LogService("web"), level="info"), log_entry())
        assert next(iter(told)).payload.message == "hello"


# ---- the plugin, in a run of its own


def run_pytest(
    room: Path, test: str, *arguments: str, conftest: str = "", loaded: str = "smith_sdk.testing", **env: str
) -> tuple[int, str]:
    """A run with the plugins that are named and no others; every warning is an error."""
    (room / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (room / "conftest.py").write_text(textwrap.dedent(conftest))
    (room / "test_it.py").write_text(textwrap.dedent(test))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", loaded, "-p", "no:cacheprovider", "-q", "-rA", *arguments],
        cwd=room,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout


def test_nothing_of_one_test_reaches_the_next(tmp_path: Path) -> None:
    status, output = run_pytest(
        tmp_path,
        """
        import contextlib, threading, time
        from smith_sdk import SmithBus, SmithError, consumers, subjects
        from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params
        from smith_sdk.sync import Worker
        from smith_sdk.testing import published, run_worker_once

        intent = FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/x"))
        vetted, raw = subjects.intents.vetted.of(intent), subjects.intents.raw.of(intent)
        seen = []

        def test_a_leaves_a_bus_and_a_worker_that_starts_again(smith_bus, nats_server):
            left = SmithBus(nats_server.url)
            left.connect()
            worker = Worker(left, consumers.executor_fs_read)
            worker.handler(lambda message: seen.append(message.payload))

            def work():
                while True:
                    with contextlib.suppress(SmithError):
                        worker.run()
                    time.sleep(0.01)

            threading.Thread(target=work, daemon=True).start()
            assert smith_bus.publish(vetted, intent).seq == 1
            smith_bus.publish(raw, intent)
            assert len(smith_bus.consumer(consumers.admission).fetch(1, timeout=20)) == 1  # and gives it no verdict
            deadline = time.monotonic() + 30
            while not seen and time.monotonic() < deadline:
                time.sleep(0.01)
            assert seen == [intent]

        def test_b_begins_anew(smith_bus):
            assert all(stream.messages == stream.last_seq == 0 for stream in smith_bus.streams.info())
            assert smith_bus.consumer(consumers.admission).info().num_ack_pending == 0
            assert smith_bus.consumer(consumers.executor_fs_read).info().num_waiting == 0
            for subject in (vetted, raw):
                ack = smith_bus.publish(subject, intent)
                assert (ack.seq, ack.duplicate) == (1, False)
            time.sleep(0.3)  # for the worker that was left: nothing tells when it would have been too late
            assert smith_bus.consumer(consumers.executor_fs_read).info().num_ack_pending == 0
            mine = []
            worker = Worker(smith_bus, consumers.executor_fs_read)
            worker.handler(lambda message: mine.append(message.payload))
            assert run_worker_once(worker).succeeded == 1
            assert (mine, seen) == ([intent], [intent])
        """,
    )
    assert status == 0, output
    assert "2 passed" in output


def test_only_the_first_test_pays_for_the_server(tmp_path: Path) -> None:
    status, output = run_pytest(
        tmp_path,
        """
        import pytest

        @pytest.mark.parametrize("number", range(12))
        def test_it(smith_bus, number):
            assert len(smith_bus.streams.info()) > 5
        """,
        "-s",
        conftest="""
        import time
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(item):
            began = time.process_time()
            result = yield
            print(f"took {time.process_time() - began:.4f}")
            return result
        """,
    )
    assert status == 0, output
    took = [float(seconds) for seconds in re.findall(r"took ([0-9.]+)", output)]
    assert len(took) == 12
    assert median(took[1:]) < took[0] / 3, took  # processor time: what else the machine does is not the plugin's


ACCOUNTS = """
import pytest

@pytest.mark.parametrize("number", range(70))
def test_it(nats_server, number, worker_id="master"):
    user, _, place = nats_server.url.removeprefix("nats://").partition("@")
    print(f"at {place} {user.partition(':')[0]}.")
"""


def test_every_test_has_an_account_of_its_own_also_when_a_server_has_none_left(tmp_path: Path) -> None:
    status, output = run_pytest(tmp_path, ACCOUNTS, "-s")
    assert status == 0, output
    used = re.findall(r"at (\S+) (\S+)\.", output)
    assert len(used) == len(set(used)) == 70
    assert len({place for place, _ in used}) == 2


def test_with_xdist_each_process_has_one_server(tmp_path: Path) -> None:
    status, output = run_pytest(tmp_path, ACCOUNTS.replace("70", "20"), "-p", "xdist", "-n", "2")
    assert status == 0, output
    used = re.findall(r"at (\S+) (\S+)\.", output)
    assert len(used) == len(set(used)) == 20
    assert len({place for place, _ in used}) == 2


def test_a_server_that_a_test_has_killed_is_replaced(tmp_path: Path) -> None:
    status, output = run_pytest(
        tmp_path,
        """
        def test_kills_it(nats_server, _smith_servers):
            _smith_servers._server.kill()

        def test_goes_on(smith_bus):
            assert smith_bus.state == "connected"
        """,
    )
    assert status == 0, output


def test_the_contract_and_the_profile_are_the_users_choice(tmp_path: Path) -> None:
    override = """
        import msgspec, pytest
        from smith_sdk.contract import Profile
        from smith_sdk.topology import CONTRACT

        @pytest.fixture(scope={scope!r})
        def smith_contract():
            return msgspec.structs.replace(CONTRACT, streams=CONTRACT.streams[:1], consumers=CONTRACT.consumers[:1],
                                           profiles=(Profile(name="small", fit=1_000_000), Profile(name="big")))
    """
    profile = """
        @pytest.fixture
        def smith_profile():
            return "big"
    """
    test = """
        import asyncio

        def test_it(smith_bus):
            (stream,) = smith_bus.streams.info()
            smith_bus.streams.verify({profile!r})

        def test_on_the_async_face(async_smith_bus):
            async def main():
                async with async_smith_bus as bus:
                    await bus.streams.verify({profile!r})
            asyncio.run(main())
    """
    for scope in ("function", "module", "session"):
        for chosen, said in (("small", ""), ("big", profile)):
            head, text = override.format(scope=scope) + said, test.format(profile=chosen)
            folder = tmp_path / f"{scope}_{chosen}"
            folder.mkdir()
            in_module = scope == "module"
            (folder / "conftest.py").write_text("" if in_module else textwrap.dedent(head))
            (folder / f"test_{folder.name}.py").write_text(textwrap.dedent(head + text if in_module else text))
    status, output = run_pytest(tmp_path, "")
    assert status == 0, output
    assert "12 passed" in output


PLAIN = """
    from smith_sdk import AsyncSmithBus, subjects
    from smith_sdk.protocol import HealthEvent
    from smith_sdk.testing import published
    {more}

    {mark}
    async def test_it(async_smith_bus: AsyncSmithBus):
        async with async_smith_bus as bus:
            event = HealthEvent.new(service="web", healthy=True)
            await bus.publish(subjects.events.health.of(event), event)
            (found,) = await published(bus, subjects.events.health.filter())
            assert found.payload == event
"""
ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")
ANYIO = ("-p", "anyio.pytest_plugin")


@pytest.mark.parametrize(
    ("mark", "arguments"),
    [
        pytest.param("@pytest.mark.asyncio", ASYNCIO, id="asyncio strict"),
        pytest.param("", (*ASYNCIO, "--asyncio-mode=auto"), id="asyncio auto"),
        pytest.param("@pytest.mark.anyio", ANYIO, id="anyio"),
        pytest.param("@pytest.mark.asyncio", (*ASYNCIO, *ANYIO), id="asyncio beside anyio"),
    ],
)
def test_the_async_bus_connects_in_whatever_loop_there_is(tmp_path: Path, mark: str, arguments: tuple[str, ...]) -> None:
    backend = '@pytest.fixture\n    def anyio_backend():\n        return "asyncio"'
    status, output = run_pytest(tmp_path, PLAIN.format(mark=mark, more=f"import pytest\n    {backend}"), *arguments)
    assert status == 0, output
    assert "1 passed" in output


def test_an_async_fixture_may_connect_it(tmp_path: Path) -> None:
    test = """
        import pytest_asyncio

        @pytest_asyncio.fixture
        async def open_bus(async_smith_bus):
            async with async_smith_bus as bus:
                yield bus

        async def test_it(open_bus):
            assert open_bus.state == "connected"
    """
    status, output = run_pytest(tmp_path, test, *ASYNCIO, "--asyncio-mode=auto")
    assert status == 0, output


def test_without_a_plugin_for_async_tests_the_missing_one_is_named(tmp_path: Path) -> None:
    for arguments in ((), ASYNCIO, ANYIO):
        status, output = run_pytest(tmp_path, PLAIN.format(mark="", more=""), *arguments)
        assert status == 1
        assert "1 failed" in output
        assert "pytest-asyncio" in output
        assert "anyio" in output


def test_the_environment_is_about_other_servers(tmp_path: Path) -> None:
    test = "def test_it(smith_bus): assert smith_bus.state == 'connected'"
    env = {"NATS_CA": "/no/such/file", "NATS_CONTEXT": "none", "NATS_USER": "u", "NATS_PASSWORD": "p"}
    status, output = run_pytest(tmp_path, test, **env, NATS_URL="tls://example.invalid", SMITH_NATS_URL="tls://example.invalid")
    assert status == 0, output


# ---- how it is loaded, and what it costs


def test_a_conftest_asks_for_it_also_after_an_import(tmp_path: Path) -> None:
    test = "def test_it(smith_bus): assert smith_bus.state == 'connected'"
    conftest = "import smith_sdk.testing\npytest_plugins = ['smith_sdk.testing']"
    status, output = run_pytest(tmp_path, test, loaded="no:anyio")
    assert status == 1
    assert "fixture 'smith_bus' not found" in output
    status, output = run_pytest(tmp_path, test, conftest=conftest, loaded="no:anyio")
    assert status == 0, output


def test_the_sdk_under_test_is_the_one_that_runs_in_production(tmp_path: Path) -> None:
    test = """
        import sys
        from smith_sdk import consumers, subjects

        def test_it(smith_bus):
            modules = {name: module for name, module in sys.modules.items() if name.startswith("smith_")}
            assert len(modules) > 20
            assert [name for name, module in modules.items() if "@py_builtins" in vars(module)] == []  # what pytest rewrites has it
    """
    status, output = run_pytest(tmp_path, test)
    assert status == 0, output


def test_loading_it_imports_neither_nats_nor_the_server_nor_asyncio() -> None:
    names = [
        "nats",
        "asyncio",
        "smith_sdk.embedded.server",
        "smith_sdk.aio",
        "smith_sdk.sync",
        "smith_sdk.topology",
        "smith_sdk.protocol",
    ]
    script = f"import sys, smith_sdk.testing; print(sorted(set({names}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True, timeout=100)
    assert done.stdout == "[]\n"
