"""A consumer's count of its deliveries, by which another consumer with its name is noticed."""

from __future__ import annotations

from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.jetstream.pull_absence import DeliveryCount


def arrive(count: DeliveryCount, *numbers: int) -> None:
    """Messages with these numbers arrive, as the watch of a pull loop takes them."""
    for number in numbers:
        message = RawMessage("s", f"$JS.ACK.S.c.1.7.{number}.1700000000000000000.0", b"", None)
        count.first = count.first or message
        count.latest = message
        count.arrived += 1


def test_a_count_that_goes_up_is_no_news() -> None:
    count = DeliveryCount()
    assert not count.has_fallen()
    for numbers in ((1, 2, 3), (), (4,), (7, 9, 10)):  # other readers have what is missing
        arrive(count, *numbers)
        assert not count.has_fallen(), numbers
    count.heartbeat({"Nats-Last-Consumer": "12"})
    assert not count.has_fallen()
    for told in ("12", "13"):  # before the message, behind it
        arrive(count, int(told) + 1)
        count.heartbeat({"Nats-Last-Consumer": told})
        assert not count.has_fallen()


def test_a_lower_count_is_noticed_once() -> None:
    count = DeliveryCount()
    arrive(count, 5, 6)
    assert not count.has_fallen()
    arrive(count, 1, 2, 3, 4, 5, 6, 7, 8)
    assert count.has_fallen()
    arrive(count, 9)
    assert not count.has_fallen()


def test_two_consumers_in_one_round_are_noticed_by_the_number_of_messages() -> None:
    count = DeliveryCount()
    arrive(count, 1, 2, 3, 1, 2)
    assert count.has_fallen()


def test_a_heartbeat_tells_as_well() -> None:
    count = DeliveryCount()
    arrive(count, 1, 2, 3)
    assert not count.has_fallen()
    count.heartbeat({"Nats-Last-Consumer": "0"})
    assert count.has_fallen()
    count.heartbeat({"Nats-Last-Consumer": "1"})
    assert not count.has_fallen()


def test_a_heartbeat_of_another_release_tells_nothing() -> None:
    count = DeliveryCount()
    arrive(count, 1, 2, 3)
    assert not count.has_fallen()
    for headers in ({}, {"Nats-Last-Consumer": "x"}, {"Nats-Last-Consumer": "9" * 30}):
        count.heartbeat(headers)
        assert not count.has_fallen()
