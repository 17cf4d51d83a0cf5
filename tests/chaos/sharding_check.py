"""What handlers did, judged: order within a key, losses, takeovers, shards of a process.

Everything here reads effects: what handlers wrote to a stream without deduplication, in the order
and with the time of that stream. No process is asked how it fared.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

SHOWN: Final = 5
WINDOW: Final = 1.5
"""Seconds before a quiet moment in which every shard with work shows who owns it."""
ON_PROCESSES: Final = frozenset({"kill", "stop", "blink", "leave"})
"""Those after which a shard of the process may have to be taken over."""
ON_SERVERS: Final = frozenset({"stepdown", "server"})
LATE: Final = 0.5
"""Seconds for which effects of a process go on after a fault of it: signals take time."""
RECENT: Final = 2.0
"""Seconds before a fault within which its process has told its shards."""


class Effect(NamedTuple):
    """One line of what handlers did. `at` is the stream's time, `fence` the owner's revision (0:
    none)."""

    at: float
    shard: int
    key: str
    number: int
    seq: int
    process: str
    fence: int = 0


class Published(NamedTuple):
    """One message that its stream has confirmed."""

    at: float
    shard: int
    key: str
    number: int


class Fault(NamedTuple):
    """What was done to `process`; to servers without one."""

    at: float
    kind: str
    process: str = ""
    allowance: float = 0.0
    """Seconds that the servers themselves may be away."""


class Holding(NamedTuple):
    """The shards that a process is assigned, by its own word: only for telling which fault concerns
    which shard, where an owner had no time to do anything."""

    at: float
    process: str
    shards: frozenset[int]
    given_up: frozenset[int] = frozenset()
    """Those of them that it is about to give up: another has been assigned them."""


class Quiet(NamedTuple):
    """A moment at which everything should have settled, and how many processes there were."""

    at: float
    processes: int


class Takeover(NamedTuple):
    """A shard with work that had no new effect for `took` seconds since the fault, or since it had
    work."""

    at: float
    took: float
    bound: float
    shard: int
    cause: str
    before: str
    after: str


@dataclass
class Verdict:
    """What became of a run."""

    published: int = 0
    effects: int = 0
    lasted: float = 0.0
    """Seconds from the first effect to the last."""
    lost: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    overtakes: list[str] = field(default_factory=list)
    """First effects of a message after the first effect of a later one of its key."""
    forbidden: list[str] = field(default_factory=list)
    """Of a process whose shard another had taken over by then, by their fences: the second of
    a key. The first may be of a handler that ran when its process was stopped, which the SDK cannot
    prevent; it is the next of its key, or a repeat. Another means that a message was started."""
    outdated: list[str] = field(default_factory=list)
    """All of them."""
    backwards: list[str] = field(default_factory=list)
    """Within one ownership: a message of a key after, or again after, a later one."""
    astray: list[str] = field(default_factory=list)
    """Effects in another shard than the one of the key."""
    repeats: int = 0
    stale: int = 0
    """Repeats after the first effect of a later message of the key."""
    takeovers: list[Takeover] = field(default_factory=list)
    """Those that took a second or more, longest first."""
    crowded: list[str] = field(default_factory=list)
    """Processes with too many shards at a quiet moment."""
    most_shards: dict[int, int] = field(default_factory=dict)
    """Processes at a quiet moment -> most shards of one of them."""

    @property
    def late(self) -> list[Takeover]:
        return [one for one in self.takeovers if one.took > one.bound]

    @property
    def trouble(self) -> list[str]:
        """What is wrong, in words; empty if nothing is."""
        found = [
            f"{len(lines)} {name}: {', '.join(lines[:SHOWN])}"
            for name, lines in (
                ("lost", self.lost),
                ("invented", self.invented),
                ("overtakes", self.overtakes),
                ("by a process that had lost the shard", self.forbidden),
                ("backwards within one ownership", self.backwards),
                ("in another shard", self.astray),
                ("with too many shards", self.crowded),
            )
            if lines
        ]
        found += [f"late takeover: {one}" for one in self.late[:SHOWN]]
        return found

    def figures(self) -> dict[str, Any]:
        """As one JSON object."""
        longest = max((one.took for one in self.takeovers), default=0.0)
        return {
            "published": self.published,
            "effects": self.effects,
            "lost": len(self.lost),
            "invented": len(self.invented),
            "overtakes": len(self.overtakes),
            "forbidden": len(self.forbidden),
            "outdated": len(self.outdated),
            "backwards": len(self.backwards),
            "astray": len(self.astray),
            "repeats": self.repeats,
            "stale": self.stale,
            "takeovers": len(self.takeovers),
            "takeover_max": round(longest, 2),
            "takeover_p50": round(_median([one.took for one in self.takeovers]), 2),
            "late": len(self.late),
            "crowded": len(self.crowded),
            "most_shards": {str(number): most for number, most in sorted(self.most_shards.items())},
        }


def check(
    effects: Sequence[Effect],
    published: Sequence[Published],
    faults: Iterable[Fault] = (),
    quiet: Iterable[Quiet] = (),
    holdings: Iterable[Holding] = (),
    *,
    shards: int = 16,
    bound: float = math.inf,
) -> Verdict:
    """Judge a run. `bound` is how long a takeover may take, in seconds, without the allowance of
    its fault."""
    verdict = Verdict(published=len(published), effects=len(effects))
    verdict.lasted = effects[-1].at - effects[0].at if effects else 0.0
    fresh = _check_order(verdict, effects, published)
    _check_fences(verdict, effects)
    concerns = _Concerns(faults, holdings)
    _check_takeovers(verdict, [one for one, is_new in zip(effects, fresh, strict=True) if is_new], published, concerns, bound)
    _check_shares(verdict, effects, quiet, shards)
    return verdict


def _check_order(verdict: Verdict, effects: Sequence[Effect], published: Sequence[Published]) -> list[bool]:
    """Returns which effects are the first of their messages."""
    home = {(one.key, one.number): one.shard for one in published}
    seen: set[tuple[str, int]] = set()
    highest: dict[str, int] = {}
    fresh: list[bool] = []
    for one in effects:
        what = (one.key, one.number)
        top = highest.get(one.key, -1)
        fresh.append(what not in seen)
        if what not in home:
            verdict.invented.append(_named(one))
        elif home[what] != one.shard:
            verdict.astray.append(_named(one))
        if what in seen:
            verdict.repeats += 1
            verdict.stale += one.number < top
        elif one.number < top:
            verdict.overtakes.append(f"{_named(one)} after {top}")
        seen.add(what)
        highest[one.key] = max(top, one.number)
    verdict.lost = [f"{key}/{number}" for key, number in home if (key, number) not in seen]
    return fresh


def _check_fences(verdict: Verdict, effects: Sequence[Effect]) -> None:
    newest: dict[int, int] = {}
    reached: dict[tuple[int, str], int] = {}
    outdated: set[tuple[int, str]] = set()
    for one in effects:
        if not one.fence:
            continue
        if one.fence < newest.get(one.shard, 0):
            found = f"{_named(one)} with fence {one.fence} after {newest[one.shard]}"
            verdict.outdated.append(found)
            if (one.fence, one.key) in outdated:
                verdict.forbidden.append(found)
            outdated.add((one.fence, one.key))
        newest[one.shard] = max(newest.get(one.shard, 0), one.fence)
        last = reached.get((one.fence, one.key), -1)
        if one.number <= last:
            verdict.backwards.append(f"{_named(one)} with fence {one.fence} after {last}")
        reached[one.fence, one.key] = max(last, one.number)


class _Concerns:
    """Which faults start the clock of a shard again."""

    def __init__(self, faults: Iterable[Fault], holdings: Iterable[Holding]) -> None:
        self._faults = sorted((one for one in faults if one.kind in ON_PROCESSES | ON_SERVERS), key=lambda one: one.at)
        self._times = [one.at for one in self._faults]
        told: dict[str, list[Holding]] = defaultdict(list)
        for one in holdings:
            told[one.process].append(one)
        self._held = [self._shards_at(fault, told[fault.process]) for fault in self._faults]
        self._given_up: dict[int, list[float]] = defaultdict(list)
        for process in told.values():
            for one in process:
                for shard in one.given_up:
                    self._given_up[shard].append(one.at)

    @staticmethod
    def _shards_at(fault: Fault, told: Sequence[Holding]) -> frozenset[int]:
        """Of the process that the fault has met, when it did."""
        before = [one for one in told if fault.at - RECENT <= one.at <= fault.at]
        return before[-1].shards if before else frozenset()

    def within(self, since: float, until: float, shard: int, owners: set[str]) -> list[Fault]:
        """The faults of that time that concern the shard, which `owners` have handled before and
        after it."""
        handed_over = min((at for at in self._given_up[shard] if since <= at <= until), default=math.inf)
        some = range(bisect.bisect_left(self._times, since - LATE), bisect.bisect_right(self._times, until))
        return [
            self._faults[place]
            for place in some
            if self._faults[place].kind in ON_SERVERS
            or self._faults[place].process in owners
            or shard in self._held[place]
            or self._times[place] > handed_over  # perhaps to this process, which could not tell
        ]


def _check_takeovers(
    verdict: Verdict, fresh: Sequence[Effect], published: Sequence[Published], concerns: _Concerns, bound: float
) -> None:
    """Look at every pause of a shard that had work.

    The clock starts with the last fault of a process that had the shard, or of the servers.
    """
    arrived: dict[int, list[float]] = defaultdict(list)
    for one in published:
        arrived[one.shard].append(one.at)
    for shard, effects in _by_shard(fresh).items():
        came = sorted(arrived[shard])
        before: Effect | None = None
        for done, after in enumerate(effects):
            started = max(before.at if before else -math.inf, came[done] if done < len(came) else math.inf)
            if after.at - started >= 1.0:
                owners = {after.process} | ({before.process} if before else set())
                within = concerns.within(before.at if before else started, after.at, shard, owners)
                verdict.takeovers.append(_takeover(started, shard, before, after, within, bound))
            before = after
    verdict.takeovers = sorted((one for one in verdict.takeovers if one.took >= 1.0), key=lambda one: -one.took)


def _takeover(
    started: float, shard: int, before: Effect | None, after: Effect, concerned: Sequence[Fault], bound: float
) -> Takeover:
    cause = concerned[-1] if concerned else None
    if cause is not None:
        started = max(started, cause.at)
    return Takeover(
        at=after.at,
        took=after.at - started,
        bound=bound + max((fault.allowance for fault in concerned), default=0.0),
        shard=shard,
        cause=f"{cause.kind} {cause.process}".rstrip() if cause else "none",
        before=before.process if before else "",
        after=after.process,
    )


def _check_shares(verdict: Verdict, effects: Sequence[Effect], quiet: Iterable[Quiet], shards: int) -> None:
    times = [one.at for one in effects]
    for moment in quiet:
        owned: dict[str, set[int]] = defaultdict(set)
        recent = effects[bisect.bisect_left(times, moment.at - WINDOW) : bisect.bisect_right(times, moment.at)]
        for one in recent:
            owned[one.process].add(one.shard)
        if not recent:  # no work
            continue
        most = max(map(len, owned.values()))
        verdict.most_shards[moment.processes] = max(most, verdict.most_shards.get(moment.processes, 0))
        allowed = math.ceil(shards / moment.processes) + 1
        verdict.crowded += [f"{name} with {sorted(some)}" for name, some in owned.items() if len(some) > allowed]


def _by_shard(effects: Iterable[Effect]) -> Mapping[int, list[Effect]]:
    found: dict[int, list[Effect]] = defaultdict(list)
    for one in effects:
        found[one.shard].append(one)
    return found


def _named(one: Effect) -> str:
    return f"{one.key}/{one.number} by {one.process}"


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def by_cause(takeovers: Iterable[Takeover]) -> dict[str, dict[str, float]]:
    """Kind of fault -> number of takeovers, median and longest."""
    found: dict[str, list[float]] = defaultdict(list)
    for one in takeovers:
        found[one.cause.split()[0]].append(one.took)
    return {
        kind: {"count": len(some), "p50": round(_median(some), 2), "max": round(max(some), 2)} for kind, some in found.items()
    }


def counted(faults: Iterable[Fault]) -> dict[str, int]:
    return dict(Counter(fault.kind for fault in faults))


def as_rows(takeovers: Iterable[Takeover]) -> list[dict[str, Any]]:
    return [{**one._asdict(), "at": round(one.at, 3), "took": round(one.took, 3)} for one in takeovers]
