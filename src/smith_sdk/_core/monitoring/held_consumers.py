"""Consumers that rules limit or pause, and what they were like before.

A key `held.<stream>.<consumer>` has both. It has no TTL and is written before anything changes, so
that what a process has changed can be undone after its end, by whoever finds the key. Rules that
hold the same consumer share it: the strictest counts, and the last to release brings back what was
there before the first.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, timedelta
from typing import Any, Final, Literal

import msgspec

from ...errors import ConsumerNotFound, StreamNotFound
from ..jetstream.api import NEVER, JetStreamApi, parse_time
from ..jetstream.kv import Bucket, Entry
from ..log_records import LogFields, sdk_logger
from .control import KEY_TTL

log: Final = sdk_logger("backpressure")

Json = dict[str, Any]
Limit = Literal["max_ack_pending", "ack_wait"]

_PREFIX: Final = "held"
HELD: Final = f"{_PREFIX}.*.*"
"""The pattern of the keys."""
_LIMITS: Final[tuple[Limit, ...]] = ("max_ack_pending", "ack_wait")
"""What can be limited, by its name in a consumer's config."""


class Hold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one rule wants of a consumer. None leaves a value as it is."""

    max_ack_pending: int | None = None
    """Messages. It lowers what is there, and never raises it."""
    ack_wait: int | None = None
    """Nanoseconds."""
    pause: bool = False

    def wants(self, name: Limit) -> int | None:
        found: int | None = getattr(self, name)
        return found


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a key: what each rule wants, and the values that were there before."""

    rules: dict[str, Hold] = {}
    before: dict[Limit, int] = {}
    ours: dict[Limit, list[int]] = {}
    """The values that rules have wanted since the first one, those that have ended included: of two
    that end at once, one may write what the other has just undone, before it looks again."""

    @property
    def pause(self) -> bool:
        return any(hold.pause for hold in self.rules.values())

    def wishes(self, name: Limit) -> list[int]:
        return [value for hold in self.rules.values() if (value := hold.wants(name)) is not None]

    def is_ours(self, name: Limit, value: int) -> bool:
        """Whether a consumer can have that value although only rules have changed it since."""
        return value in (self.before.get(name), *self.ours.get(name, ()))

    def wanted(self) -> dict[Limit, int]:
        """The values that its rules want together, and those of before where no rule wants any."""
        wanted = dict(self.before)
        for name, before in self.before.items():
            wishes = self.wishes(name)
            if name == "max_ack_pending":
                wanted[name] = min([*wishes, before] if before > 0 else wishes or [before])
            elif wishes:
                wanted[name] = max(wishes)
        return wanted

    def with_hold(self, rule: str, hold: Hold, config: Json) -> Held:
        """The same held by `rule` as well. What somebody else has set since counts as before."""
        rules, before, ours = {**self.rules, rule: hold}, dict(self.before), dict(self.ours)
        for name in _LIMITS:
            wish, value = hold.wants(name), config.get(name, 0)  # 0 is the server's default
            if (wish is not None or name in before) and (name not in before or not self.is_ours(name, value)):
                before[name] = value
            if wish is not None:
                ours[name] = sorted({*ours.get(name, ()), wish})
        return Held(rules=rules, before=before, ours=ours)

    def without(self, rule: str) -> Held:
        rules = {name: hold for name, hold in self.rules.items() if name != rule}
        return msgspec.structs.replace(self, rules=rules)


class HeldConsumers:
    """Holds and releases consumers for rules. Each call may be repeated until it succeeds.

    Each raises what the JetStream API and publishing raise.
    """

    def __init__(self, bucket: Bucket, api: JetStreamApi) -> None:
        self._bucket = bucket
        self._api = api

    async def hold(self, stream: str, consumer: str, rule: str, hold: Hold) -> None:
        """Have `rule` hold the consumer. Repeated, it renews a pause, which ends by itself."""
        key = f"{_PREFIX}.{stream}.{consumer}"
        while True:
            entry = await self._bucket.get(key)
            held = _read(entry)
            info = await self._api.consumer_info(stream, consumer)
            new = held.with_hold(rule, hold, info["config"])
            if new != held and not await self._store(key, entry, new):
                continue
            await self._configure(stream, info["config"], new.wanted())
            if new.pause:
                await self._pause(stream, consumer, info)
            return

    async def release(self, stream: str, consumer: str, rule: str) -> None:
        """Have `rule` hold the consumer no more; the last one brings back what was before."""
        key = f"{_PREFIX}.{stream}.{consumer}"
        while True:
            entry = await self._bucket.get(key)
            held = _read(entry)
            if entry is None or rule not in held.rules:
                return
            rest = held.without(rule)
            with contextlib.suppress(ConsumerNotFound, StreamNotFound):  # deleted since
                await self._give_back(stream, consumer, held, rest)
            if rest.rules:
                done = await self._store(key, entry, rest)
            else:
                done = await self._bucket.delete(key, revision=entry.revision)
            if done:
                return

    async def of(self, stream: str, consumer: str) -> Held:
        """What rules want of one consumer."""
        return _read(await self._bucket.get(f"{_PREFIX}.{stream}.{consumer}"))

    async def all(self) -> list[tuple[str, str, Held]]:
        """Every consumer that is held: its stream, its name, and by which rules."""
        found = []
        for entry in await self._bucket.list(HELD):
            _, stream, consumer = entry.key.split(".")
            found.append((stream, consumer, _read(entry)))
        return found

    async def _give_back(self, stream: str, consumer: str, held: Held, rest: Held) -> None:
        info = await self._api.consumer_info(stream, consumer)
        config, wanted = info["config"], rest.wanted()
        for name in tuple(wanted):
            if not held.is_ours(name, config.get(name, 0)):
                log.warning(
                    "%s/%s: %s=%s was set by somebody else meanwhile, and stays",
                    stream,
                    consumer,
                    name,
                    config.get(name),
                    extra=LogFields(stream=stream, consumer=consumer),
                )
                del wanted[name]
        await self._configure(stream, config, wanted)
        if held.pause and not rest.pause and _paused_for(info) <= KEY_TTL:  # a longer one is somebody else's
            await self._api.consumer_pause(stream, consumer, None)

    async def _configure(self, stream: str, config: Json, wanted: dict[Limit, int]) -> None:
        if any(config.get(name) != value for name, value in wanted.items()):
            changed: Json = dict(config)
            changed.update((name, value) for name, value in wanted.items())
            await self._api.consumer_write(stream, changed, "update")

    async def _pause(self, stream: str, consumer: str, info: Json) -> None:
        """Pause for `KEY_TTL` seconds, by the server's clock, unless it is paused for longer."""
        now = parse_time(info["ts"])
        assert now is not None
        if _paused_for(info) < KEY_TTL:
            until = (now + timedelta(seconds=KEY_TTL)).astimezone(UTC)
            await self._api.consumer_pause(stream, consumer, until.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))

    async def _store(self, key: str, entry: Entry | None, held: Held) -> bool:
        value = msgspec.json.encode(held)
        if entry is None:
            return await self._bucket.create(key, value) is None
        return await self._bucket.replace(key, value, revision=entry.revision) is not None


def _paused_for(info: Json) -> float:
    """Seconds for which a consumer stays paused, by its INFO."""
    until, now = parse_time(info["config"].get("pause_until") or NEVER), parse_time(info["ts"])
    return 0.0 if until is None or now is None or not info.get("paused") else (until - now).total_seconds()


def _read(entry: Entry | None) -> Held:
    """What another program has written there, which nothing can be made of, holds nothing."""
    if entry is None:
        return Held()
    try:
        return msgspec.json.decode(entry.value, type=Held)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return Held()
