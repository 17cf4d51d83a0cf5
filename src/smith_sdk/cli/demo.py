"""`smith demo`: reads every file under a directory through the bus, and checks each result.

Publisher, admission and collector run in this process, executors in processes of their own. Every
intent ends with a result (executed or denied) or a dead letter; one that does not is lost. With
`--secure` each of them signs in as a role of its own (`secure_demo`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Final, TextIO

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from .. import subjects
from ..aio import Admission, Allow, AsyncSmithBus, Decision, Deny, Subscription
from ..protocol import FsReadV1Intent, FsReadV1Params, Intent, IntentId, IntentResult
from ..topology import consumers
from .demo_roles import Refused, Roles, one_role_for_all
from .executor import read_file
from .output import Json, note, plain, say, show_json, show_table

IN_FLIGHT: Final = 256
"""Maximum intents in flight: bounds latency, and what the queues must hold."""
STALLED: Final = 120.0
"""Seconds without any intent ending after which the rest counts as lost; well above the ack wait of
30 s.
"""
_REPORT_EVERY: Final = 0.2
_STOP_GRACE: Final = 15.0

_read_intent: Final = msgspec.json.Decoder(FsReadV1Intent).decode


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many intents ended how. `failed`: the execution failed; they end as dead letters.
    `refused`, with `--secure`: what each role tried that belongs to another one."""

    published: int
    admitted: int
    denied: int
    executed: int
    failed: int
    dead_lettered: int
    lost: int
    differing: int
    skipped: int
    restarted_executors: int
    seconds: float
    intents_per_s: float
    p50_ms: float
    p99_ms: float
    refused: tuple[Refused, ...] = ()

    @property
    def is_right(self) -> bool:
        return not (self.lost or self.differing) and all(one.refused for one in self.refused)


def demo(
    path: Path = Path(),
    *,
    workers: Annotated[int, Parameter(help="Executor processes.", validator=Number(gte=1, lte=64))] = 2,
    secure: Annotated[
        bool, Parameter(negative="", help="With TLS, signed intents, and a user for each role, which tries what it may not do.")
    ] = False,
    json: Json = False,
) -> int:
    """Read every file under PATH through the bus, on an embedded server, and check each result.

    Exit status 1 if a result is lost or differs from the file, or, with --secure, if a role was not
    refused what belongs to another one.
    """
    root = path.resolve()
    if not root.is_dir():
        note(f"smith: {path} is not a directory")
        return 2
    report = asyncio.run(run_demo(root, workers=workers, progress=sys.stderr, secure=secure))
    if json:
        show_json(report)
    else:
        rows = [[name.replace("_", " "), value] for name, value in msgspec.structs.asdict(report).items() if name != "refused"]
        show_table(["measure", "value"], rows)
        if report.refused:
            say("")
            tried = [[one.role, one.tried, "refused" if one.refused else "NOT REFUSED", one.by] for one in report.refused]
            show_table(["role", "tried to", "outcome", "by subject or code"], tried)
    return 0 if report.is_right else 1


def files_under(root: Path) -> Iterator[str]:
    """Every regular file, link to one and dangling link, in order.

    Links to directories are not followed.
    """
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode) or (
                os.path.islink(path) and (os.path.isfile(path) or not os.path.exists(path))
            ):
                yield path


class _Policy:
    """Denies dotfiles, and paths that are or lead outside `root`; remembers admitted ids."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self.admitted: set[str] = set()

    async def __call__(self, intent: Intent) -> Decision:
        if not isinstance(intent, FsReadV1Intent):
            return Deny(f"the demo admits only fs.read.v1, not {intent.capability}")
        path = intent.params.path
        if not self._contains(path):
            return Deny(f"{path} is outside {self._root}")
        if any(part.startswith(".") for part in os.path.relpath(path, self._root).split(os.sep)):
            return Deny(f"{path} is a dotfile, or inside a dot directory")
        if not self._contains(os.path.realpath(path)):
            return Deny(f"{path} leads outside {self._root}")
        self.admitted.add(intent.id)
        return Allow()

    def _contains(self, path: str) -> bool:
        return os.path.commonpath([self._root, os.path.abspath(path)]) == self._root


class _Ledger:
    """The intents in flight, by id, and how many ended how."""

    def __init__(self) -> None:
        self.room = asyncio.Semaphore(IN_FLIGHT)
        self.open: dict[str, tuple[str, float]] = {}
        self.published = self.denied = self.executed = self.failed = self.differing = self.dead_lettered = 0
        self.latencies: list[float] = []
        self.others: dict[str, IntentResult] = {}
        """Denied results of intents that are not files of the demo."""
        self.last_ending = time.monotonic()
        self.all_published = False
        self.finished = asyncio.Event()

    def begin(self, intent: FsReadV1Intent) -> None:
        self.open[intent.id] = (intent.params.path, time.monotonic())
        self.published += 1

    def end(self, intent_id: str) -> str | None:
        """The path of an intent that ends now; None if it has ended before."""
        entry = self.open.pop(intent_id, None)
        if entry is None:
            return None
        self.last_ending = time.monotonic()
        self.latencies.append(self.last_ending - entry[1])
        self.room.release()
        self.check()
        return entry[0]

    def check(self) -> None:
        if self.all_published and not self.open:
            self.finished.set()

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 2) if ordered else 0.0


def _roles(secure: bool) -> AbstractAsyncContextManager[Roles]:
    if not secure:
        return one_role_for_all()
    from .secure_demo import a_role_for_each

    return a_role_for_each()


async def run_demo(root: Path, *, workers: int, progress: TextIO, secure: bool = False) -> Report:
    """Run the demo over the files below `root`, which is absolute and resolved, and report."""
    logging.getLogger("smith_sdk").addHandler(logging.NullHandler())
    found = list(files_under(root))
    paths = [path for path in found if _is_text(path)]
    ledger, policy = _Ledger(), _Policy(root)
    started = time.monotonic()
    refused: tuple[Refused, ...] = ()
    async with _roles(secure) as roles, roles.watcher.subscribe(subjects.dlq.filter()) as dead_letters:
        executors = _Executors(roles.executors, workers)
        admission = Admission(roles.admission, policy=policy, executor_id="smith-demo", trust=roles.trust)
        collecting = _collect(roles.collector, ledger), _collect_dead_letters(dead_letters, ledger)
        jobs = [asyncio.ensure_future(job) for job in (admission.run(), *collecting, executors.run())]
        shown = asyncio.ensure_future(_show_progress(ledger, len(paths), progress))
        publishing = asyncio.ensure_future(_publish(roles, ledger, paths))
        try:
            await _until_finished(ledger, publishing, jobs)
            seconds = time.monotonic() - started
            refused = await roles.try_forbidden(ledger.others)
        finally:
            await executors.stop()
            await admission.stop()
            for task in (publishing, shown, *jobs):
                task.cancel()
            await asyncio.gather(publishing, shown, *jobs, return_exceptions=True)
    return Report(
        published=ledger.published,
        admitted=len(policy.admitted),
        denied=ledger.denied,
        executed=ledger.executed,
        failed=ledger.failed,
        dead_lettered=ledger.dead_lettered,
        lost=len(ledger.open) + len(paths) - ledger.published,
        differing=ledger.differing,
        skipped=len(found) - len(paths),
        restarted_executors=executors.restarted,
        seconds=round(seconds, 2),
        intents_per_s=round(len(ledger.latencies) / seconds, 1),
        p50_ms=ledger.percentile_ms(0.50),
        p99_ms=ledger.percentile_ms(0.99),
        refused=refused,
    )


def _is_text(path: str) -> bool:
    """Whether the path is valid UTF-8: others cannot be published, and are reported as skipped."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _until_finished(ledger: _Ledger, publishing: asyncio.Task[None], jobs: list[asyncio.Task[None]]) -> None:
    """Return when every intent has ended, or none has for too long.

    Raises what a job failed with, and `KeyboardInterrupt` if one has ended: admission ends on
    Ctrl-C and SIGTERM.
    """
    while not ledger.finished.is_set() and time.monotonic() - ledger.last_ending < STALLED:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REPORT_EVERY):
                await ledger.finished.wait()
        if publishing.done():
            publishing.result()
        for job in jobs:
            if job.done():
                job.result()
                raise KeyboardInterrupt


async def _publish(roles: Roles, ledger: _Ledger, paths: list[str]) -> None:
    acks: set[asyncio.Task[object]] = set()
    for path in paths:
        await ledger.room.acquire()
        intent = roles.sign(FsReadV1Intent.new(domain="demo", params=FsReadV1Params(path=path)))
        ledger.begin(intent)
        acks.add(asyncio.create_task(roles.publisher.publish(subjects.intents.raw.of(intent), intent)))
        if len(acks) >= IN_FLIGHT:
            done, acks = await asyncio.wait(acks, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
    for ack in acks:
        await ack
    ledger.all_published = True
    ledger.check()


async def _collect(bus: AsyncSmithBus, ledger: _Ledger) -> None:
    async for message in bus.consumer(consumers.http_results).messages():
        result = message.payload
        # An intent that failed is counted by its dead letter, which comes after its error result.
        path = ledger.end(result.intent_id) if result.status in ("denied", "ok") else None
        if path is None and result.status == "denied":
            ledger.others[result.intent_id] = result
        if path is not None:
            if result.status == "denied":
                ledger.denied += 1
            else:
                ledger.executed += 1
                await _compare(ledger, path, result)
        await message.ack()


async def _compare(ledger: _Ledger, path: str, result: IntentResult) -> None:
    try:
        there: object = await asyncio.to_thread(read_file, path)
    except OSError as error:
        there = error
    if result.output != there:
        ledger.differing += 1
        note(f"smith demo: {path}: the executor read {result.output}, but the file has {there}")


async def _collect_dead_letters(messages: Subscription[bytes, subjects.dlq], ledger: _Ledger) -> None:
    async for message in messages:
        intent = _read_intent(message.payload)
        path = ledger.end(IntentId(intent.id))
        if path is not None:
            ledger.dead_lettered += 1
            ledger.failed += 1
            try:
                await asyncio.to_thread(read_file, path)
            except OSError:
                continue
            ledger.differing += 1
            note(f"smith demo: {path} is a dead letter, but the file can be read")


async def _show_progress(ledger: _Ledger, total: int, stream: TextIO) -> None:
    """A progress bar on a terminal, else a line now and then."""

    def summary() -> str:
        return f"{len(ledger.latencies)}/{total} intents ended, {ledger.denied} denied, {ledger.dead_lettered} dead letters"

    if not stream.isatty():
        while True:
            print(plain(f"smith demo: {summary()}"), file=stream, flush=True)
            await asyncio.sleep(_REPORT_EVERY * 5)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("reading files through the bus"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("", total=total)
        while True:
            bar.update(task, completed=len(ledger.latencies))
            await asyncio.sleep(_REPORT_EVERY)


class _Executors:
    """The executor processes; one that dies is replaced."""

    def __init__(self, environment: Mapping[str, str], count: int) -> None:
        self._environment = environment
        self._count = count
        self._processes: list[asyncio.subprocess.Process] = []
        self._stopping = False
        self.restarted = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._keep_one() for _ in range(self._count)))

    async def _keep_one(self) -> None:
        while not self._stopping:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "smith_sdk.cli.executor", stdin=asyncio.subprocess.PIPE, env=self._environment
            )
            self._processes.append(process)
            await process.wait()
            self._processes.remove(process)
            if not self._stopping:
                self.restarted += 1
                await asyncio.sleep(min(5.0, 0.1 * 2**self.restarted))

    async def stop(self) -> None:
        """SIGTERM, so that they finish what is in flight; SIGKILL after some time."""
        self._stopping = True
        waiting = []
        for process in tuple(self._processes):
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                waiting.append(asyncio.ensure_future(process.wait()))
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=_STOP_GRACE)
            for process in tuple(self._processes):
                if late and process.returncode is None:
                    process.kill()
