"""Plans: the steps from what the server has to what is declared, and warnings about them.

A printed plan reads like Terraform's: `+` create, `~` update, `-` delete, `!` impossible in place,
`?` undeclared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from ...contract import Contract
from ...display import lines_block
from ...errors import OptionsError, PlanOutdated
from ..foreign_text import escape_control
from .config_keys import EVERY, Json, format_value, merged, normal, same
from .stamps import STAMPS, stale

Kind = Literal["create", "update", "rename", "delete", "impossible", "unknown", "unchanged"]

_MARKS: Final[dict[Kind, str]] = {
    "delete": "-",
    "create": "+",
    "update": "~",
    "rename": "~",
    "impossible": "!",
    "unknown": "?",
}
_COUNTED: Final[tuple[tuple[Kind, str], ...]] = (
    ("create", "to create"),
    ("update", "to update"),
    ("rename", "to rename"),
    ("delete", "to delete"),
    ("impossible", "impossible in place"),
    ("unchanged", "unchanged"),
    ("unknown", "undeclared"),
)


class Difference(msgspec.Struct, frozen=True):
    """One declared key whose value on the server differs.

    Both values are in the form of the server's JSON (nanoseconds, bytes). `why` is empty if the
    server can change it in place; otherwise it says why not, and what to do instead.
    """

    key: str
    current: Any
    declared: Any
    why: str = ""

    def __str__(self) -> str:
        name = self.key.rpartition(".")[2]
        return f"{self.key}: {format_value(name, self.current)} -> {format_value(name, self.declared)}"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The step that makes one stream, or one `consumer` of it, as declared.

    `kind` is "create", "update" or "unchanged", or one of:

    - "rename": a consumer of a work queue takes over from those in `replaces`, which the contract
      declares no more: the server refuses two with the same subjects, so they are deleted first
    - "impossible": the server cannot change it in place; `why` says what to do instead
    - "unknown": it is on the server under the contract's subjects, and not declared
    - "delete": the same, in a plan that prunes

    `declared` and `seen` are the server's JSON, as declared and as found.
    """

    kind: Kind
    stream: str
    consumer: str | None = None
    differences: tuple[Difference, ...] = ()
    why: str = ""
    declared: dict[str, Any] = {}
    seen: dict[str, Any] | None = None
    replaces: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For people: "stream ORDERS", "consumer reader of ORDERS"."""
        return f"stream {self.stream}" if self.consumer is None else f"consumer {self.consumer} of {self.stream}"

    @property
    def config(self) -> dict[str, Any]:
        """The config to send: what the server has, with what is declared in its place."""
        return merged(self.seen, self.declared)

    def __str__(self) -> str:
        details = "; ".join(map(str, self.differences)) or self.why
        return f"{self.kind} {self.name}{': ' + details if details else ''}"

    def lines(self) -> list[str]:
        """The step as a plan prints it."""
        found = [f"{_MARKS.get(self.kind, ' ')} {self.name}"]
        for one in self.differences:
            found += [f"    {one}"] + ([f"      {one.why}"] if one.why else [])
        return found + ([f"    {self.why}"] if self.why else [])


class Caution(msgspec.Struct, frozen=True, kw_only=True):
    """A warning: a plan does this, and it may not be intended.

    `messages` and `bytes` say how much it concerns, None if unknown, and `subjects` where these
    messages are. `kind` is one of:

    - "stranded": messages would be left without a reader: `apply` refuses that unless told to
    - "unread": the same of what the contract declares no more, whatever the plan does
    - "renamed": a consumer takes over from another one, and delivers some messages again
    - "bootstrap": the stream has the subjects that smith-bus's own bootstrap gives it, which
      capture none of the contract's
    - "profile": the streams were last applied under another profile
    - "shrinks": a limit is lowered below what is stored, and the excess is deleted
    - "full": the same on a stream with `discard = new`: nothing is deleted, but publishing is
      refused
    - "drops": with the new interest retention the stream deletes messages that no consumer's filter
      matches
    - "pending": a consumer with pending messages is deleted, or a stream that is not empty
    - "no_consumer": a stream with interest retention and without a consumer keeps nothing
    - "twice": two consumers for the same domain execute the same messages, and one is not declared
    - "storage": the streams reserve more than the account has left
    - "layout": what the plan changes belongs to a number of shards that is not the contract's, but
      the bucket's
    """

    kind: Literal[
        "stranded",
        "unread",
        "renamed",
        "bootstrap",
        "profile",
        "shrinks",
        "full",
        "drops",
        "pending",
        "no_consumer",
        "twice",
        "storage",
        "layout",
    ]
    text: str
    stream: str | None = None
    consumer: str | None = None
    messages: int | None = None
    bytes: int | None = None
    subjects: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that a plan may leave without a reader, to be counted when it is made and applied.

    Those of `stream` on `lost` that no pattern of `kept` matches: the stored ones, or of `consumer`
    the pending ones. `step` is the stream and consumer of the step that does it.
    """

    stream: str
    lost: tuple[str, ...]
    kept: tuple[str, ...] = ()
    consumer: str | None = None
    pending: bool = False
    step: tuple[str, str | None]
    why: str
    upto: int = 0
    """If not 0: only messages up to this sequence."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What `apply` would do, in order. `prune`: whether it deletes what is not declared.

    It was made from the contract `contract` (name) with `contract_hash`, for the account and server
    that `made_for` describes.
    """

    profile: str
    steps: tuple[Change, ...]
    cautions: tuple[Caution, ...] = ()
    prune: bool = False
    contract: str = ""
    contract_hash: str = ""
    made_for: dict[str, str] = {}
    risks: tuple[Risk, ...] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        """The steps that are neither "unchanged" nor "unknown"."""
        return tuple(step for step in self.steps if step.kind not in ("unchanged", "unknown"))

    @property
    def restamped(self) -> tuple[Change, ...]:
        """The steps that change nothing but the contract's name and hash in the metadata."""
        return tuple(step for step in self.steps if step.kind == "unchanged" and stale(step.seen, step.declared))

    @property
    def unknown(self) -> tuple[Change, ...]:
        """The undeclared streams under the contract's subjects, and durable consumers of its
        streams.
        """
        return tuple(step for step in self.steps if step.kind == "unknown")

    def to_json(self) -> str:
        """The plan as JSON, for `Plan.from_json` in another process, and for review.

        It has a version, the contract and its hash, the profile, the server and account, and what
        the plan saw there; no credential.
        """
        return msgspec.json.format(msgspec.json.encode(_Saved(smith_plan=_VERSION, plan=self)), indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """The plan that `to_json` wrote. Raises `OptionsError` for any other text."""
        try:
            version = msgspec.json.decode(text, type=_Version).smith_plan
            if version != _VERSION:
                raise OptionsError(f"this plan has version {version}, and this smith-sdk reads {_VERSION}: plan again")
            return msgspec.json.decode(text, type=_Saved).plan
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise OptionsError(f"this is not a plan that was saved with to_json or `smith streams plan -o`: {error}") from None

    def lines(self) -> list[str]:
        """The plan as it is printed: steps, warnings, and the number of steps of each kind."""
        shown = [*self.changes, *self.unknown]
        found = [line for step in shown for line in step.lines()]
        found += [f"warning: {caution}" for caution in self.cautions]
        count = Counter(step.kind for step in self.steps)
        if self.changes:
            found.append(", ".join(f"{count[kind]} {text}" for kind, text in _COUNTED if count[kind]))
        else:
            found.append("nothing to do")
        return [escape_control(line, keep_layout=False) for line in found]  # what is on the server has any name

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return lines_block(self.lines())


_VERSION: Final = 1
"""Of the JSON of a plan. Raise it when an older release would carry out a plan wrongly."""


class _Version(msgspec.Struct):
    smith_plan: int


class _Saved(msgspec.Struct, forbid_unknown_fields=True):
    smith_plan: int
    plan: Plan


def require_same_origin(plan: Plan, contract: Contract, made_for: Mapping[str, str]) -> None:
    """Raise `PlanOutdated` unless `plan` was made from `contract`, for the server `made_for`."""
    ours = (contract.name, contract.spec_hash)
    if (plan.contract, plan.contract_hash) != ours:
        raise _other(f"from contract {plan.contract} {plan.contract_hash}, and this bus has {ours[0]} {ours[1]}", plan)
    for key, value in plan.made_for.items():
        if made_for.get(key, value) != value:
            raise _other(f"for {key} {value}, and this bus is connected to {key} {made_for[key]}", plan)


def _other(why: str, plan: Plan) -> PlanOutdated:
    stream = plan.steps[0].stream if plan.steps else ""
    return PlanOutdated(f"the plan was made {why}: plan again here, review it, and apply that", stream=stream)


def differences(current: Json, declared: Json, *, consumer: bool) -> tuple[Difference, ...]:
    """The declared keys whose values differ; for a key with `parts`, its declared parts."""
    found: list[Difference] = []
    for key, wanted in declared.items():
        setting = EVERY[consumer].get(key)
        if setting is None:
            continue  # the name, by which the two were matched
        there = current.get(key)
        if setting.parts:
            parts = [(part, (there or {}).get(part), value) for part, value in wanted.items() if part not in STAMPS]
            found += [Difference(f"{key}.{part}", old, new) for part, old, new in parts if not same(part, old, new)]
        elif not same(key, there, wanted):
            why = "" if setting.allows(there, wanted) else _why(setting.rule, key, there, consumer)
            found.append(Difference(key, there, wanted, why))
    return tuple(found)


def unchanged(seen: Json, now: Json) -> bool:
    """Whether the server still has what a plan saw, apart from the server's own bookkeeping."""
    return bool(normal(seen) == normal(now))


def _why(rule: str, key: str, current: object, consumer: bool) -> str:
    what = "consumer" if consumer else "stream"
    if rule == "on":
        return f"the server cannot turn {key} off again: declare {key} = true, or declare a {what} with another name"
    if rule == "off":
        return f"the server sets {key} only when it creates the stream: declare a stream with another name"
    advice = f"keep {format_value(key, current)}, or declare a {what} with another name, move to it, and delete this one"
    return f"the server cannot change {key} of a {what}{' from or to a work queue' if rule == 'no queue' else ''}: {advice}"
