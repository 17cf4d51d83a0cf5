"""A pin as its owner knows it: epochs, the lease by the clock, and what answers prove."""

from __future__ import annotations

import time

import pytest

from smith_sdk._core.jetstream.pin import Pin, boot_time
from smith_sdk._core.jetstream.priority_group import PIN_HEADER, PriorityGroup
from smith_sdk.errors import OptionsError


class Owner:
    """A pin with a timeout of 10 s on a clock that the test sets, and what it has reported."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reports: list[tuple[object, ...]] = []
        self.pin = Pin("g", timeout=10.0, clock=lambda: self.now)
        self.pin.on_epoch = lambda epoch: self.reports.append(("epoch", epoch, self.pin.id))
        self.pin.on_lost = lambda reason, was_valid: self.reports.append(("lost", was_valid))
        self.pin.keeper = self

    def renew_soon(self) -> None:
        self.reports.append(("renew",))

    def confirm_soon(self) -> None:
        self.reports.append(("confirm",))

    def dropped(self) -> None:
        self.reports.append(("drop",))

    def replaced(self) -> None:
        self.reports.append(("replaced",))

    def message(self, pinned: str = "A") -> bool:
        return self.pin.arrived({PIN_HEADER: pinned} if pinned else None)

    def renew(self, number: int, *, answered_after: float = 0.0) -> None:
        self.pin.renewing(number)
        self.now += answered_after
        self.pin.renewed(number, is_proof=True)


@pytest.fixture
def owner() -> Owner:
    return Owner()


def test_a_message_with_a_new_id_begins_an_epoch_before_it_is_handed_out(owner: Owner) -> None:
    assert owner.pin.request() == {"group": "g"}
    assert owner.message("A")
    assert owner.message("A")
    assert owner.reports == [("renew",), ("epoch", 1, "A")]
    assert owner.pin.request() == {"group": "g", "id": "A"}


def test_the_lease_begins_with_the_first_answered_renewal_and_counts_from_its_sending(owner: Owner) -> None:
    owner.message()
    assert not owner.pin.is_valid()
    owner.renew(1, answered_after=2.0)
    assert owner.pin.is_valid()
    owner.now += 6.99  # 8.99 s since it was sent
    assert owner.pin.is_valid()
    owner.now += 0.01
    assert not owner.pin.is_valid()


def test_an_earlier_renewal_that_is_answered_later_does_not_shorten_the_lease(owner: Owner) -> None:
    owner.message()
    owner.pin.renewing(1)
    owner.now += 3
    owner.renew(2)
    owner.pin.renewed(1, is_proof=True)
    owner.now += 8.9
    assert owner.pin.is_valid()


def test_an_answer_that_is_no_proof_has_to_be_confirmed_once(owner: Owner) -> None:
    owner.message()
    owner.pin.confirm()  # of nothing
    owner.pin.renewing(1)
    owner.pin.renewed(1, is_proof=False)
    assert not owner.pin.is_valid()
    assert owner.reports[2:] == [("confirm",)]
    owner.now += 5
    owner.pin.confirm()
    assert owner.pin.is_valid()
    owner.now += 3.9
    assert owner.pin.is_valid()
    owner.pin.renewing(2)
    owner.pin.renewed(2, is_proof=False)
    owner.now += 8.9
    assert owner.pin.is_valid()
    assert owner.reports[3:] == []


def test_a_renewal_that_was_never_sent_proves_nothing(owner: Owner) -> None:
    owner.message()
    owner.pin.renewed(7, is_proof=True)
    assert not owner.pin.is_valid()


def test_answers_that_lay_in_the_socket_do_not_revive_an_expired_lease(owner: Owner) -> None:
    owner.message()
    owner.renew(1)
    owner.pin.renewing(2)
    owner.now += 60  # the process was stopped
    owner.pin.renewed(2, is_proof=True)
    assert owner.reports[2:] == [("drop",), ("lost", False)]
    owner.renew(3)
    assert not owner.pin.is_valid()
    assert owner.pin.request() == {"group": "g", "id": "A"}  # it does not wait behind its own pin
    assert owner.message("A")
    assert owner.reports[4:] == [("renew",), ("epoch", 2, "A")]
    owner.renew(4)
    assert owner.pin.is_valid()


def test_an_epoch_that_is_never_proved_expires(owner: Owner) -> None:
    owner.message()
    owner.now += 8.9
    owner.pin.expire()
    assert owner.pin.is_held
    owner.now += 0.1
    owner.pin.expire()
    assert owner.reports[2:] == [("drop",), ("lost", False)]
    owner.pin.expire()
    assert len(owner.reports) == 4


def test_a_refusal_drops_the_id_and_messages_that_still_arrive_for_it(owner: Owner) -> None:
    owner.message("A")
    owner.renew(1)
    owner.pin.refused()
    assert owner.reports[2:] == [("drop",), ("lost", True)]
    assert owner.pin.request() == {"group": "g"}
    assert not owner.message("A")
    assert owner.message("B")
    assert not owner.message("A")
    assert owner.pin.id == "B"
    assert owner.reports[4:] == [("renew",), ("epoch", 2, "B")]


def test_an_answer_to_a_renewal_of_a_former_epoch_proves_nothing(owner: Owner) -> None:
    owner.message("A")
    owner.pin.renewing(1)
    owner.pin.lose("a leader change")
    owner.message("A")
    assert owner.pin.is_renewal(1)  # its answer is not one to a pull for messages
    owner.pin.renewed(1, is_proof=True)
    assert not owner.pin.is_valid()
    assert not owner.pin.is_renewal(1)


def test_another_id_without_a_refusal_is_a_loss_too(owner: Owner) -> None:
    owner.message("A")
    owner.renew(1)
    owner.message("B")
    assert owner.reports[2:] == [("drop",), ("lost", True), ("replaced",), ("renew",), ("epoch", 2, "B")]
    assert not owner.pin.is_valid()
    assert not owner.message("A")


def test_what_is_given_up_is_not_lost(owner: Owner) -> None:
    owner.message("A")
    owner.renew(1)
    owner.pin.released()
    assert owner.reports == [("renew",), ("epoch", 1, "A")]
    assert not owner.pin.is_valid()
    assert not owner.pin.is_held
    assert not owner.message("A")


def test_a_message_without_an_id_is_not_handed_out(owner: Owner) -> None:
    """The consumer does not pin its readers any more, so that others have it too."""
    owner.message("A")
    assert not owner.message("")
    assert owner.pin.id == "A"


def test_unanswered_renewals_are_not_collected(owner: Owner) -> None:
    owner.message()
    for number in range(1, 1000):
        owner.pin.renewing(number)
    assert len(owner.pin._sent) <= 16
    assert owner.pin.is_renewal(999)


def test_the_info_of_the_server_shows_the_pin(owner: Owner) -> None:
    shown = {"priority_groups": [{"group": "g", "pinned_client_id": "A"}]}
    assert not owner.pin.is_pinned_in(shown)
    owner.message("A")
    assert owner.pin.is_pinned_in(shown)
    for other in (
        {},
        {"priority_groups": None},
        {"priority_groups": [{"group": "g"}]},
        {"priority_groups": [{"group": "h", "pinned_client_id": "A"}]},
    ):
        assert not owner.pin.is_pinned_in(other)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "1", None])
def test_the_timeout_is_a_positive_number_of_seconds(timeout: float) -> None:
    with pytest.raises(OptionsError, match=r"Pin\.timeout"):
        Pin("g", timeout=timeout)


def test_the_clock_goes_on_and_is_that_of_all_processes() -> None:
    before = boot_time()
    assert before > 0
    assert boot_time() >= before
    before = time.monotonic()
    assert boot_time() >= before - 1  # with the time asleep, if anything


def test_a_plain_group_takes_over_whatever_id_arrives() -> None:
    group = PriorityGroup("g")
    assert group.arrived({PIN_HEADER: "A"})
    assert group.request() == {"group": "g", "id": "A"}
    assert group.arrived(None)
    assert group.request() == {"group": "g"}
