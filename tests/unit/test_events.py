"""Observers: who is notified, in which order, and what a request and its events cost."""

from __future__ import annotations

import gc
import logging

import pytest

from smith_sdk._core.events import Delivered, Events, Observer, Published, Settled
from smith_sdk._core.jetstream.publish_request import PubAck, PublishRequest

PUBLISHED = Published(subject="a", stream="S", msg_id="1", size=3, seconds=0.1)
DELIVERED = Delivered(stream="S", consumer="c", subject="a", seq=1, attempt=1)
SETTLED = Settled(stream="S", consumer="c", subject="a", seq=1, attempt=1, verdict="ack", seconds=0.1)


class Recorder(Observer):
    def __init__(self, name: str, seen: list[tuple[str, object]]) -> None:
        self.name = name
        self.seen = seen

    def on_published(self, event: Published) -> None:
        self.seen.append((self.name, event))

    def on_delivered(self, event: Delivered) -> None:
        self.seen.append((self.name, event))

    def on_settled(self, event: Settled) -> None:
        self.seen.append((self.name, event))

    def on_state(self, state: str, reason: str) -> None:
        self.seen.append((self.name, (state, reason)))


def report_all(events: Events) -> None:
    events.published(PUBLISHED)
    events.delivered(DELIVERED)
    events.settled(SETTLED)
    events.state("connected", "to a server")


def test_each_observer_receives_each_event_in_the_order_in_which_they_were_added() -> None:
    events, seen = Events(), list[tuple[str, object]]()
    events.add(Recorder("one", seen))
    events.add(Recorder("two", seen))
    report_all(events)
    assert seen == [
        (name, event) for event in (PUBLISHED, DELIVERED, SETTLED, ("connected", "to a server")) for name in ("one", "two")
    ]


def test_events_are_true_only_while_there_are_observers() -> None:
    events = Events()
    assert not events
    one, two = Observer(), Observer()
    events.add(one)
    events.add(two)
    events.remove(one)
    assert events
    events.remove(one)
    events.remove(two)
    assert not events


def test_an_observer_that_overrides_nothing_ignores_every_event() -> None:
    events = Events()
    events.add(Observer())
    report_all(events)


def test_an_observer_may_remove_itself_while_it_is_notified() -> None:
    events, seen = Events(), list[tuple[str, object]]()

    class Once(Recorder):
        def on_published(self, event: Published) -> None:
            super().on_published(event)
            events.remove(self)

    events.add(Once("once", seen))
    events.add(Recorder("always", seen))
    events.published(PUBLISHED)
    events.published(PUBLISHED)
    assert [name for name, _ in seen] == ["once", "always", "always"]


def test_what_an_observer_raises_is_logged_and_reaches_no_other(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Observer):
        def on_published(self, event: Published) -> None:
            raise RuntimeError("broken observer")

    class Stopping(Observer):
        def on_published(self, event: Published) -> None:
            raise KeyboardInterrupt

    events, seen = Events(), list[tuple[str, object]]()
    events.add(Broken())
    events.add(Recorder("other", seen))
    with caplog.at_level(logging.ERROR, logger="smith_sdk.events"):
        events.published(PUBLISHED)
    assert seen == [("other", PUBLISHED)]
    (record,) = caplog.records
    assert "Broken.on_published" in record.getMessage()
    assert record.exc_info is not None
    events.add(Stopping())
    with pytest.raises(KeyboardInterrupt):  # Ctrl-C is not an observer's mistake
        events.published(PUBLISHED)


def test_a_request_cannot_be_changed_and_is_not_visited_by_the_garbage_collector() -> None:
    request = PublishRequest("a", b"{}", "S", "1", {"k": "v"})
    with pytest.raises(AttributeError):
        request.timeout = 1.0  # type: ignore[misc]
    assert (request.timeout, request.retry) == (None, True)
    assert not gc.is_tracked(request)
    assert not gc.is_tracked(PubAck("S", 1))


def test_an_event_with_an_error_is_visited_by_the_garbage_collector() -> None:
    """The error's traceback may lead back to the event: untracked, such a circle is never freed."""
    error = RuntimeError()
    assert gc.is_tracked(Published(subject="a", stream="S", msg_id="1", size=3, seconds=0.1, error=error))
    assert gc.is_tracked(
        Settled(stream="S", consumer="c", subject="a", seq=1, attempt=1, verdict="retry", seconds=0.1, error=error)
    )
