"""Permissions and lost links: the call that is affected raises, at once, and no other."""

from __future__ import annotations

import asyncio
import os
import re
import time
import traceback
from functools import partial
from typing import Any

import pytest
from buses import Call, Face, health, log_entry, read_intent, request, state
from support import eventually_async

from smith_sdk import AsyncSmithBus, Auth, consumers, result_of, subjects
from smith_sdk._core.connection.connection import Connection
from smith_sdk.errors import AuthenticationError, BusClosed, ConnectionLost, PermissionDenied, ResultTimeout

raw = subjects.intents.raw


# ---- permissions


async def test_a_forbidden_subject_raises_in_the_call_that_uses_it(face: Face, make_server: Any) -> None:
    server = make_server(
        config='authorization { users: [ { user: "all", password: "x" }, { user: "some", password: "x", permissions: {'
        ' publish: { deny: ["smith.intents.raw.>", "$JS.API.CONSUMER.INFO.>"] }, subscribe: { deny: "smith.logs.>" } } } ] }'
    )
    async with AsyncSmithBus(server.url, auth=Auth(user="all", password="x")) as other:
        await other.streams.apply(profile="dev")
    async with face.bus(server.url, auth=Auth(user="some", password="x")) as bus:
        intent, event = read_intent(), health()
        calls: tuple[tuple[Call, str], ...] = (
            (lambda: bus.publish(raw.of(intent), intent), str(raw.of(intent))),
            (lambda: bus.consumer(consumers.admission).info(), "$JS.API.CONSUMER.INFO.SDLC_RAW.admission"),
            (lambda: anext(bus.subscribe(subjects.logs.errors.filter())), "smith.logs.errors.*"),
        )
        for call, subject in calls:
            began = time.monotonic()
            with pytest.raises(PermissionDenied, match=re.escape(subject)) as caught:
                await call()
            assert caught.value.subject == subject
            assert time.monotonic() - began < 4.5
        await bus.publish(subjects.events.health.of(event), event)  # the connection is still up
        assert state(bus) == "connected"


def has_another_link(connection: Connection, before: object) -> bool:
    return connection.link not in (None, before)


async def test_a_forbidden_inbox_raises_in_every_call_that_waits_for_a_reply(face: Face, make_server: Any) -> None:
    """The most common mistake in permissions: the error comes when the bus connects, and each
    later call would run into its timeout."""
    server = make_server(
        config='authorization { users: [ { user: "all", password: "x" }, { user: "some", password: "x", permissions: {'
        ' subscribe: { deny: "_INBOX.>" } } } ] }'
    )
    async with AsyncSmithBus(server.url, auth=Auth(user="all", password="x")) as other:
        await other.streams.apply(profile="dev")
    async with face.bus(server.url, auth=Auth(user="some", password="x")) as bus:
        inner = (bus if face.is_async else bus.inner._aio)._session
        intent, entry = read_intent(), log_entry()
        for _ in range(2):
            await eventually_async(lambda: None not in (inner.window._subscription.refusal, inner.requests._subscription.refusal))
            calls: tuple[Call, ...] = (
                lambda: bus.publish(raw.of(intent), intent),
                lambda: bus.execute(intent, timeout=20),
                lambda: bus.consumer(consumers.admission).info(),
                lambda: bus.consumer(consumers.admission).fetch(1, timeout=20),
                lambda: anext(bus.consumer(consumers.admission).messages()),
                lambda: bus.streams.plan(),
                lambda: bus.dead_letters.list(),
            )
            for call in calls:
                began = time.monotonic()
                with pytest.raises(
                    PermissionDenied, match=r"subscription to _INBOX\..*: allow its user to subscribe to _INBOX\.>"
                ) as caught:
                    await call()
                assert caught.value.subject.startswith("_INBOX.")
                assert time.monotonic() - began < 4.5
            # core NATS needs no inbox
            async with bus.subscribe(subjects.logs.errors.filter()) as messages:
                await bus.emit(subjects.logs.errors.of(entry), entry)
                assert (await anext(messages)).payload == entry
            assert state(bus) == "connected"
            before = inner.connection.link
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await eventually_async(partial(has_another_link, inner.connection, before))
    async with AsyncSmithBus(server.url, auth=Auth(user="all", password="x")) as other:
        assert [one.messages for one in await other.streams.info() if one.name == "SDLC_RAW"] == [0]


async def test_a_result_that_may_not_be_requested_is_still_received_and_its_absence_explained(
    face: Face, make_server: Any
) -> None:
    """After a duplicate publish the stream is asked for the result; the timeout blamed the
    executor alone."""
    server = make_server(
        config='authorization { users: [ { user: "all", password: "x" }, { user: "some", password: "x", permissions: {'
        ' publish: { deny: "$JS.API.STREAM.MSG.GET.>" } } } ] }'
    )
    async with (
        AsyncSmithBus(server.url, auth=Auth(user="all", password="x")) as other,
        face.bus(server.url, auth=Auth(user="some", password="x")) as bus,
    ):
        await other.streams.apply(profile="dev")
        intent = read_intent()
        await other.publish(raw.of(intent), intent)

        async def explained() -> bool:  # unless the server has taken the whole time for the publish alone
            with pytest.raises(ResultTimeout) as caught:
                await bus.execute(intent, timeout=0.5)
            why = r"could not be asked: .*forbid publishing to \$JS\.API\.STREAM\.MSG\.GET\.ATOMS_RESULTS"
            assert re.search(why, str(caught.value)), str(caught.value)
            return True

        await eventually_async(explained)
        executing = asyncio.ensure_future(bus.execute(intent, timeout=20))
        result = result_of(intent, output={"n": 1})

        async def heard() -> bool:
            await other.publish(subjects.results.of(result), result, msg_id=os.urandom(8).hex())
            return bool(executing.done())

        await eventually_async(heard, interval=0.1)
        assert executing.result().output == {"n": 1}


# ---- links and connections that end


async def test_a_request_that_the_link_takes_along_is_named(make_server: Any) -> None:
    server = make_server(jetstream=False)
    async with AsyncSmithBus(server.url) as bus:
        where = bus._connection.new_inbox()
        await bus._connection.subscribe(where, lambda _: None)
        asking = asyncio.ensure_future(bus._session.requests.request(where, timeout=20))
        await request(bus)
        await asyncio.to_thread(server.kill)
        with pytest.raises(ConnectionLost, match=f"before {re.escape(where)} was answered; it may have been carried out"):
            await asyncio.wait_for(asking, 20)


async def test_each_call_raises_an_exception_of_its_own(face: Face, make_server: Any) -> None:
    """One exception that is raised for every call keeps the frames of all, and what their
    variables hold."""
    server = make_server(config='authorization { user: "me", password: "right-one" }')
    bus = face.bus(server.url, auth=Auth(user="me", password="wrong-one"), connect_mode="wait")
    await bus.connect()
    await eventually_async(lambda: state(bus) == "closed")
    intent, entry = read_intent(), log_entry()
    calls: tuple[Call, ...] = (
        lambda: bus.publish(raw.of(intent), intent),
        lambda: bus.emit(subjects.logs.errors.of(entry), entry),
        lambda: bus.consumer(consumers.admission).info(),
        lambda: anext(bus.subscribe(subjects.logs.errors.filter())),
    )
    for call in calls:
        told: list[AuthenticationError] = []
        for _ in range(4):
            with pytest.raises(AuthenticationError) as caught:
                await call()
            told.append(caught.value)
        assert len(set(map(id, told))) == 4
        # The first publish to a stream also makes its circuit, in a frame of its own.
        assert len({len(list(traceback.walk_tb(one.__traceback__))) for one in told[1:]}) == 1
        assert {one.url for one in told} == {server.url}
    await bus.close()


async def test_each_waiter_has_an_exception_of_its_own_when_the_connection_ends(make_server: Any) -> None:
    async with AsyncSmithBus(make_server().url) as bus:
        inboxes = [bus._connection.new_inbox() for _ in range(2)]
        for one in inboxes:
            await bus._connection.subscribe(one, lambda _: None)
        asking = [asyncio.ensure_future(bus._session.requests.request(one, timeout=20)) for one in inboxes]
        await request(bus)
        bus._connection._status.notify(lambda listener: listener.on_close(BusClosed("over")))
        first, second = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(first, BusClosed)
        assert isinstance(second, BusClosed)
        assert first is not second
