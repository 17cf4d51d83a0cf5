"""At most one reader of a pinned consumer has a valid lease, whatever is late, lost or stopped.

A model of the server, and readers whose messages, renewals and looks at the consumer arrive as late
as hypothesis wants. One thing is left out: a change of leader, or an operator, takes the pin from
an owner at work, which the lease cannot know. The barrier of ordered work is made for that.
"""

from __future__ import annotations

from collections import deque
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from smith_sdk._core.jetstream.pin import Pin
from smith_sdk._core.jetstream.priority_group import PIN_HEADER

TIMEOUT = 10.0
READERS = st.integers(0, 2)


class Server:
    """Of a consumer with a pin: nats-server 2.15."""

    def __init__(self) -> None:
        self.pinned = ""
        self.until = 0.0
        self._ids = count(1)

    def lapse(self, now: float) -> None:
        if self.pinned and now >= self.until:
            self.pinned = ""

    def assign(self, now: float) -> str:
        self.pinned, self.until = f"id{next(self._ids)}", now + TIMEOUT
        return self.pinned

    def renew(self, pinned: str, now: float, *, is_pending: bool) -> str:
        """What it answers to a renewal."""
        if self.pinned == pinned:
            self.until = now + TIMEOUT
            return "409" if is_pending else "408"
        return "423" if self.pinned or is_pending else "408"


class Member:
    """A reader: its pin, and what is on its way to the server and back."""

    def __init__(self, machine: Pins) -> None:
        self.pin = Pin("g", timeout=TIMEOUT, clock=lambda: machine.now)
        self.pin.keeper = self
        self.pulls = count(1)
        self.sent: deque[tuple[str, int, str]] = deque()
        """To the server: what, its number, and the id."""
        self.arriving: deque[tuple[str, int, str]] = deque()
        """From it: what, the number of the renewal or of the epoch, and the id."""

    def renew_soon(self) -> None:
        number = next(self.pulls)
        self.pin.renewing(number)
        self.sent.append(("renewal", number, self.pin.id))

    def confirm_soon(self) -> None:
        self.sent.append(("look", self.pin.epoch, ""))

    def dropped(self) -> None:
        pass

    def replaced(self) -> None:
        pass

    def read_all(self) -> None:
        while self.arriving:
            self.read()

    def read(self) -> None:
        what, number, pinned = self.arriving.popleft()
        match what:
            case "message":
                self.pin.arrived({PIN_HEADER: pinned})
            case "408" | "409":
                self.pin.renewed(number, is_proof=what == "409")
            case "423" if pinned == self.pin.id:  # one of a void pull is not looked at
                self.pin.refused()
            case "info" if number == self.pin.epoch and self.pin.is_held:
                if self.pin.is_pinned_in({"priority_groups": [{"group": "g", "pinned_client_id": pinned}]}):
                    self.pin.confirm()
                else:
                    self.pin.refused()


class Pins(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.server = Server()
        self.members = [Member(self) for _ in range(3)]

    @rule(seconds=st.sampled_from([0.5, 3.0, 6.0, 8.9, 9.5, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.server.lapse(self.now)

    @rule(which=READERS, is_read=st.booleans())
    def the_server_delivers(self, which: int, is_read: bool) -> None:
        """To the reader that it has pinned; if there is none, to one that pulls without an id."""
        member, server = self.members[which], self.server
        if server.pinned:
            member = next((one for one in self.members if one.pin.id == server.pinned), member)
        if not server.pinned and not member.pin.id:
            member.arriving.append(("message", 0, server.assign(self.now)))
        elif server.pinned and server.pinned == member.pin.id:
            member.arriving.append(("message", 0, server.pinned))
        if is_read:
            member.read_all()

    @rule(which=READERS, is_pending=st.booleans(), is_served=st.booleans(), is_read=st.booleans())
    def a_reader_renews(self, which: int, is_pending: bool, is_served: bool, is_read: bool) -> None:
        """With as much of what follows as has happened yet."""
        member = self.members[which]
        member.pin.expire()
        if member.pin.id:
            member.renew_soon()
        if is_served:
            self._serve(member, is_pending=is_pending)
        if is_read:
            member.read_all()

    @precondition(lambda self: any(member.sent for member in self.members))
    @rule(which=READERS, is_pending=st.booleans())
    def the_server_reads(self, which: int, is_pending: bool) -> None:
        self._serve(self._one(which, [one for one in self.members if one.sent]), is_pending=is_pending)

    @precondition(lambda self: any(member.arriving for member in self.members))
    @rule(which=READERS, all_of_it=st.booleans())
    def a_reader_reads(self, which: int, all_of_it: bool) -> None:
        member = self._one(which, [one for one in self.members if one.arriving])
        member.read()
        if all_of_it:
            member.read_all()

    @precondition(lambda self: any(member.sent for member in self.members))
    @rule(which=READERS)
    def what_is_on_its_way_is_lost(self, which: int) -> None:
        self.members[which].sent.clear()

    @precondition(lambda self: any(member.pin.is_valid() for member in self.members))
    @rule()
    def the_owner_leaves(self) -> None:
        owner = next(member for member in self.members if member.pin.is_valid())
        self.server.pinned = ""
        owner.pin.released()

    def _one(self, which: int, members: list[Member]) -> Member:
        return members[which % len(members)]

    def _serve(self, member: Member, *, is_pending: bool) -> None:
        """Have the server read all that the member has sent, and answer it."""
        while member.sent:
            what, number, pinned = member.sent.popleft()
            if what == "renewal":
                member.arriving.append((self.server.renew(pinned, self.now, is_pending=is_pending), number, pinned))
            else:
                member.arriving.append(("info", number, self.server.pinned))

    @invariant()
    def a_valid_lease_is_that_of_the_pinned_reader(self) -> None:
        valid = [member.pin.id for member in self.members if member.pin.is_valid()]
        assert valid in ([], [self.server.pinned])


Pins.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPins = Pins.TestCase
