"""Plans: the steps from what the server has to what is declared, and warnings about them.

A printed plan reads like Terraform's: `+` create, `~` update, `-` delete, `!` impossible in place,
`?` undeclared.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Literal

import msgspec

from ...display import lines_block
from .config_keys import EVERY, Json, format_value, merged, normal, same

Kind = Literal["create", "update", "delete", "impossible", "unknown", "unchanged"]

_MARKS: Final[dict[Kind, str]] = {"delete": "-", "create": "+", "update": "~", "impossible": "!", "unknown": "?"}
_COUNTED: Final[tuple[tuple[Kind, str], ...]] = (
    ("create", "to create"),
    ("update", "to update"),
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

    `messages` and `bytes` say how much it concerns, None if unknown. `kind` is one of:

    - "shrinks": a limit is lowered below what is stored, and the excess is deleted
    - "full": the same on a stream with `discard = new`: nothing is deleted, but publishing is
      refused
    - "drops": with the new interest retention the stream deletes messages that no consumer's filter
      matches
    - "pending": a consumer with pending messages is deleted, or a stream that is not empty
    - "no_consumer": a stream with interest retention and without a consumer keeps nothing
    - "storage": the streams reserve more than the account has left
    """

    kind: Literal["shrinks", "full", "drops", "pending", "no_consumer", "storage"]
    text: str
    stream: str | None = None
    consumer: str | None = None
    messages: int | None = None
    bytes: int | None = None

    def __str__(self) -> str:
        return self.text


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What `apply` would do, in order. `prune`: whether it deletes what is not declared."""

    profile: str
    steps: tuple[Change, ...]
    cautions: tuple[Caution, ...] = ()
    prune: bool = False

    @property
    def changes(self) -> tuple[Change, ...]:
        """The steps that are neither "unchanged" nor "unknown"."""
        return tuple(step for step in self.steps if step.kind not in ("unchanged", "unknown"))

    @property
    def unknown(self) -> tuple[Change, ...]:
        """The undeclared streams under the contract's subjects, and durable consumers of its
        streams.
        """
        return tuple(step for step in self.steps if step.kind == "unknown")

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
        return found

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return lines_block(self.lines())


def differences(current: Json, declared: Json, *, consumer: bool) -> tuple[Difference, ...]:
    """The declared keys whose values differ; for a key with `parts`, its declared parts."""
    found: list[Difference] = []
    for key, wanted in declared.items():
        setting = EVERY[consumer].get(key)
        if setting is None:
            continue  # the name, by which the two were matched
        there = current.get(key)
        if setting.parts:
            parts = [(part, (there or {}).get(part), value) for part, value in wanted.items()]
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
