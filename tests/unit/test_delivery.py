"""Ack subjects are read in each of their forms; the payloads that answer a delivery are what the
server reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk._core.jetstream import delivery
from smith_sdk._core.jetstream.delivery import Delivery

FIELDS = "S.c.3.17.21.1795891869226209413.5"
FACTS = Delivery(
    stream="S",
    consumer="c",
    num_delivered=3,
    stream_seq=17,
    consumer_seq=21,
    timestamp=1795891869226209413,
    num_pending=5,
)


@pytest.mark.parametrize(
    "subject",
    [
        f"$JS.ACK.{FIELDS}",
        f"$JS.ACK.hub.ACCOUNT.{FIELDS}",
        f"$JS.ACK._.ACCOUNT.{FIELDS}.token",
        f"$JS.ACK._.ACCOUNT.{FIELDS}.token.and.what.comes.later",
    ],
    ids=["9 tokens", "11 tokens", "12 tokens", "more"],
)
def test_every_form_of_an_ack_subject_has_the_same_facts(subject: str) -> None:
    assert subject.startswith(delivery.ACK_PREFIX)
    assert delivery.parse(subject) == FACTS
    assert delivery.num_delivered(subject) == FACTS.num_delivered
    assert delivery.place(subject) == ("S.17.1795891869226209413", 3)
    assert delivery.sequences(subject) == (17, 21, 1795891869226209413)


@pytest.mark.parametrize("subject", ["", "_INBOX.a.b", "$JS.ACK", "$JS.ACK.x", "$JS.ACK.S.c.1.2.3.4", f"$JS.NAK.{FIELDS}"])
def test_other_subjects_have_no_facts(subject: str) -> None:
    assert delivery.parse(subject) is None
    assert subject.startswith(delivery.ACK_PREFIX) or delivery.place(subject) is None


@pytest.mark.parametrize("head", ["$JS.ACK.", "$JS.ACK.hub.ACCOUNT."])
def test_the_consumer_of_an_ack_subject_is_recognised(head: str) -> None:
    subject = head + "SDLC_RAW.admission.3.17.21.1795891869226209413.5" + (".token" if "hub" in head else "")
    assert delivery.consumer_of(subject) == ("SDLC_RAW", "admission")
    assert delivery.consumer_of(subject.replace("ACK", "NAK")) is None


@pytest.mark.parametrize("subject", ["", "$JS.ACK", "$JS.ACK.SDLC_RAW.admission", "$JS.ACK.a.b.c.d.e", "smith.logs.errors.x"])
def test_other_subjects_are_acks_of_no_consumer(subject: str) -> None:
    assert delivery.consumer_of(subject) is None


def test_the_ack_subject_of_a_message_that_is_not_at_hand() -> None:
    found = delivery.parse(delivery.ack_subject("S", "c", 17))
    assert found is not None
    assert (found.stream, found.consumer, found.stream_seq) == ("S", "c", 17)


def test_a_nak_without_delay() -> None:
    assert delivery.nak() == b"-NAK"
    assert delivery.nak_delay(delivery.nak()) is None


@given(st.floats(0, 1e9))
def test_the_delay_of_a_nak_is_read_again(delay: float) -> None:
    assert delivery.nak_delay(delivery.nak(delay)) == pytest.approx(delay, rel=1e-12, abs=1e-9)


def test_a_delay_is_never_more_than_the_server_can_count() -> None:
    """It takes a number beyond an int64 of nanoseconds for no delay at all."""
    verdict, _, options = delivery.nak(1e12).partition(b" ")
    assert (verdict, json.loads(options)) == (b"-NAK", {"delay": 2**63 - 1})


@pytest.mark.parametrize("answer", [delivery.ACK, delivery.TERM, delivery.IN_PROGRESS, b"+TERM dead letter"])
def test_only_a_nak_has_a_delay(answer: bytes) -> None:
    assert delivery.nak_delay(answer) is None


def test_a_reason_to_terminate() -> None:
    assert delivery.term() == b"+TERM"
    assert delivery.term("dead letter: Reject") == b"+TERM dead letter: Reject"
    assert delivery.term("no \ud800 surrogate") == b"+TERM no \\ud800 surrogate"


@pytest.mark.parametrize("token", ["", "x", "-1", "1e9", "1.5", "+1", "1_0", "\u0661", "9" * 30, "9" * 5000, str(2**64)])
@pytest.mark.parametrize("place", range(4, 9))
def test_an_ack_subject_with_a_token_that_is_not_a_number_is_none(token: str, place: int) -> None:
    tokens = ["$JS", "ACK", "S", "c", "1", "2", "3", "4", "5"]
    tokens[place] = token
    assert delivery.parse(".".join(tokens)) is None


def test_ack_subjects_of_one_consumer_match_and_no_others() -> None:
    matches = delivery.ack_subjects("S", "c").fullmatch
    assert matches("$JS.ACK.S.c.1.2.3.1764377862987043123.5")
    assert matches("$JS.ACK.hub.hash.S.c.1.2.3.4.5")
    assert matches("$JS.ACK.hub.hash.S.c.1.2.3.4.5.token")
    others = (
        "",
        "_INBOX.x",
        "$JS.API.STREAM.DELETE.S",
        "$JS.ACK.S.other.1.2.3.4.5",
        "$JS.ACK.T.c.1.2.3.4.5",
        "$JS.ACK.S.c",
        "$JS.ACK.S.c.1.2.3.4",
        "$JS.ACK.S.c.1.2.3.4.x",
        "$JS.ACK.S.c.1.2.3.4.-5",
        "$JS.ACK.S.c.1.2.3.4." + "9" * 20,
        "$JS.ACK.S.c.1.2.3.4.5\n",
        "$JS.ACK.Sxc.1.2.3.4.5.6",
        "$JS.ACK.S.c.1.2.3.4.5.token",
        "$JS.ACK.S.c.1.2.3.4.5.x.y",
        "$JS.ACK.hub.S.c.1.2.3.4.5",
    )
    assert [one for one in others if matches(one)] == []


@given(st.lists(st.sampled_from(["hub", "S", "c", "1", "23", "x", "", "-1", "9" * 19]), max_size=14))
def test_what_ack_subjects_lets_pass_has_all_facts(tokens: list[str]) -> None:
    for subject in (".".join(["$JS.ACK", *tokens]), ".".join(["$JS.ACK.S.c.1.2.3.4.5", *tokens])):
        if delivery.ack_subjects("S", "c").fullmatch(subject):
            facts = delivery.parse(subject)
            assert facts is not None
            assert (facts.stream, facts.consumer) == ("S", "c")
            assert delivery.sequences(subject) == (facts.stream_seq, facts.consumer_seq, facts.timestamp)
            assert delivery.num_delivered(subject) == facts.num_delivered
            assert delivery.place(subject) == (f"S.{facts.stream_seq}.{facts.timestamp}", facts.num_delivered)
