"""Every path on which messages of strangers are consumed, each with good messages beside hostile
ones.

A path returns once every good message has its result and every hostile one its end. Where the SDK
raises, it raises its own errors: `Watch.saw` is told of each.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from fuzzing.generator import Generator, Hostile
from fuzzing.raw_client import RawClient
from fuzzing.samples import (
    SPEC,
    advisory_samples,
    audit_event,
    audit_samples,
    contract,
    intent,
    letter_samples,
    raw_samples,
    result_sample,
    to_json,
    vetted_samples,
)
from fuzzing.watch import Watch
from support import eventually_async

from smith_sdk import (
    Admission,
    Allow,
    AsyncSmithBus,
    Backoff,
    Decision,
    Deny,
    Message,
    Quarantine,
    RetryPolicy,
    SmithError,
    Worker,
    result_of,
    subjects,
)
from smith_sdk.protocol import (
    AuditEvent,
    FsReadV1Intent,
    HealthEvent,
    Intent,
    IntentResult,
    LogEntry,
    QuarantinedIntent,
    Service,
    ShellExecV1Intent,
)

_EVERY: Final = 25
"""One good message beside that many hostile ones."""
_END: Final = 60.0
"""Seconds in which all must have ended once all is published."""
_QUICK: Final = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.01, max=0.05))


@dataclass
class Run:
    """One path, on one account of a server."""

    path: str
    url: str
    seed: int
    count: int
    watch: Watch
    largest: int = 1024 * 1024
    arrived: int = 0
    """Messages that the path was given, good ones included."""

    def hostile(self, samples: Sequence[tuple[str, bytes]]) -> Iterator[Hostile]:
        make = Generator(self.seed, self.path, samples, largest=self.largest)
        return (make.message(number) for number in range(self.count))

    @property
    def good(self) -> int:
        return max(4, self.count // _EVERY)

    def bus(self) -> AsyncSmithBus:
        return AsyncSmithBus(self.url, contract=contract(), manage="apply", profile="dev")

    async def attack(self, samples: Sequence[tuple[str, bytes]]) -> None:
        """Publish all hostile messages."""
        async with RawClient(self.url) as attacker:
            await attacker.publish(self.hostile(samples))

    async def stored_in(self, bus: AsyncSmithBus, *streams: str) -> None:
        """What these streams were given has arrived."""
        for name in streams:
            info = await bus._session.api.stream_info(name)
            self.arrived += info["state"]["last_seq"]


# ---- looking at a message in every way that a user may


def look(run: Run, message: Any) -> object:
    """`read_all` of a message that has arrived."""
    run.arrived += 1
    return read_all(run, message)


def read_all(run: Run, message: Any) -> object:
    """Read all of a message; its payload, or None if that is not valid."""
    payload: object = None
    reads: list[Callable[[], object]] = [
        lambda: message.payload,
        lambda: message.subject,
        lambda: message.raw,
        lambda: dict(message.headers),
        lambda: message.metadata,
        lambda: message.to_dict(),
        lambda: repr(message),
    ]
    for number, read in enumerate(reads):
        try:
            found = read()
            payload = found if number == 0 else payload
        except SmithError as error:
            str(error).encode("utf-8", "surrogatepass")
        except Exception as error:
            run.watch.saw(error, f"read {number} of {message._raw.subject if hasattr(message, '_raw') else message!r}")
    return payload


async def attempt(run: Run, what: str, call: Callable[[], Awaitable[Any]]) -> Any:
    """The result of a call; None if it raises one of the SDK's errors."""
    try:
        return await call()
    except SmithError as error:
        str(error).encode("utf-8", "surrogatepass")
    except Exception as error:
        run.watch.saw(error, what)
    return None


def show(value: Any) -> None:
    """Show a value in the ways in which a user may."""
    repr(value)
    value.to_dict()


async def settled(bus: AsyncSmithBus, spec: Any) -> None:
    """Wait until the consumer has nothing left to deliver, and nothing is in flight."""

    async def is_settled() -> bool:
        info = await bus.consumer(spec).info()
        left = (info.num_pending, info.num_ack_pending)
        assert left == (0, 0), f"{left} pending and in flight"
        return True

    await eventually_async(is_settled, _END, interval=0.1)


@contextlib.asynccontextmanager
async def running(*parts: Any) -> AsyncIterator[None]:
    """Workers and admissions that run during the block, and none of which may end by itself."""
    tasks = [asyncio.ensure_future(part.run()) for part in parts]
    try:
        yield
        ended = [task for task in tasks if task.done()]
        for task in ended:
            task.result()
        assert not ended, "a part ended by itself"
    finally:
        await asyncio.gather(*(part.stop(now=True) for part in parts), return_exceptions=True)
        await asyncio.gather(*tasks, return_exceptions=True)


async def results_of(bus: AsyncSmithBus, wanted: set[str]) -> None:
    """Wait until each of these intents has a result that is valid."""

    async def are_there() -> bool:
        found = set()
        async for message in bus.read(subjects.results.filter()):
            with contextlib.suppress(SmithError):
                found.add(message.payload.intent_id)
        assert wanted <= found, f"{len(wanted - found)} of {len(wanted)} good intents have no result"
        return True

    await eventually_async(are_there, _END, interval=0.2)


# ---- the paths


async def consumer(run: Run) -> None:
    """`bus.consumer(...)`: `messages()` and `fetch()`."""
    async with run.bus() as bus:
        good = [intent(1_000_000 + number) for number in range(run.good)]
        seen: set[str] = set()

        async def handle(message: Message[Any, Any]) -> None:
            payload = look(run, message)
            if isinstance(payload, FsReadV1Intent):
                seen.add(payload.id)
            await message.ack()

        async def iterate() -> None:
            async with bus.consumer(SPEC).messages() as messages:
                async for message in messages:
                    await handle(message)

        async def fetch() -> None:
            while True:
                for message in await bus.consumer(SPEC).fetch(20, timeout=0.5):
                    await handle(message)

        readers = [asyncio.ensure_future(iterate()), asyncio.ensure_future(fetch())]
        try:
            attacking = asyncio.ensure_future(run.attack(vetted_samples(1)))
            for one in good:
                await bus.publish(subjects.intents.vetted.of(one), one)
            await attacking
            await settled(bus, SPEC)
            assert {one.id for one in good} <= seen
            for reader in readers:
                assert not reader.done(), reader.exception()
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)


async def _worker(run: Run, make: Callable[[AsyncSmithBus], Worker[Any, Any]]) -> None:
    async with run.bus() as bus:
        good = [intent(1_000_000 + number) for number in range(run.good)]
        async with running(make(bus)):
            attacking = asyncio.ensure_future(run.attack(vetted_samples(1)))
            for one in good:
                await bus.publish(subjects.intents.vetted.of(one), one)
            await attacking
            await run.stored_in(bus, SPEC.stream)
            await settled(bus, SPEC)
            await results_of(bus, {str(one.id) for one in good})


async def worker_inline(run: Run) -> None:
    """`Worker` with a coroutine as its handler."""

    def make(bus: AsyncSmithBus) -> Worker[Any, Any]:
        worker = Worker(bus, SPEC, retry=_QUICK, concurrency=16)

        @worker.handler
        async def handle(message: Message[Any, Any]) -> IntentResult:
            read_all(run, message)
            return result_of(message.payload, output={"path": message.payload.params.path})

        return worker

    await _worker(run, make)


async def worker_threads(run: Run) -> None:
    """`Worker` with a plain function as its handler."""

    def make(bus: AsyncSmithBus) -> Worker[Any, Any]:
        worker = Worker(bus, SPEC, retry=_QUICK, concurrency=8)

        @worker.handler
        def handle(message: Message[Any, Any]) -> IntentResult:
            read_all(run, message)
            return result_of(message.payload, output={"path": message.payload.params.path})

        return worker

    await _worker(run, make)


async def admission(run: Run) -> None:
    """`Admission`, with executors behind it."""

    async def policy(one: Intent) -> Decision:
        if isinstance(one, ShellExecV1Intent):
            return Deny(f"no {one.params.command}")
        if isinstance(one, FsReadV1Intent) and one.params.max_bytes == 1:
            return Quarantine(f"odd: {one.params}")
        return Allow()

    async with run.bus() as bus:
        good = [intent(1_000_000 + number) for number in range(run.good)]
        worker = Worker(bus, SPEC, retry=_QUICK, concurrency=8)

        @worker.handler
        async def handle(message: Message[Any, Any]) -> IntentResult:
            return result_of(message.payload)

        async def is_empty() -> bool:
            (stream,) = [one for one in await bus.streams.info() if one.name == "SDLC_RAW"]
            assert not stream.messages, f"{stream.messages} raw intents are left"
            return True

        async with running(Admission(bus, policy=policy, executor_id="fuzz"), worker):
            samples = [one for number in range(1, 200) for one in raw_samples(number)]
            attacking = asyncio.ensure_future(run.attack(samples))
            for one in good:
                await bus.publish(subjects.intents.raw.of(one), one)
            await attacking
            await run.stored_in(bus, "SDLC_RAW")
            await eventually_async(is_empty, _END, interval=0.1)
            await settled(bus, SPEC)
            await results_of(bus, {str(one.id) for one in good})


async def execute(run: Run) -> None:
    """`bus.execute`, while others publish on the subject of the result before the executor does."""
    async with run.bus() as bus:
        callers = max(4, min(40, run.count // 25))
        intents = [intent(number, domain="default") for number in range(callers)]
        calls = [asyncio.ensure_future(_execute(run, bus, one)) for one in intents]
        samples = [result_sample(one) for one in intents]
        await run.attack(samples)
        await run.stored_in(bus, "ATOMS_RESULTS")
        for one in intents:  # the executor, last
            await bus.publish(subjects.results.of(result_of(one)), result_of(one, output="good"), msg_id=f"good-{one.id}")
        outcomes = await asyncio.gather(*calls)
        good = sum(outcome is not None and outcome.output == "good" for outcome in outcomes)
        forged = sum(outcome is not None and outcome.output != "good" for outcome in outcomes)
        # A forged result that is valid is a result: only permissions keep strangers away.
        assert good + forged == callers, f"{callers - good - forged} of {callers} callers have no result"


async def _execute(run: Run, bus: AsyncSmithBus, one: Intent) -> IntentResult | None:
    found: IntentResult | None = await attempt(run, f"execute {one.id}", lambda: bus.execute(one, timeout=_END))
    assert found is None or found.intent_id == one.id
    return found


async def dead_letters(run: Run) -> None:
    """`bus.dead_letters`: `list`, `get`, `count`, `audit`, `replay`, `discard`."""
    async with run.bus() as bus:
        await run.attack(letter_samples(1))
        await run.stored_in(bus, "SMITH_DLQ")
        letters = bus.dead_letters
        found: list[Any] = []
        after = 0
        while page := await letters.list(after=after, limit=200):
            after = page[-1].position
            found += page
        for letter in found:
            show(letter)
        (stream,) = [one for one in await bus.streams.info() if one.name == "SMITH_DLQ"]
        before = stream.messages
        await asyncio.gather(*(attempt(run, f"get {one.id!r}", partial(letters.get, one.id)) for one in found[:300]))
        newest = await letters.list(newest_first=True, limit=300)
        assert [one.position for one in newest] == sorted((one.position for one in newest), reverse=True)
        # The server counts some subjects with a literal wildcard in a token differently.
        assert abs(await letters.count() - len(found)) <= len(found) // 20
        await letters.count(error_type="x")
        for repair in (False, True):
            for finding in await letters.audit(repair=repair):
                show(finding)
        report = await letters.replay(until=datetime.now(UTC))
        repr(report)
        assert report.replayed + len(report.failed) + len(report.in_doubt) + report.finished <= before
        await letters.discard(until=datetime.now(UTC))
        assert not await letters.list()


async def advisories(run: Run) -> None:
    """`bus.dead_letters.audit` and `watch`, which read the server's advisories."""
    async with run.bus() as bus:
        good = [intent(1_000_000 + number) for number in range(run.good)]
        for one in good:
            await bus.publish(subjects.intents.vetted.of(one), one)
        held = await bus.consumer(SPEC).fetch(len(good))  # by an executor that is at work
        assert len(held) == len(good)
        await run.attack(advisory_samples(1) + advisory_samples(len(good)))
        await run.stored_in(bus, "SMITH_ADVISORIES")
        for repair in (False, True):
            for finding in await bus.dead_letters.audit(repair=repair):
                show(finding)

        async def watch() -> None:
            async for finding in bus.dead_letters.watch(repair=True):
                show(finding)

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(watch(), 2)
        for message in held:
            await message.ack_sync()
        assert not await bus.dead_letters.list(consumer=SPEC.name), "a healthy message was dead-lettered"


async def read(run: Run) -> None:
    """`bus.read` of audit streams, results, events, and the readers of one subject's newest."""
    async with run.bus() as bus:
        good = [intent(1_000_000 + number) for number in range(run.good)]
        health = HealthEvent.new(service="web", healthy=True)
        samples = [*audit_samples(1), result_sample(intent(1)), (str(subjects.events.health.of(health)), to_json(health))]
        attacking = asyncio.ensure_future(run.attack(samples))
        for one in good:
            event = audit_event(one)
            await bus.publish(subjects.audit.policy(intent_id=one.id), event)
        await attacking
        audit = subjects.audit
        seen = set()
        readings: list[Any] = [
            bus.read(audit.policy.filter() | audit.execution.filter() | audit.security.filter()),
            bus.read(subjects.results.filter()),
            bus.read(subjects.events.health.filter(), last=50),
            bus.read(audit.policy.filter(), last_per_subject=True),
        ]
        for reading in readings:
            async for message in reading:
                payload = look(run, message)
                if isinstance(payload, AuditEvent):
                    seen.add(payload.intent_id)
        assert {one.id for one in good} <= seen


async def trace(run: Run) -> None:
    """`bus.trace` of intents about which strangers have written everywhere."""
    async with run.bus() as bus:
        intents = [intent(number) for number in range(1, 4)]
        samples: list[tuple[str, bytes]] = []
        for number, one in enumerate(intents, 1):
            samples += [*raw_samples(number), *vetted_samples(number), *audit_samples(number), *letter_samples(number)]
            samples.append(result_sample(one))
            kept = QuarantinedIntent.new(intent=to_json(one), reason="x")
            samples.append((str(subjects.intents.quarantine.filter()).replace("*", "fs.read.v1"), to_json(kept)))
        await run.attack(samples)
        await run.stored_in(bus, "SDLC_RAW", "ATOMS_VETTED", "ATOMS_RESULTS", "AUDIT_SECURITY", "SMITH_DLQ")
        for one in intents:
            found = await attempt(run, f"trace {one.id}", partial(bus.trace, one.id))
            assert found is not None
            show(found)


async def core(run: Run) -> None:
    """`bus.subscribe`: core NATS."""
    async with run.bus() as bus:
        logs = subjects.logs
        every = logs.service.filter() | logs.errors.filter() | logs.performance.filter() | logs.security.filter()
        seen: set[str] = set()

        def entry(number: int) -> LogEntry:
            fields = {"a": [1]}
            return LogEntry.new(
                level="info",
                service="web",
                target="t",
                message=f"good-{number}",
                fields=fields,
                correlation_id="c",
                node_id="n",
            )

        async def subscribe() -> None:
            async with bus.subscribe(every) as messages:
                subscribed.set()
                async for message in messages:
                    payload = look(run, message)
                    if isinstance(payload, LogEntry):
                        seen.add(payload.message)

        subscribed = asyncio.Event()
        reading = asyncio.ensure_future(subscribe())
        try:
            await subscribed.wait()
            data = to_json(entry(0))
            attacking = asyncio.ensure_future(
                run.attack(
                    [("smith.logs.web.info", data), ("smith.logs.errors.web", data), ("smith.logs.security.web.login", data)]
                )
            )
            good = [entry(number) for number in range(run.good)]
            for one in good:
                await bus.emit(logs.errors(service=Service("web")), one)
            await attacking
            good.append(entry(len(good)))  # after it, all hostile ones have arrived
            await bus.emit(logs.errors(service=Service("web")), good[-1])
            await eventually_async(lambda: {one.message for one in good} <= seen, _END)
            assert not reading.done(), reading.exception()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


PATHS: Final[dict[str, Callable[[Run], Awaitable[None]]]] = {
    one.__name__: one
    for one in (
        consumer,
        worker_inline,
        worker_threads,
        admission,
        execute,
        dead_letters,
        advisories,
        read,
        trace,
        core,
    )
}
