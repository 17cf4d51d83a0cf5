"""Roles: on a server with the permissions that smith-codegen emits, each role can do all that it is
for, and everything else is refused at once, by name."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from buses import Crossing, Face, episode_intent, health, log_entry, read_intent
from letters import original, put_letters
from plain_server import HOST, PlainServer, free_port
from support import eventually_async

from smith_codegen import permissions, sources
from smith_sdk import (
    AlertRule,
    AsyncSmithBus,
    Auth,
    Backoff,
    Once,
    Reject,
    RetryPolicy,
    Rule,
    ShardKey,
    Shards,
    Trust,
    consumers,
    result_of,
    sharding,
    subjects,
    sync,
)
from smith_sdk._core import codec
from smith_sdk._core.monitoring.held_consumers import Hold
from smith_sdk._core.monitoring.rule_claims import RuleClaims
from smith_sdk._core.services.ask import ask
from smith_sdk._core.services.format import Ping
from smith_sdk.aio.pipeline import Allow, Deny, Quarantine, Transform
from smith_sdk.alerts import default_rules, to_health
from smith_sdk.backpressure import lag_above, limit, oldest_above, pause, quarantine_new_intents, utilisation_above
from smith_sdk.contract import covers
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import BulkError, CircuitOpen, MessageNotFound, PermissionDenied, PublishManyError
from smith_sdk.protocol import AuditEvent, ExecutorId, FsReadV1Params, PolicyDecision, QuarantinedIntent, SecurityContext
from smith_sdk.signing import sign
from smith_sdk.testing.accounts import delete_streams
from smith_sdk.topology import CONTRACT

SPEC: Final = sources.load_package("smith_sdk")
WORKER: Final = consumers.executor_fs_read.name
ROLES: Final = {
    "publisher": permissions.block(SPEC, "publisher", subjects=["intents.raw", "events.health", "logs.errors"]),
    "executer": permissions.block(SPEC, "executer"),
    "worker": permissions.block(SPEC, "worker", consumers=[WORKER], once="SMITH_NONCES"),
    "admission": permissions.block(SPEC, "admission", replay_protection=True),
    "reader": permissions.block(SPEC, "reader", subjects=["results", "logs.errors"], streams=["SDLC_RAW"]),
    "auditor": permissions.block(SPEC, "auditor"),
    "health": permissions.block(SPEC, "health", streams=["SDLC_RAW"]),
    "monitor": permissions.block(SPEC, "monitor"),
    "back-pressure": permissions.block(SPEC, "back-pressure", streams=["SDLC_RAW"]),
    "dlq-operator": permissions.block(SPEC, "dlq-operator"),
    "quarantine-operator": permissions.block(SPEC, "quarantine-operator"),
    "operator": permissions.block(SPEC, "operator"),
}
QUICK: Final = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.02, max=0.02, jitter=0))
raw, vetted = subjects.intents.raw, subjects.intents.vetted
_ACCOUNTS: Final = 128
_AT_MOST: Final = 4.5
"""Seconds until a call that is refused raises: one that is not would wait for 5."""
_lasts: Final[ContextVar[float]] = ContextVar("_lasts", default=0.2)
"""Seconds that a call without an end of its own goes on: long where its refusal is waited for."""


class Account:
    """An account with a user for each role, and one more that may do everything."""

    def __init__(self, number: int, place: str, password: str) -> None:
        self._number = number
        self.url = f"nats://{place}"
        self._password = password

    def signed_in(self, role: str) -> dict[str, Any]:
        """Options of a bus."""
        prefix = {"inbox_prefix": ROLES[role].inbox_prefix} if role in ROLES else {}
        return {"auth": Auth(user=f"{role}-{self._number}", password=self._password), **prefix}

    def owner(self, **options: Any) -> AsyncSmithBus:
        return AsyncSmithBus(self.url, profile="dev", **self.signed_in("owner"), **options)

    def bus(self, face: Face, role: str, **options: Any) -> Any:
        return face.bus(self.url, profile="dev", **self.signed_in(role), **options)


@pytest.fixture(scope="module")
def accounts() -> Iterator[Iterator[Account]]:
    password = os.urandom(8).hex()

    def account(number: int) -> str:
        users = [f"{{ user: owner-{number}, password: {password} }}"]
        for role, allowed in ROLES.items():
            users.append(f"{{ user: {role}-{number}, password: {password}\n{permissions.as_conf(allowed)} }}")
        return f"a{number}: {{ jetstream: enabled, users: [\n" + "\n".join(users) + "\n] }"

    with EmbeddedServer(config="\n".join(["accounts {", *map(account, range(_ACCOUNTS)), "}"])) as server:
        yield (Account(number, server.url.removeprefix("nats://"), password) for number in range(_ACCOUNTS))


@pytest.fixture
def place(accounts: Iterator[Account]) -> Iterator[Account]:
    """An account with Smith's streams."""
    found = next(accounts)

    async def start() -> None:
        async with found.owner(manage="apply"):
            pass

    async def clean() -> None:  # the storage that streams reserve counts for the whole server
        async with found.owner() as bus:
            await delete_streams(bus._session)

    asyncio.run(start())
    yield found
    asyncio.run(clean())


@pytest.fixture
def violations(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the server has refused so far, as the SDK has logged it."""
    caplog.set_level(logging.INFO, "smith_sdk")
    return lambda: [line for line in caplog.messages if "permissions forbid" in line]


@contextlib.asynccontextmanager
async def running(made: Any) -> AsyncIterator[None]:
    """Run a worker or an admission of either face. What ends it is raised."""
    task = asyncio.ensure_future(made.run())
    try:
        yield
    finally:
        await made.stop()
        await task


def handled(face: Face, bus: Any, handler: Callable[[Any], Any], **options: Any) -> Any:
    """A worker, for a handler that is a plain function on both faces."""
    worker = face.worker(bus, consumers.executor_fs_read, retry=QUICK, **options)
    (worker if face.is_async else worker.inner).handler(handler)
    return worker


async def stored(bus: AsyncSmithBus, stream: str) -> int:
    return (await bus.streams.get(stream)).messages


async def has(bus: AsyncSmithBus, stream: str, count: int) -> bool:
    found = await stored(bus, stream)
    assert found == count, f"{stream} has {found}"
    return True


def audit_event(intent: Any) -> AuditEvent:
    return AuditEvent(
        intent_id=intent.id,
        result_status="ok",
        timestamp_ns=time.time_ns(),
        executor_id=ExecutorId("e"),
        policy_decisions=[PolicyDecision(rule_name="r", decision="allow", reason="x")],
        security_context=SecurityContext(landlock_enabled=False, seccomp_enabled=False),
    )


# ---- what each role is for


async def test_a_publisher_publishes(face: Face, place: Account, violations: Any) -> None:
    async with place.bus(face, "publisher") as bus:
        intents = [read_intent() for _ in range(4)]
        await bus.publish(raw.of(intents[0]), intents[0])
        await (await bus.submit(raw.of(intents[1]), intents[1]))
        await bus.publish_many([raw.of(one).envelope(one) for one in intents[2:]])
        await bus.publish(subjects.events.health.of(event := health()), event)
        await bus.emit(subjects.logs.errors.of(entry := log_entry()), entry)
        await bus.flush()
    async with place.owner() as owner:
        assert await stored(owner, "SDLC_RAW") == 4
    assert violations() == []


async def test_what_an_interest_stream_needs_is_allowed_as_well(face: Face, violations: Any, make_server: Any) -> None:
    allowed = permissions.block(SPEC, "publisher", subjects=["intents.vetted:capability=fs.read.v1"])
    odd = 'b" \\ä$X'
    users = [permissions.User(name="owner", password="a"), permissions.User(name="p", password=odd, permissions=allowed)]
    server = make_server(config=permissions.authorization(users))
    async with AsyncSmithBus(server.url, auth=Auth(user="owner", password="a"), manage="apply", profile="dev") as owner:
        intent = read_intent()
        async with face.bus(server.url, auth=Auth(user="p", password=odd), inbox_prefix=allowed.inbox_prefix) as bus:
            await bus.publish(vetted.of(intent), intent)
        assert await stored(owner, "ATOMS_VETTED") == 1
    assert violations() == []


async def test_an_executer_executes(face: Face, place: Account, violations: Any) -> None:
    async with place.owner() as owner, place.bus(face, "executer") as bus:
        admission = Face("async", None).admission(owner, policy=lambda _: Allow(), executor_id="a")  # type: ignore[arg-type]
        worker = handled(Face("async", None), owner, lambda message: result_of(message.payload, output=7))  # type: ignore[arg-type]
        async with running(admission), running(worker):
            result = await bus.execute(read_intent(), timeout=10)
        assert (result.status, result.output) == ("ok", 7)
    assert violations() == []


def every_outcome(message: Any) -> Any:
    word = message.payload.params.path
    if word == "reject":
        raise Reject("no")
    if word == "fail":
        raise ValueError("no")
    if word == "away" and message.metadata.num_delivered == 1:
        raise CircuitOpen("no", name="database", until=0.0, retry_after=0.0)
    return result_of(message.payload, output=word) if word == "result" else None


async def put_every_kind(owner: AsyncSmithBus) -> None:
    """Messages for `every_outcome`."""
    consumer = owner.consumer(consumers.executor_fs_read)
    for word in ("killed", "result", "nothing", "reject", "fail", "away"):
        await owner.publish(vetted.of(intent := read_intent(word)), intent)
        if word == "killed":  # a message that was delivered before, as often as it may be attempted
            for _ in range(2):
                (message,) = await consumer.fetch(1)
                await message.nack()
    await owner._session.publish(str(vetted.of(intent)), b"{", stream="ATOMS_VETTED", msg_id=os.urandom(8).hex())


async def test_a_worker_settles_every_kind_of_message(face: Face, place: Account, violations: Any) -> None:
    """Results, retries, dead letters with their answers, undecodable ones, an isolated attempt."""
    async with place.owner() as owner:
        await put_every_kind(owner)
        async with place.bus(face, "worker") as bus, running(handled(face, bus, every_outcome)):
            await eventually_async(partial(has, owner, "ATOMS_VETTED", 0))
        assert {one.error_type for one in await owner.dead_letters.list()} == {"Reject", "ValueError", "PayloadDecodeError"}
        assert await stored(owner, "ATOMS_RESULTS") == 3  # one result, and the answers to two callers
        # Besides the letters: the marker of the isolated attempt, its end, an uncounted delivery.
        assert await stored(owner, "SMITH_DLQ") == 6
    assert violations() == []


@pytest.mark.parametrize("once", [True, Once(bucket="SMITH_NONCES", ttl=60)], ids=["result", "claim"])
async def test_a_worker_runs_a_message_once(once: Any, face: Face, place: Account, violations: Any) -> None:
    """It looks before each run, claims and frees, and records what has run."""
    runs: list[int] = []

    def handle(message: Any) -> Any:
        runs.append(message.metadata.num_delivered)
        if len(runs) == 1:
            raise ValueError("not yet")
        return result_of(message.payload)

    async with place.owner() as owner:
        intent = read_intent()
        async with place.bus(face, "worker") as bus, running(handled(face, bus, handle, once=once)):
            for msg_id in ("a", "b"):
                await owner.publish(vetted.of(intent), intent, msg_id=msg_id)
                await eventually_async(partial(has, owner, "ATOMS_VETTED", 0))
        assert runs == [1, 2]
        assert await stored(owner, "ATOMS_RESULTS") == 1
    assert violations() == []


async def test_a_result_that_its_handler_has_published_stands(face: Face, place: Account, violations: Any) -> None:
    """The answer to a failure looks for it."""
    async with place.owner() as owner:
        await owner.publish(vetted.of(intent := read_intent()), intent)
        await owner.publish(subjects.results.of(result := result_of(intent)), result)

        def reject(_: Any) -> None:
            raise Reject("no")

        async with place.bus(face, "worker") as bus, running(handled(face, bus, reject)):
            await eventually_async(partial(has, owner, "ATOMS_VETTED", 0))
        assert await stored(owner, "ATOMS_RESULTS") == 1
    assert violations() == []


async def test_admission_decides_in_every_way(face: Face, place: Account, violations: Any) -> None:
    def policy(intent: Any) -> Any:
        word = intent.params.path
        return {
            "deny": Deny(reason="no"),
            "keep": Quarantine(reason="odd"),
            "change": Transform(intent.__class__(**{**_fields(intent), "params": FsReadV1Params(path="/safe")})),
        }.get(word, Allow())

    async with place.owner() as owner:
        for word in ("allow", "deny", "keep", "change"):
            await owner.publish(raw.of(intent := read_intent(word)), intent)
        await owner._session.publish(str(raw.of(intent)), b"{", stream="SDLC_RAW", msg_id="x")
        await owner._session.publish("smith.intents.raw.mind.read.v9", b'{"id": "x"}', stream="SDLC_RAW", msg_id="y")
        async with place.bus(face, "admission") as bus, running(face.admission(bus, policy=policy, executor_id="a")):
            await eventually_async(partial(has, owner, "SDLC_RAW", 0))
        assert await stored(owner, "ATOMS_VETTED") == 2
        assert await stored(owner, "SDLC_QUARANTINE_BACKPRESSURE") == 2
        assert await stored(owner, "AUDIT_SECURITY") >= 4
        assert await owner.dead_letters.count() == 1
    assert violations() == []


async def test_admission_verifies_signatures_and_refuses_replays(face: Face, place: Account, violations: Any) -> None:
    seed = bytes(range(32))
    signed = sign(read_intent(), seed)
    async with place.owner() as owner:
        for msg_id, intent in (("1", signed), ("2", signed), ("3", read_intent())):
            await owner.publish(raw.of(intent), intent, msg_id=msg_id)
        async with place.bus(face, "admission") as bus:
            admission = face.admission(bus, policy=lambda _: Allow(), executor_id="a", trust=Trust(keys=[signed.signer]))
            async with running(admission):
                await eventually_async(partial(has, owner, "SDLC_RAW", 0))
        assert (await stored(owner, "ATOMS_VETTED"), await stored(owner, "KV_SMITH_NONCES")) == (1, 1)
        codes = [one.payload.error.code async for one in owner.read(subjects.results.filter()) if one.payload.error]
        assert sorted(codes) == ["REPLAYED", "UNSIGNED"]
    assert violations() == []


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


async def test_an_operator_operates(face: Face, place: Account, violations: Any) -> None:
    async with place.owner() as owner:
        letters = await give_up(owner, 3)
        async with place.bus(face, "operator") as bus:
            assert not (await bus.streams.plan(profile="dev")).changes
            await bus.streams.apply(profile="dev")
            await bus.streams.verify(profile="dev")
            await replay_and_discard(bus, letters)
            await bus.trace(read_intent().id)
            shards = _shards(bus, face)
            assert len(await shards.list()) == 16
            assert (await shards.members(), await shards.halted(), await shards.resume(ShardKey("ep-1"))) == ([], [], False)
            assert (await shards.reshard_plan(32)).steps
            assert (await shards.reshard(32, timeout=60)).shards == 32
        split = CONTRACT.with_domains(consumers.executor_http_fetch.for_domains("eu"))
        async with place.bus(face, "operator", contract=split) as bus:
            assert await bus.domains.move("eu")
        async with place.bus(face, "operator") as bus:
            assert await bus.domains.move("eu")  # and back
    assert violations() == []


def test_only_an_operator_says_how_many_shards_there_are() -> None:
    worker = permissions.block(SPEC, "worker", shardings=["episode"])
    may = {
        name
        for name, role in {**ROLES, "worker of shards": worker}.items()
        if any(covers(one, "$KV.SMITH_CONTROL.shards.episode.layout") for one in role.publish)
    }
    assert may == {"operator"}
    assert any(covers(one, "$KV.SMITH_CONTROL.shards.episode.owners.1-00") for one in worker.publish)


async def test_a_dlq_operator_handles_dead_letters_alone(face: Face, place: Account, violations: Any) -> None:
    async with place.owner() as owner:
        letters = await give_up(owner, 3)
        async with place.bus(face, "dlq-operator") as bus:
            await replay_and_discard(bus, letters)
        assert await stored(owner, "ATOMS_VETTED") == 1
        assert await owner.dead_letters.count() == 1
    assert violations() == []


@pytest.mark.parametrize("role", ["dlq-operator", "operator"])
async def test_a_letter_of_a_former_shard_is_replayed_to_that_of_now(role: str, place: Account, violations: Any) -> None:
    async with place.owner() as owner:
        await Shards(owner, sharding.episode).reshard(32, timeout=30)
        shard = sharding.episode.layout.shard(ShardKey("ep-1"))
        letter = original(
            1,
            subject=f"smith.intents.vetted.fs.read.v1.default.{shard.tokens}",
            stream="ATOMS_VETTED",
            consumer=sharding.episode.durable(shard),
            data=codec.encode(episode_intent("ep-1")),
        )
        await put_letters(owner, letter)
        async with place.bus(Face("async", None), role) as bus:  # type: ignore[arg-type]
            report = await bus.dead_letters.replay(letter.id)
        assert (report.replayed, report.moved) == (1, 1)
    assert violations() == []


async def test_a_quarantine_operator_releases_and_discards(face: Face, place: Account, violations: Any) -> None:
    async with place.owner() as owner:
        for path in ("/release", "/discard", "/stay"):
            await owner.publish(raw.of(intent := read_intent(path)), intent)
        await owner._session.publish(str(raw.of(intent)), b"{", stream="SDLC_RAW", msg_id="x")
        gate = Face("async", None).admission(owner, policy=lambda _: Quarantine("odd"), executor_id="a")  # type: ignore[arg-type]
        async with running(gate):
            await eventually_async(partial(has, owner, "SDLC_RAW", 0))
        async with place.bus(face, "quarantine-operator") as bus:
            assert await bus.quarantine.count() == 4
            garbage, released, *others = sorted(await bus.quarantine.list(), key=lambda one: one.intent_id or "")
            assert (await bus.quarantine.get(released.id)).rule == "policy"
            assert (await bus.quarantine.release(released.id)).released == 1
            assert len(await bus.quarantine.discard([one.id for one in (garbage, *others)])) == 3
        assert (await stored(owner, "SDLC_RAW"), await stored(owner, "SDLC_QUARANTINE_BACKPRESSURE")) == (1, 0)
    assert violations() == []


async def give_up(owner: AsyncSmithBus, count: int) -> list[str]:
    """Dead-letter so many intents; the ids of the letters."""

    async def reject(_: Any) -> None:
        raise Reject("no")

    for _ in range(count):
        await owner.publish(vetted.of(intent := read_intent()), intent)
    async with running(handled(Face("async", None), owner, reject)):  # type: ignore[arg-type]
        await eventually_async(partial(has, owner, "SMITH_DLQ", count))
        await eventually_async(partial(has, owner, "ATOMS_VETTED", 0))
    return [one.id for one in await owner.dead_letters.list()]


async def replay_and_discard(bus: Any, letters: list[str]) -> None:
    assert len(await bus.dead_letters.list()) == len(letters)
    assert (await bus.dead_letters.get(letters[0])).id == letters[0]
    assert await bus.dead_letters.count(error_type="Reject") == len(letters)
    report = await bus.dead_letters.replay([letters[0]])
    assert report.replayed == 1
    assert tuple(await bus.dead_letters.discard([letters[1]])) == (letters[1],)
    await bus.dead_letters.audit(repair=True)


async def test_an_auditor_reads_the_audit_trail(face: Face, place: Account, violations: Any) -> None:
    async with place.owner() as owner:
        events = [audit_event(read_intent()) for _ in range(3)]
        for event in events:
            await owner.publish(subjects.audit.policy.of(event), event)
        async with place.bus(face, "auditor") as bus:
            found = [one async for one in bus.read(subjects.audit.policy.filter())]
            assert len(found) == 3
            newest = [one async for one in bus.read(subjects.audit.policy.filter(), last=1)]
            assert [one.payload.intent_id for one in newest] == [events[-1].intent_id]
    assert violations() == []


async def test_a_reader_reads_and_subscribes(face: Face, place: Account, violations: Any) -> None:
    async with place.owner() as owner, place.bus(face, "reader") as bus:
        await owner.publish(raw.of(intent := read_intent()), intent)
        await owner.publish(subjects.results.of(result := result_of(intent)), result)
        assert [one.payload.id async for one in bus.read(raw.filter())] == [intent.id]
        assert [one.payload.intent_id async for one in bus.read(subjects.results.filter())] == [intent.id]
        async with bus.subscribe(subjects.logs.errors.filter()) as lines:
            await owner.emit(subjects.logs.errors.of(entry := log_entry()), entry)
            assert (await anext(lines)).payload == entry
    assert violations() == []


async def test_health_looks_at_everything_and_writes_its_key(face: Face, place: Account, violations: Any) -> None:
    executor = consumers.executor_fs_read
    async with place.bus(face, "health") as bus:
        await bus.streams.verify(profile="dev")
        assert len(await bus.streams.info()) == len(SPEC.streams)
        await bus.consumer(consumers.admission).info()
        assert (await bus.health(20)).status == "ok"
        assert len(await bus.lag()) == len(SPEC.consumers)
        async with place.owner() as owner:
            await owner.consumer(executor).pause(60)
            found = await bus.health(20)  # now it looks for the rule of back pressure that has paused it
            assert [(check.name, check.status) for check in found.problems] == [(f"consumer {executor.name}", "degraded")]
            assert "by somebody" in found.problems[0].reason
            assert (await owner.streams.get("KV_SMITH_CONTROL")).messages == 1
    assert violations() == []


async def test_ages_of_messages_are_looked_up_where_a_role_may_read_them(face: Face, place: Account) -> None:
    """That needs a permission of its own; without it, the rest is known."""
    async with place.owner() as owner:
        await _fill(owner)
        async with place.bus(face, "health") as bus:

            async def lagging() -> dict[str, Any]:
                found = {one.stream: one for one in await bus.lag() if one.lag}
                assert {"SDLC_RAW", "ATOMS_VETTED"} <= found.keys()
                return found

            lags = await eventually_async(lagging)
    assert lags["SDLC_RAW"].oldest_age is not None
    assert lags["ATOMS_VETTED"].oldest_age is None


async def test_a_worker_answers_those_who_may_ask_it(face: Face, place: Account, violations: Any) -> None:
    async def answers(asking: AsyncSmithBus) -> bool:
        return len(await ask(asking._connection, Ping, seconds=0.1, name=WORKER)) == 1

    async with place.bus(face, "worker") as bus, running(handled(face, bus, lambda _: None)):
        for role in ("health", "operator"):
            async with AsyncSmithBus(place.url, **place.signed_in(role)) as asking:
                await eventually_async(partial(answers, asking))
    assert violations() == []


async def test_a_monitor_knows_all_that_its_rules_need(face: Face, place: Account, violations: Any) -> None:
    async with place.owner() as owner:
        for _ in range(5):
            await owner.publish(raw.of(intent := read_intent()), intent)
        full = AlertRule(when=utilisation_above("SDLC_RAW", 0.00001), name="full")
        rules = [*default_rules(CONTRACT), full]
        async with place.bus(face, "monitor") as bus:
            monitor = face.alert_monitor(bus, rules, notify=[to_health("watch")], drift_every=0.1, interval=0.1)
            async with monitor:
                await eventually_async(partial(has, owner, "SYSTEM_EVENTS", 1))
                plain = monitor if face.is_async else monitor.inner._aio
                await eventually_async(lambda: not plain._board._awaited, 30)  # each measure was known once
                assert [one.rule for one in plain.active] == ["full"]
                assert plain.describe()["problem"] == ""
    assert violations() == []


async def test_back_pressure_acts_and_undoes_and_an_operator_clears(face: Face, place: Account, violations: Any) -> None:
    gate, executor = consumers.admission, consumers.executor_fs_read
    when = lag_above(gate, 2) & utilisation_above("SDLC_RAW", 0.00001) | oldest_above(gate, 3600)
    rule = Rule(when=when, do=[limit(executor, max_ack_pending=5), pause(executor), quarantine_new_intents()], hold=0, name="r")
    async with place.owner() as owner:

        async def is_held(expected: bool) -> bool:
            info = await owner.consumer(executor).info()
            return (info.max_ack_pending == 5) is (info.paused_until is not None) is expected

        async with place.bus(face, "back-pressure") as bus, face.back_pressure(bus, [rule]):
            for _ in range(3):
                await owner.publish(raw.of(intent := read_intent()), intent)
            await eventually_async(partial(is_held, True))
            assert [one.rule for one in await face.active_rules(bus).list()] == ["r"]
            await owner.streams.purge("SDLC_RAW")
            await eventually_async(partial(is_held, False))
        async with place.bus(face, "operator") as bus:
            claims = RuleClaims(owner._session)
            await claims.held.hold(executor.stream, executor.name, "r", Hold(max_ack_pending=5, pause=True))
            assert await face.active_rules(bus).clear("r")
            assert await is_held(False)
    assert violations() == []


async def test_roles_of_a_domain_ask_its_api(face: Face, tmp_path: Path, violations: Any) -> None:
    roles = {
        "admission": permissions.block(SPEC, "admission", replay_protection=True, api_prefix="$JS.hub.API"),
        "worker": permissions.block(SPEC, "worker", consumers=[WORKER], api_prefix="$JS.hub.API"),
    }
    users = [permissions.User(name="owner", password="x")]
    users += [permissions.User(name=name, password="x", permissions=allowed) for name, allowed in roles.items()]
    port = free_port()
    own = f'listen: "{HOST}:{port}", max_payload: 8MB, jetstream {{ domain: hub, store_dir: "{tmp_path}/hub" }}'
    with PlainServer(tmp_path, own + "\n" + permissions.authorization(users), port):

        def bus(role: str) -> Any:
            prefix = {"inbox_prefix": roles[role].inbox_prefix} if role in roles else {}
            auth = Auth(user=role, password="x")
            return face.bus(f"nats://{HOST}:{port}", auth=auth, js_domain="hub", profile="dev", **prefix)

        signed = sign(read_intent(), bytes(range(32)))
        async with bus("owner") as owner, bus("admission") as gate, bus("worker") as executor:
            await owner.streams.apply()
            await owner.publish(raw.of(signed), signed)
            admission = face.admission(gate, policy=lambda _: Allow(), executor_id="a", trust=Trust(keys=[signed.signer]))
            worker = handled(face, executor, lambda message: result_of(message.payload))
            async with running(admission), running(worker):
                await eventually_async(partial(has, owner, "ATOMS_RESULTS", 1))
                await eventually_async(partial(has, owner, "ATOMS_VETTED", 0))
            assert violations() == []
            began = time.monotonic()  # the server names the subject as it maps it
            with pytest.raises(PermissionDenied, match=r"\$JS\.hub\.API\.STREAM\.INFO\."):
                await executor.streams.info()
            with pytest.raises(PermissionDenied, match=r"\$JS\.hub\.API\.CONSUMER\.MSG\.NEXT\.SDLC_RAW\.admission"):
                await executor.consumer(consumers.admission).fetch(1)
            assert time.monotonic() - began < _AT_MOST


async def test_without_any_of_its_rights_a_worker_ends_by_its_name_or_goes_on(make_server: Any) -> None:
    """It never handles a message again and again, waits, or loses one."""
    rights = permissions.block(SPEC, "worker", consumers=[WORKER]).publish
    users = ["{ user: owner, password: x }"]
    for number, right in enumerate(rights):
        users.append(f'{{ user: u{number}, password: x, permissions: {{ publish: {{ deny: ["{right}"] }} }} }}')
    server = make_server(config="authorization { users: [\n" + "\n".join(users) + "\n] }")
    face = Face("async", None)  # type: ignore[arg-type]
    ended: dict[str, int] = {}
    async with AsyncSmithBus(server.url, auth=Auth(user="owner", password="x"), manage="apply", profile="dev") as owner:
        for number, right in enumerate(rights):
            await put_every_kind(owner)
            async with AsyncSmithBus(server.url, auth=Auth(user=f"u{number}", password="x")) as bus:
                worker = handled(face, bus, every_outcome)
                task = asyncio.ensure_future(worker.run())
                settled = asyncio.ensure_future(eventually_async(partial(has, owner, "ATOMS_VETTED", 0)))
                await asyncio.wait({task, settled}, return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    settled.cancel()
                else:
                    await settled
                await worker.stop()
                ending = (await asyncio.gather(task, return_exceptions=True))[0]
            if ending is not None:
                assert isinstance(ending, PermissionDenied), right
                assert ending.subject == right or covers(right, ending.subject)
                ended[right] = await stored(owner, "ATOMS_VETTED")
            await owner.streams.purge("ATOMS_VETTED")
    optional = {one for one in rights if ".INFO." in one or one.endswith(("MSG.GET.ATOMS_RESULTS", ".unrun"))}
    assert set(ended) == set(rights) - optional
    for right, count in ended.items():
        # What could not be settled is still there. Without that one a marker stays, of a message
        # that is settled.
        assert count or right.endswith("MSG.GET.SMITH_DLQ"), right


# ---- everything else


Call = Callable[[Any, Face], Awaitable[object]]


async def _work(bus: Any, face: Face) -> None:
    worker = handled(face, bus, lambda _: None)
    running = asyncio.ensure_future(worker.run())
    await asyncio.wait({running}, timeout=2 * _AT_MOST)
    await worker.stop()
    await running


async def _admit(bus: Any, face: Face) -> None:
    admission = face.admission(bus, policy=lambda _: Allow(), executor_id="a")
    running = asyncio.ensure_future(admission.run())
    await asyncio.wait({running}, timeout=2 * _AT_MOST)
    await admission.stop()
    await running


def _publish(subject: Any, payload: Any) -> Call:
    return lambda bus, _: bus.publish(subject, payload)


async def _emit(bus: Any, _: Face) -> None:
    entry = log_entry()
    await bus.emit(subjects.logs.errors.of(entry), entry)
    await bus.flush()


async def _submit(bus: Any, _: Face) -> object:
    intent = read_intent()
    return await (await bus.submit(vetted.of(intent), intent))


async def _publish_many(bus: Any, _: Face) -> object:
    intents = [read_intent() for _ in range(3)]
    return await bus.publish_many([vetted.of(one).envelope(one) for one in intents])


async def _bulk(bus: Any, _: Face) -> object:
    intent = read_intent()
    async with bus.bulk("ATOMS_VETTED") as bulk:
        await bulk.add(vetted.of(intent), intent)
    return bulk.result


async def _read(bus: Any, what: Any, **options: Any) -> list[Any]:
    return [one async for one in bus.read(what, **options)]


async def _subscribe(bus: Any, what: Any) -> None:
    """Raises, or is cut off while it waits for a message."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_lasts.get()):
            await anext(bus.subscribe(what))


def _calls() -> dict[str, tuple[Call, set[str]]]:
    """Every call, and the roles that may make it."""
    intent = read_intent()
    event, result, fact = audit_event(intent), result_of(intent), health()
    kept = QuarantinedIntent.new(intent=b"{}", reason="x")
    audit, quarantine = subjects.audit.policy.of(event), subjects.intents.quarantine(capability=intent.capability)
    gate, executor = consumers.admission, consumers.executor_fs_read
    past = datetime(2020, 1, 1, tzinfo=UTC)
    whole = {"operator"}
    letters = {"operator", "dlq-operator"}
    # A letter of the quarantine's reader is replayed to there; a monitor sees how old messages are.
    kept_back = {*letters, "quarantine-operator", "monitor"}
    publishes: dict[str, tuple[Call, set[str]]] = {
        "publish raw": (_publish(raw.of(intent), intent), {"publisher", "executer", "quarantine-operator", *letters}),
        "publish vetted": (_publish(vetted.of(intent), intent), {"admission", *letters}),
        "publish result": (_publish(subjects.results.of(result), result), {"worker", "admission", *letters}),
        "publish audit": (_publish(audit, event), {"admission", "quarantine-operator", *letters}),
        "publish quarantined": (_publish(quarantine, kept), {"admission", *letters}),
        "publish event": (_publish(subjects.events.health.of(fact), fact), {"publisher", "monitor"}),
        "submit vetted": (_submit, {"admission", *letters}),
        "publish many vetted": (_publish_many, {"admission", *letters}),
        "bulk vetted": (_bulk, {"admission", *letters}),
        "emit log": (_emit, {"publisher"}),
        "execute": (lambda bus, _: bus.execute(read_intent(), timeout=20), set()),
        "admission": (_admit, set()),
        "worker": (_work, set()),
    }
    reads: dict[str, tuple[Call, set[str]]] = {
        "subscribe results": (lambda bus, _: _subscribe(bus, subjects.results.filter()), {"executer", "reader"}),
        "subscribe logs": (lambda bus, _: _subscribe(bus, subjects.logs.errors.filter()), {"reader"}),
        "subscribe raw": (lambda bus, _: _subscribe(bus, raw.filter()), set()),
        "read raw": (lambda bus, _: _read(bus, raw.filter()), {"reader", "back-pressure", "health", "monitor", *letters}),
        "read vetted": (lambda bus, _: _read(bus, vetted.filter()), {"monitor", *letters}),
        "read results": (lambda bus, _: _read(bus, subjects.results.filter()), {"reader", *whole}),
        "read last result": (lambda bus, _: _read(bus, subjects.results.filter(), last=1), {"reader", *whole}),
        "read audit": (lambda bus, _: _read(bus, subjects.audit.policy.filter()), {"auditor", *whole}),
        "read letters": (lambda bus, _: _read(bus, subjects.dlq.filter()), letters),
        "trace": (
            lambda bus, _: bus.trace(intent.id),
            {*letters, "auditor", "quarantine-operator", "reader", "back-pressure", "health", "monitor"},
        ),
        "consumer info": (
            lambda bus, _: bus.consumer(gate).info(),
            {"admission", "health", "monitor", "back-pressure", *letters},
        ),
        "fetch": (lambda bus, _: bus.consumer(gate).fetch(1, timeout=_lasts.get()), {"admission", *whole}),
        "messages": (lambda bus, _: _first(bus.consumer(executor).messages()), {"worker", *whole}),
        "lag": (lambda bus, _: bus.lag(), {"health", "monitor", *whole}),
        "pause": (lambda bus, _: bus.consumer(gate).pause(0.001), whole),
        "resume": (lambda bus, _: bus.consumer(gate).resume(), whole),
        "reset": (lambda bus, _: bus.consumer(gate).reset(), whole),
    }
    manages: dict[str, tuple[Call, set[str]]] = {
        "streams.plan": (lambda bus, _: bus.streams.plan(), {"health", "monitor", *whole}),
        "streams.apply": (lambda bus, _: bus.streams.apply(), {"health", "monitor", *whole}),  # nothing is to be changed
        "streams.verify": (lambda bus, _: bus.streams.verify(), {"health", "monitor", *whole}),
        "streams.info": (lambda bus, _: bus.streams.info(), {"health", "monitor", *whole}),
        "streams.get": (lambda bus, _: bus.streams.get("SDLC_RAW"), {"health", "monitor", *whole}),
        "streams.purge": (lambda bus, _: bus.streams.purge("SYSTEM_EVENTS"), whole),
        "domains.list": (lambda bus, _: bus.domains.list(), {"health", "monitor", *letters}),
        "domains.move": (lambda bus, _: bus.domains.move("eu"), {"health", "monitor", *letters}),  # nothing is to be moved
        "dead_letters.list": (lambda bus, _: bus.dead_letters.list(), letters),
        "dead_letters.get": (
            lambda bus, _: _missing(bus.dead_letters.get(f"ATOMS_VETTED.{WORKER}.1")),
            {*letters, "worker", "admission"},
        ),
        "dead_letters.count": (lambda bus, _: bus.dead_letters.count(), letters),
        "dead_letters.replay": (lambda bus, _: bus.dead_letters.replay(until=past), letters),
        "dead_letters.discard": (lambda bus, _: bus.dead_letters.discard(until=past), letters),
        "dead_letters.audit": (lambda bus, _: bus.dead_letters.audit(), letters),
        "dead_letters.watch": (lambda bus, _: _first(bus.dead_letters.watch()), letters),
        "shards.list": (lambda bus, face: _shards(bus, face).list(), {"admission", "health", "monitor", *letters}),
        "workers": (lambda bus, _: bus.workers(_lasts.get()), {"health", "monitor", "operator"}),
        "quarantine.list": (lambda bus, _: bus.quarantine.list(), {"admission", *kept_back}),
        "quarantine.get": (lambda bus, _: _missing(bus.quarantine.get("1")), {"admission", *kept_back}),
        "quarantine.count": (lambda bus, _: bus.quarantine.count(), {"back-pressure", "health", *kept_back}),
        "quarantine.release": (lambda bus, _: bus.quarantine.release(until=past), kept_back),
        "quarantine.discard": (lambda bus, _: bus.quarantine.discard(until=past), kept_back),
    }
    return publishes | reads | manages


async def _first(iteration: Any) -> None:
    if inspect.isawaitable(iteration):  # a call of the blocking face
        iteration = await iteration
    try:
        async with asyncio.timeout(_lasts.get()):
            await anext(iteration)
    except TimeoutError:
        pass
    finally:
        await iteration.stop()


def _shards(bus: Any, face: Face) -> Any:
    return Shards(bus, sharding.episode) if face.is_async else Crossing(sync.Shards(bus.inner, sharding.episode))


async def _missing(call: Awaitable[object]) -> None:
    with contextlib.suppress(MessageNotFound):
        await call


ENDLESS: Final = {"execute", "admission", "worker"}
"""Calls that the roles they are for do not end by themselves; those have tests of their own."""
OWN: Final = {"execute": {"executer"}, "admission": {"admission", "operator"}, "worker": {"worker", "operator"}}


async def _wrong(name: str, call: Call, bus: Any, face: Face, is_allowed: bool) -> list[str]:
    """What is not as it should be with one call."""
    _lasts.set(0.2 if is_allowed else _AT_MOST)
    began = time.monotonic()
    try:
        async with asyncio.timeout(20):
            await call(bus, face)
        what = "succeeded"
    except PermissionDenied as error:
        is_named = error.subject.startswith(("$JS.", "$SRV.", "smith.")) and error.subject in str(error)
        what = "refused" if is_named else f"refused without its subject: {error.subject!r}: {error}"
    except PublishManyError as error:
        denied = all(isinstance(one, PermissionDenied) for one in error.failures)
        what = "refused" if denied else f"raised {error}"
    except BulkError as error:
        denied = all(isinstance(one, PermissionDenied) for one in error.failures.values())
        what = "refused" if denied else f"raised {error}"
    except Exception as error:
        what = f"raised {type(error).__name__}: {error}"
    seconds = time.monotonic() - began
    expected = "succeeded" if is_allowed else "refused"
    if what != expected or (expected == "refused" and seconds > _AT_MOST):
        return [f"{name}: {what} after {seconds:.1f} s, not {expected}"]
    return []


async def _fill(owner: AsyncSmithBus) -> None:
    """What is not there needs no permission to be read."""
    intent = read_intent()
    await owner.publish(raw.of(intent), intent)
    await owner.publish(subjects.results.of(result := result_of(intent)), result)
    await owner.publish(subjects.audit.policy.of(event := audit_event(intent)), event)
    await give_up(owner, 1)
    await owner.publish(vetted.of(intent), intent)


@pytest.mark.parametrize("role", ROLES)
async def test_every_other_call_is_refused_at_once_and_by_name(face: Face, place: Account, role: str) -> None:
    wrong: list[str] = []
    async with place.owner() as owner:
        await _fill(owner)
    async with place.bus(face, role) as bus:
        for name, (call, allowed) in _calls().items():
            if role in OWN.get(name, ()):
                continue
            wrong += await _wrong(name, call, bus, face, role in allowed)
    assert wrong == []


async def test_every_call_of_every_role_of_a_domain(face: Face, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "publisher": {"subjects": ["intents.raw", "events.health", "logs.errors"]},
        "worker": {"consumers": [WORKER]},
        "admission": {"replay_protection": True},
        "reader": {"subjects": ["results", "logs.errors"], "streams": ["SDLC_RAW"]},
        "health": {"streams": ["SDLC_RAW"]},
        "back-pressure": {"streams": ["SDLC_RAW"]},
    }
    roles = {name: permissions.block(SPEC, name, api_prefix=permissions.api_of("hub"), **options.get(name, {})) for name in ROLES}
    users = [permissions.User(name="owner", password="x")]
    users += [permissions.User(name=name, password="x", permissions=allowed) for name, allowed in roles.items()]
    port = free_port()
    own = f'listen: "{HOST}:{port}", max_payload: 8MB, jetstream {{ domain: hub, store_dir: "{tmp_path}/hub" }}'
    wrong: list[str] = []
    with PlainServer(tmp_path, own + "\n" + permissions.authorization(users), port):
        url = f"nats://{HOST}:{port}"
        common: dict[str, Any] = {"js_domain": "hub", "profile": "dev"}
        async with AsyncSmithBus(url, auth=Auth(user="owner", password="x"), manage="apply", **common) as owner:
            await _fill(owner)
        for role, allowed in roles.items():
            async with face.bus(url, auth=Auth(user=role, password="x"), inbox_prefix=allowed.inbox_prefix, **common) as bus:
                for name, (call, may) in _calls().items():
                    if role not in OWN.get(name, ()):
                        wrong += [f"{role}: {one}" for one in await _wrong(name, call, bus, face, role in may)]
    assert wrong == []


@pytest.mark.parametrize("role", ROLES)
async def test_no_role_can_read_what_is_answered_to_another(place: Account, role: str) -> None:
    async with AsyncSmithBus(place.url, **place.signed_in(role)) as bus:
        for prefix in {one.inbox_prefix for one in ROLES.values()} - {ROLES[role].inbox_prefix} | {"_INBOX"}:
            seen = await bus._session.connection.subscribe(f"{prefix}.>", lambda _: None)
            await bus._session.connection.confirm()
            assert isinstance(seen.refusal, PermissionDenied), prefix


@pytest.mark.parametrize("role", ROLES)
async def test_no_role_can_forge_an_answer_to_another_or_to_itself(place: Account, role: str) -> None:
    async with AsyncSmithBus(place.url, **place.signed_in(role)) as bus:
        for inbox in {f"{one.inbox_prefix}.x" for one in ROLES.values()} | {
            "_INBOX.x",
            "_R_.x",
            "$JS.ACK.SDLC_RAW.other.1.1.1.1.1",
        }:
            if inbox.startswith("$JS.ACK") and role == "operator":
                continue  # it may pull and acknowledge as any consumer
            with pytest.raises(PermissionDenied) as refused:
                await bus._session.requests.request(inbox, b"forged", timeout=20)
            assert refused.value.subject == inbox


async def test_health_reports_what_may_not_be_looked_at(face: Face, place: Account) -> None:
    """It raises nothing; a worker may know how its own streams are by an error of `run()`."""
    async with place.bus(face, "publisher") as bus:
        report = await bus.health()
    assert report.status != "ok"
    found = {check.name: check.reason for check in report.checks if check.status != "ok"}
    assert len(found) == len(SPEC.streams) + len(SPEC.consumers) + len(("jetstream", "writing", "dead letters")), found
    assert all("permissions forbid publishing to $" in reason for reason in found.values())


def test_the_table_has_every_call_of_a_bus() -> None:
    """A new method needs a line there, unless it asks nothing or reports refusals."""
    waits_for_nothing = {"connect", "close", "states", "flush", "health", "kv", "objects"}
    not_declared = {"request"}  # by Smith's contract: see test_requests.py
    named = {name.partition(" ")[0] for name in _calls()} | {
        "publish_many" for name in _calls() if name.startswith("publish many")
    }
    public = {name for name, _ in inspect.getmembers(AsyncSmithBus, inspect.isfunction) if not name.startswith("_")}
    assert public - waits_for_nothing - not_declared <= named | {"consumer", "read", "subscribe"}, public - named
