"""What actions of back pressure do: each begins, is renewed, and ends, as often as that fails."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from typing import Any, Final, Protocol

from .._core.events import RuleChanged
from .._core.execution.thread_pool import run_in_thread
from .._core.jetstream.api import NANOS
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.control import KEY_TTL, RENEWAL, Switch, switch_key
from .._core.monitoring.held_consumers import Hold
from .._core.monitoring.rule_claims import RuleClaims
from ..contract import ConsumerSpec
from ..errors import DeadlineExceeded, OptionsError, PermissionDenied
from .pressure_release import Releasing
from .pressure_rules import Call, HoldConsumer, QuarantineNewIntents, ReleaseQuarantined, Rule, SlowDown
from .shard_work import ShardWork
from .sharded_worker import ShardedWorker
from .slots import Slots
from .worker import Worker

log: Final = sdk_logger("backpressure")

_LONGEST: Final = 10.0
"""Seconds that one attempt may take. A function in a thread goes on after that."""
_FORBIDDEN_PAUSE: Final = 60.0
"""Seconds until what is forbidden is tried again: each refusal is an error in the log."""
_ADMISSION: Final = "admission"


class Effect(Protocol):
    """One action of one rule. `begin` may be repeated, and so may `end`."""

    text: str
    shared: bool
    """Whether it is for all processes, so that only the owner of the rule does it."""
    renewed: bool
    """Whether it ends by itself unless `begin` is repeated."""

    async def begin(self, event: RuleChanged) -> None: ...

    async def end(self, event: RuleChanged) -> None: ...


class _Quarantine:
    shared = renewed = True

    def __init__(self, claims: RuleClaims, owner: str, text: str) -> None:
        self._bucket = claims.bucket
        self._owner = owner
        self.text = text

    async def begin(self, event: RuleChanged) -> None:
        since = event.since.astimezone(UTC).isoformat().replace("+00:00", "Z")
        switch = Switch(rule=event.rule, reason=event.reason, since=since, owner=self._owner)
        await self._bucket.put(switch_key(event.rule), switch.encode(), ttl=KEY_TTL)

    async def end(self, event: RuleChanged) -> None:
        await self._bucket.delete(switch_key(event.rule))


class _Held:
    shared = renewed = True

    def __init__(self, claims: RuleClaims, spec: ConsumerSpec[Any, Any], hold: Hold, text: str) -> None:
        self._held = claims.held
        self._spec = spec
        self._hold = hold
        self.text = text

    async def begin(self, event: RuleChanged) -> None:
        await self._held.hold(self._spec.stream, self._spec.name, event.rule, self._hold)

    async def end(self, event: RuleChanged) -> None:
        await self._held.release(self._spec.stream, self._spec.name, event.rule)


class _Slowed:
    shared = renewed = False

    def __init__(self, slots: Slots | ShardWork, concurrency: int | None, prefetch: int | None, text: str) -> None:
        self._slots = slots
        self._figures = (concurrency, prefetch)
        self.text = text

    async def begin(self, event: RuleChanged) -> None:
        await self._slots.slow_down(self, *self._figures)

    async def end(self, event: RuleChanged) -> None:
        await self._slots.speed_up(self)


class _Called:
    shared = renewed = False

    def __init__(self, function: Callable[[RuleChanged], Any], text: str) -> None:
        self._function = function
        self._event: RuleChanged | None = None
        self._running: asyncio.Future[Any] | None = None
        """The call about `_event`, until its end is known. A thread outlasts every limit."""
        self.text = text

    async def begin(self, event: RuleChanged) -> None:
        if inspect.iscoroutinefunction(self._function):
            await self._function(event)
            return
        if self._running is not None and event != self._event:
            await asyncio.wait((self._running,))
            self._running = None
        if self._running is None:
            self._event = event
            self._running = asyncio.ensure_future(run_in_thread(contextvars.copy_context().run, self._function, event))
        await asyncio.wait((self._running,))
        ended, self._running = self._running, None
        found = ended.result()
        if inspect.isawaitable(found):
            await found

    end = begin


# ---- from a rule


def effects(rule: Rule, session: Session, claims: RuleClaims, owner: str, bus: object, *, blocking: bool) -> Iterator[Effect]:
    """What `rule` does on `bus`. Raises `OptionsError` for what the bus cannot do."""
    held: dict[str, tuple[ConsumerSpec[Any, Any], list[HoldConsumer]]] = {}
    for action in rule.do:
        match action:
            case QuarantineNewIntents():
                if not any(one.name == _ADMISSION for one in session.contract.consumers):
                    raise OptionsError(
                        f"rule {rule.name}: quarantine_new_intents: contract {session.contract.name!r} has no consumer "
                        f"{_ADMISSION}, which would do so"
                    )
                yield _Quarantine(claims, owner, action.text)
            case ReleaseQuarantined(rate):
                yield Releasing(session, rate, action.text)
            case HoldConsumer():
                spec = _declared(rule, session, action)
                if action.ack_wait is not None and action.ack_wait < spec.ack_wait:
                    raise OptionsError(
                        f"rule {rule.name}: limit(ack_wait)={action.ack_wait:g}: must be at least the {spec.ack_wait:g} s that the "
                        f"contract declares for {spec.name}, since that is what workers renew"
                    )
                held.setdefault(spec.name, (spec, []))[1].append(action)
            case SlowDown():
                yield _slowed(rule, action, bus)
            case Call():
                if blocking and inspect.iscoroutinefunction(action.function):
                    raise OptionsError(f"rule {rule.name}: {action.text}: must be a plain function on the blocking face")
                yield _Called(action.function, action.text)
    for spec, actions in held.values():
        yield _Held(claims, spec, _joined(rule, actions), ", ".join(one.text for one in actions))


def _declared(rule: Rule, session: Session, action: HoldConsumer) -> ConsumerSpec[Any, Any]:
    for spec in session.contract.consumers:
        if action.consumer in (spec.name, spec):
            return spec
    names = ", ".join(spec.name for spec in session.contract.consumers) or "none"
    option = "pause(consumer)" if action.pause else "limit(consumer)"
    raise OptionsError(
        f"rule {rule.name}: {option}={action.name!r}: is not declared in contract {session.contract.name!r}, which has {names}"
    )


def _joined(rule: Rule, actions: Sequence[HoldConsumer]) -> Hold:
    """The actions of one rule on one consumer, which share its key."""
    found: dict[str, Any] = {}
    for action in actions:
        given = {
            "max_ack_pending": action.max_ack_pending,
            "ack_wait": None if action.ack_wait is None else round(action.ack_wait * NANOS),
            "pause": action.pause or None,
        }
        for name, value in given.items():
            if value is not None:
                if name in found:
                    raise OptionsError(f"rule {rule.name}: two actions are about {name} of consumer {action.name}")
                found[name] = value
    return Hold(**found)


def _slowed(rule: Rule, action: SlowDown, bus: object) -> Effect:
    worker = getattr(action.worker, "_aio", action.worker)  # one of the blocking face is a shell around that
    if not isinstance(worker, (Worker, ShardedWorker)):
        raise OptionsError(f"rule {rule.name}: slow_down(worker)={action.worker!r}: must be a Worker or a ShardedWorker")
    if worker._bus is not bus:
        raise OptionsError(f"rule {rule.name}: slow_down(worker): {worker.name} is of another bus, or of the other face")
    slots = worker._work if isinstance(worker, ShardedWorker) else worker._slots
    most = slots.max_concurrency
    if action.concurrency is not None and action.concurrency > most:
        raise OptionsError(
            f"rule {rule.name}: slow_down(concurrency)={action.concurrency}: {worker.name} has {most}, and is not sped up"
        )
    return _Slowed(slots, action.concurrency, action.prefetch, action.text)


# ---- until it has happened


class EffectState:
    """Brings an effect to where it is wanted: again and again where that fails."""

    def __init__(self, effect: Effect, rule: str) -> None:
        self.effect = effect
        self._rule = rule
        self._wanted = False
        self._done = True
        """Whether all that is wanted has been done, but for renewals."""
        self._touched = False
        """Whether something is to be undone."""
        self._event: RuleChanged | None = None
        self._due = 0.0
        self._failure = ""
        self._not_before = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is to be undone, and nothing is in progress."""
        return not self._touched and self._task is None

    def want(self, event: RuleChanged, *, on: bool) -> None:
        """Have it begin, or end, at the next `go`."""
        if on != self._wanted:
            self._wanted, self._done, self._event = on, False, event

    def forget(self) -> None:
        """Neither do nor undo anything more: another process does."""
        self._wanted, self._done, self._touched = False, True, False
        if self._task is not None:
            self._task.cancel()

    def go(self, now: float) -> None:
        """Do what is to be done at `now`, in a task, unless one is running."""
        if self._task is not None or now < self._not_before:
            return
        renew = self._wanted and self._done and self.effect.renewed and now >= self._due
        if not self._wanted and not self._touched:
            self._done = True
        if not self._done or renew:
            self._due = now + RENEWAL
            self._task = asyncio.ensure_future(self._act(self._wanted))

    async def finish(self, now: float) -> None:
        """After what is in progress, do what is to be done at `now`, once."""
        await self._wait()
        self.go(now)
        await self._wait()

    async def _wait(self) -> None:
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _act(self, on: bool) -> None:
        event, effect = self._event, self.effect
        assert event is not None
        self._touched = True
        try:
            async with asyncio.timeout(_LONGEST):
                await (effect.begin if on else effect.end)(event)
        except Exception as error:
            late = isinstance(error, TimeoutError) and not isinstance(error, DeadlineExceeded)
            self._done = False
            if isinstance(error, PermissionDenied):
                self._not_before = asyncio.get_running_loop().time() + _FORBIDDEN_PAUSE
            self._report(error, f"not done within {_LONGEST:g} s" if late else str(error), on)
        else:
            if self._failure:
                self._failure = ""
                log.warning("rule %s: %s %s at last", self._rule, effect.text, "done" if on else "undone", extra=self._fields())
            self._touched = on
            if on == self._wanted:
                self._done = True
        finally:
            self._task = None

    def _report(self, error: Exception, text: str, on: bool) -> None:
        doing = f"to {self.effect.text}" if on else f"to undo: {self.effect.text}"
        what = f"{doing} failed, and is tried again: {type(error).__name__}: {text}"
        if what == self._failure:  # it is tried again and again
            return
        self._failure = what
        log.error(
            "rule %s: %s",
            self._rule,
            what,
            exc_info=error if isinstance(self.effect, _Called) else None,
            extra=self._fields(type(error).__name__),
        )

    def _fields(self, error_type: str = "") -> LogFields:
        fields = LogFields(rule=self._rule)
        if error_type:
            fields["error_type"] = error_type
        return fields
