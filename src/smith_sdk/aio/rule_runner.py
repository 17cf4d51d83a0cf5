"""One rule of back pressure in one process: whether it holds, who owns it, and its effects."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from .._core.events import Events, RuleChanged
from .._core.jetstream.kv import Entry
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.rule_claims import LEASE, Claim, RuleClaims
from .._core.monitoring.rules import Measure, RuleState
from .pressure_effects import Effect, EffectState
from .pressure_rules import Rule

log: Final = sdk_logger("backpressure")

_RENEWAL: Final = LEASE / 3
"""Seconds between two renewals of a claim."""

Found = Mapping[str, tuple[Entry, Claim]]
"""The claims that exist, by rule."""


class RuleRunner:
    """Steps through time: `step` after each look at the measures and at the claims.

    Of the processes that run the rule, the one that has claimed it owns it: by its measures the
    rule begins and ends, and it does what is for all. The others follow, each with its own workers.
    """

    def __init__(
        self, rule: Rule, state: RuleState, effects: Sequence[Effect], claims: RuleClaims, events: Events, owner: str
    ) -> None:
        self.rule = rule
        self._state = state
        self._effects = [EffectState(one, rule.name) for one in effects]
        self._actions = tuple(effect.text for effect in effects)
        self._claims = claims
        self._events = events
        self._owner = owner
        self._claim: Claim | None = None
        """That of this process: from before anything is done for all until after it is undone."""
        self._revision = 0
        self._renewed_at = 0.0
        self.active: RuleChanged | None = None
        """What began the rule in this process; None while it does not hold here."""
        self._began_at = 0.0

    @property
    def is_owner(self) -> bool:
        return self._claim is not None

    @property
    def is_idle(self) -> bool:
        """Whether the rule does not hold here, and nothing that is for all is left to be undone."""
        return self.active is None and self._claim is None and self._is_undone

    @property
    def _is_undone(self) -> bool:
        """Whether nothing that is for all is left to be undone. What is for this process alone may
        go on without a claim: others would follow a rule that has ended here."""
        return all(one.is_settled for one in self._effects if one.effect.shared)

    async def step(self, values: Mapping[Measure, float], found: Found, now: float) -> None:
        """Decide, and have the effects follow.

        Raises what the bucket raises. Then nothing has changed, and the next step decides again.
        """
        wanted = self._state.step(values, now)
        entry, claim = found.get(self.rule.name, (None, None))
        if entry is None or claim is None:
            await self._without_claim(wanted, now)
        elif claim.owner == self._owner:
            await self._own(claim, entry.revision, wanted, now)
        else:
            self._follow(claim, now)
        self._go(now)

    def _go(self, now: float) -> None:
        for effect in self._effects:
            effect.go(now)

    # ---- who owns it

    async def _without_claim(self, wanted: bool, now: float) -> None:
        if self.active is None:
            self._claim = None  # if it was ending, that goes on
            if wanted:
                await self._create(now)
        elif await self._claims.was_dropped(self.rule.name):
            self._claim = None
            self._state.end()
            self._end("another process or a person has ended it", now)
        elif self._state.holds or wanted:  # its owner has died, or could not renew it
            await self._create(now)
        else:
            self._claim = None
            self._end(self._state.reason, now)

    async def _create(self, now: float) -> None:
        since = datetime.now(UTC) if self.active is None else self.active.since
        claim = Claim(rule=self.rule.name, reason=self._state.reason, since=since, owner=self._owner, actions=self._actions)
        revision = await self._claims.create(claim)
        if revision is not None:  # otherwise another process was faster: the next step follows it
            self._renewed_at = now
            self._take(claim, revision, now)

    async def _own(self, claim: Claim, revision: int, wanted: bool, now: float) -> None:
        if self._claim is None:  # the answer to its creation was lost
            self._take(claim, revision, now)
        self._revision = revision
        if wanted and self.active is None:  # again, while it was ending
            self._begin(self._state.reason, datetime.now(UTC), now)
        elif not wanted and self.active is not None:
            self._end(self._state.reason, now)
        if not wanted and self._is_undone:
            await self._claims.drop(self.rule.name, self._revision)
            self._claim = None
        elif now - self._renewed_at >= _RENEWAL:
            await self._claims.renew(claim, self._revision)
            self._renewed_at = now

    def _take(self, claim: Claim, revision: int, now: float) -> None:
        self._claim, self._revision = claim, revision
        if self.active is None:
            self._begin(claim.reason, claim.since, now)
        else:
            for one in self._effects:
                one.want(self.active, on=True)

    def _follow(self, claim: Claim, now: float) -> None:
        if self._claim is not None:  # it could not be renewed in time, and what is for all is the other's now
            self._claim = None
            for one in self._effects:
                if one.effect.shared:
                    one.forget()
        if not self._state.active:
            self._state.begin(now)
        if self.active is None:
            self._begin(claim.reason, claim.since, now)

    # ---- the transitions

    def _begin(self, reason: str, since: datetime, now: float) -> None:
        is_owner = self._claim is not None
        self._began_at = now
        self.active = RuleChanged(rule=self.rule.name, active=True, reason=reason, since=since, is_owner=is_owner)
        who = "" if is_owner else " (by the word of the process that owns it)"
        log.warning("rule %s holds%s: %s: %s", self.rule.name, who, reason, "; ".join(self._actions), extra=self._fields)
        for one in self._effects:
            if is_owner or not one.effect.shared:
                one.want(self.active, on=True)
        self._events.backpressure(self.active)

    def _end(self, reason: str, now: float) -> None:
        began, self.active = self.active, None
        assert began is not None
        event = RuleChanged(rule=self.rule.name, active=False, reason=reason, since=began.since, is_owner=self._claim is not None)
        log.warning("rule %s has ended after %.0f s: %s", self.rule.name, now - self._began_at, reason, extra=self._fields)
        for one in self._effects:
            one.want(event, on=False)
        self._events.backpressure(event)

    @property
    def _fields(self) -> LogFields:
        return LogFields(rule=self.rule.name)

    # ---- the end of the process's part

    async def stop(self, now: float) -> None:
        """Undo everything, once. What fails is left to the next process that runs the rule."""
        if self.active is not None:
            self._end("the back pressure of this process stops", now)
        # Each by itself: a function that hangs, or fails, holds up nothing that is for all.
        alone = (effect.finish(now) for effect in self._effects if not effect.effect.shared)
        await asyncio.gather(self._stop_for_all(now), *alone)

    async def _stop_for_all(self, now: float) -> None:
        await asyncio.gather(*(effect.finish(now) for effect in self._effects if effect.effect.shared))
        if self._claim is not None and self._is_undone:
            await self._claims.drop(self.rule.name, self._revision)
            self._claim = None
