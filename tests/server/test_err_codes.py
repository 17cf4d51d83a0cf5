"""Every err_code that has an error type of its own, provoked on a real server: type, attributes
and advice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from buses import Account, read_intent

from smith_sdk import AsyncSmithBus, subjects
from smith_sdk._core.jetstream.api import JetStreamApi
from smith_sdk._core.jetstream.session import Session
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import (
    AlreadyExists,
    ChangeRefused,
    ConsumerNotFound,
    JetStreamDisabled,
    JetStreamError,
    MessageNotFound,
    NotEnoughRoom,
    PayloadTooLarge,
    QueueFull,
    StreamNotFound,
    SubjectOverlap,
    TopologyRefused,
    WrongSequence,
    WrongStream,
)

Make = Callable[..., EmbeddedServer]
Json = dict[str, Any]

SMALL: Final = """
accounts {
  SMALL {
    jetstream { max_file: 1MB, max_mem: 1MB, max_streams: 1, max_consumers: 1, max_bytes_required: true }
    users: [{ user: small, password: small }]
  }
  FULL { jetstream { max_file: 10KB }, users: [{ user: full, password: full }] }
  NONE { users: [{ user: none, password: none }] }
}
"""


def sign_in(server: EmbeddedServer, name: str) -> str:
    """The URL of the user `name` of SMALL."""
    return server.url.replace("://", f"://{name}:{name}@")


@asynccontextmanager
async def session_of(url: str) -> AsyncIterator[Session]:
    async with AsyncSmithBus(url) as bus:
        yield bus._session


def reader(name: str = "c", stream: str = "S", action: str = "create", **config: Any) -> Callable[[JetStreamApi], Any]:
    return lambda admin: admin.consumer_write(stream, {"durable_name": name, "ack_policy": "explicit", **config}, action)


def creating(name: str = "S", **config: Any) -> Callable[[JetStreamApi], Any]:
    return lambda admin: admin.stream_create({"name": name, "subjects": [f"{name.lower()}.>"], **config})


def updating(**config: Any) -> Callable[[JetStreamApi], Any]:
    return lambda admin: admin.stream_update({"name": "S", "subjects": ["s.>"], **config})


S: Final = creating()
QUEUE: Final = creating(retention="workqueue")

REFUSED: Final[dict[int, tuple[type[JetStreamError], list[Callable[[JetStreamApi], Any]], str]]] = {
    10058: (AlreadyExists, [S, creating(max_msgs=5)], "smith streams plan"),
    10148: (AlreadyExists, [S, reader(), reader(ack_wait=10**9)], "smith streams plan"),
    10065: (SubjectOverlap, [S, creating("T", subjects=["s.x"])], "narrow"),
    10099: (SubjectOverlap, [QUEUE, reader(), reader("d")], "give each consumer of a work queue a filter"),
    10100: (
        SubjectOverlap,
        [QUEUE, reader(filter_subject="s.a"), reader("d", filter_subject="s.*")],
        "filter that overlaps no other",
    ),
    10138: (SubjectOverlap, [S, reader(filter_subjects=["s.>", "s.a"])], "keep the wider"),
    10074: (NotEnoughRoom, [creating(num_replicas=3)], "--profile dev"),
    10047: (NotEnoughRoom, [creating(max_bytes=2**60)], "`fit`"),
    10028: (NotEnoughRoom, [creating(max_bytes=2**60, storage="memory")], "max_mem"),
    10052: (ChangeRefused, [S, updating(storage="memory")], "declare a stream of another name"),
    10055: (ChangeRefused, [S, updating(subjects=[], mirror={"name": "T"})], "declare a stream of another name"),
    10110: (ChangeRefused, [creating(deny_purge=True), lambda admin: admin.stream_purge("S", {})], "deny_purge"),
    10204: (
        ChangeRefused,
        [S, reader(deliver_policy="new"), lambda admin: admin.consumer_reset("S", "c", 1)],
        "leave out the sequence",
    ),
    10012: (ChangeRefused, [S, reader(), reader(action="update", deliver_policy="new")], "declare a consumer of another name"),
    10149: (ConsumerNotFound, [S, reader(action="update")], "smith streams apply"),
    10014: (ConsumerNotFound, [S, lambda admin: admin.consumer_info("S", "c")], "smith streams apply"),
    10059: (StreamNotFound, [lambda admin: admin.stream_info("S")], "smith streams apply"),
    10037: (MessageNotFound, [S, lambda admin: admin.message("S", 7)], "no such message"),
    10025: (TopologyRefused, [creating(zorg=1)], "upgrade the server"),
    10084: (TopologyRefused, [QUEUE, reader(ack_policy="none")], "must acknowledge each"),
    10098: (TopologyRefused, [QUEUE, reader(ack_policy="all")], 'ack_policy = "explicit"'),
    10101: (TopologyRefused, [QUEUE, reader(deliver_policy="new")], 'deliver_policy = "all"'),
    10116: (TopologyRefused, [S, reader(max_deliver=2, backoff=[1, 2, 3])], "max_deliver"),
    10136: (
        TopologyRefused,
        [S, reader(filter_subject="s.a", filter_subjects=["s.b"])],
        "either filter_subject or filter_subjects",
    ),
}


@pytest.mark.parametrize("err_code", REFUSED)
async def test_each_refusal_of_a_stream_or_consumer(err_code: int, account: Account) -> None:
    kind, (*before, last), advice = REFUSED[err_code]
    async with session_of(account.url) as session:
        for call in before:
            await call(session.api)
        with pytest.raises(JetStreamError) as refused:
            await last(session.api)
    error = refused.value
    assert type(error) is kind
    assert error.err_code == err_code
    assert error.stream in ("S", "T")
    assert advice in str(error)
    assert (error.consumer is not None) is ("consumer" in str(error).partition(":")[0])


async def test_a_config_that_contradicts_itself_is_not_a_refused_change(account: Account) -> None:
    async with session_of(account.url) as session:
        with pytest.raises(TopologyRefused, match="correct the declaration") as refused:
            await creating(max_age=10**9, duplicate_window=10**10)(session.api)
        assert (type(refused.value), refused.value.err_code) == (TopologyRefused, 10052)


async def test_limits_of_an_account(make_server: Make) -> None:
    server = make_server(config=SMALL)
    async with session_of(sign_in(server, "small")) as session:
        for err_code, call, advice in (
            (10113, S, "declare max_bytes"),
            (10047, creating(max_bytes=2**30), "or the account"),
        ):
            with pytest.raises(NotEnoughRoom, match=advice) as refused:
                await call(session.api)
            assert refused.value.err_code == err_code
        await creating(max_bytes=2**15)(session.api)
        with pytest.raises(NotEnoughRoom, match="maximum number of streams") as refused:
            await creating("T", max_bytes=2**15)(session.api)
        assert refused.value.err_code == 10027
        await reader()(session.api)
        with pytest.raises(NotEnoughRoom, match="maximum number of consumers") as refused:
            await reader("d")(session.api)
        assert refused.value.err_code == 10026


async def test_an_account_that_is_full_refuses_to_store(make_server: Make) -> None:
    async with session_of(sign_in(make_server(config=SMALL), "full")) as session:
        await S(session.api)
        codes = []
        for number in range(10):
            try:
                await session.publish("s.a", b"x" * 2000, stream="S", msg_id=str(number), timeout=5)
            except QueueFull as error:
                codes.append(error.err_code)
        assert set(codes) == {10002}
        assert 0 < len(codes) < 10


async def test_a_plan_warns_of_more_storage_than_the_account_has(make_server: Make) -> None:
    url = sign_in(make_server(config=SMALL), "small")
    async with AsyncSmithBus(url) as bus:
        (caution,) = (await bus.streams.plan("dev")).cautions
        assert caution.kind == "storage"
        assert caution.bytes is not None
        assert 2**29 < caution.bytes <= 2**30
        assert "raise the account's limit" in str(caution)


async def test_jetstream_is_off_for_the_account_or_the_server(make_server: Make) -> None:
    async with session_of(sign_in(make_server(config=SMALL), "none")) as session:
        with pytest.raises(JetStreamDisabled, match="enable it for the account") as refused:
            await session.api.account()
        assert refused.value.err_code == 10039
    async with session_of(make_server(jetstream=False).url) as session:
        with pytest.raises(JetStreamDisabled, match="-js"):
            await session.api.account()


@pytest.mark.parametrize(
    ("err_code", "kind", "config", "headers"),
    [
        (10077, QueueFull, {"max_msgs": 1, "discard": "new"}, {}),
        (10077, QueueFull, {"max_bytes": 200, "discard": "new"}, {}),
        (10077, QueueFull, {"max_msgs_per_subject": 1, "discard": "new", "discard_new_per_subject": True}, {}),
        (10054, PayloadTooLarge, {"max_msg_size": 100}, {}),
        (10060, WrongStream, {}, {"Nats-Expected-Stream": "OTHER"}),
        (10071, WrongSequence, {}, {"Nats-Expected-Last-Sequence": "77"}),
        (10071, WrongSequence, {}, {"Nats-Expected-Last-Subject-Sequence": "77"}),
        (10070, WrongSequence, {}, {"Nats-Expected-Last-Msg-Id": "other"}),
    ],
)
async def test_each_refusal_to_store_a_message(
    err_code: int, kind: type[JetStreamError], config: Json, headers: dict[str, str], account: Account
) -> None:
    async with session_of(account.url) as session:
        await creating(**config)(session.api)
        await session.publish("s.a", b"x" * 5, stream="S", msg_id="1", timeout=5)
        with pytest.raises(JetStreamError) as refused:
            await session.publish("s.a", b"x" * 150, stream="S", msg_id="2", headers=headers, timeout=5)
        assert type(refused.value) is kind
        assert (refused.value.err_code, refused.value.subject) == (err_code, "s.a")
        assert (await session.api.stream_info("S"))["state"]["messages"] == 1


async def test_a_publish_that_another_stream_stores_raises(account: Account) -> None:
    async with session_of(account.url) as session:
        await creating("OTHER", subjects=["smith.intents.raw.>"])(session.api)
        subject = str(subjects.intents.raw.of(read_intent()))
        with pytest.raises(WrongStream, match="OTHER"):
            await session.publish(subject, b"{}", stream="SDLC_RAW", msg_id="1", timeout=5)
