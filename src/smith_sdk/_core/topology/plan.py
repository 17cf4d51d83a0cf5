"""What a plan says: the steps from what the server has to what is declared, and the cautions that go with them.

Printed, a plan reads like Terraform's: `+` create, `~` update, `-` delete, `!` impossible in place, `?` undeclared.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Literal

import msgspec

from .config_keys import EVERY, Json, merged, normal, same, words

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
    """One declared key whose value on the server is another, both as in the server's JSON (nanoseconds, bytes).

    `why` is empty where the server can change it in place, and says otherwise why not, and what a person can do.
    """

    key: str
    current: Any
    declared: Any
    why: str = ""

    def __str__(self) -> str:
        name = self.key.rpartition(".")[2]
        return f"{self.key}: {words(name, self.current)} -> {words(name, self.declared)}"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to make one stream, or one consumer of it, as declared.

    "impossible": the server cannot do it in place, `why` says what a person can do. "unknown": on the server, under our subjects, and
    declared nowhere; "delete": the same, in a plan that prunes. `declared` and `seen` are the server's JSON, as wanted and as found.
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
        """What it is about, in words."""
        return f"stream {self.stream}" if self.consumer is None else f"consumer {self.consumer} of {self.stream}"

    @property
    def config(self) -> dict[str, Any]:
        """What is sent to the server: what it has, with what is declared in its place."""
        return merged(self.seen, self.declared)

    def __str__(self) -> str:
        error_text = "; ".join(map(str, self.differences)) or self.why
        return f"{self.kind} {self.name}{': ' + error_text if error_text else ''}"

    def lines(self) -> list[str]:
        """The step as a plan prints it."""
        found = [f"{_MARKS.get(self.kind, ' ')} {self.name}"]
        for one in self.differences:
            found += [f"    {one}"] + ([f"      {one.why}"] if one.why else [])
        return found + ([f"    {self.why}"] if self.why else [])


class Caution(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a plan does and that may not be meant. `messages` and `bytes`: how much it concerns, where that is known.

    - "shrinks": a limit goes below what is stored, and what is above goes
    - "full": the same on a stream with `discard = new`: nothing goes, but publishers are refused
    - "drops": with retention by interest the stream keeps no longer what no consumer asks for
    - "pending": a consumer is deleted that has not got through its work; a stream that is not empty
    - "no_consumer": an interest stream that nobody reads keeps nothing
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
    """What `apply` would do, in order, and what else it found. `prune`: whether it deletes what nobody declares."""

    profile: str
    steps: tuple[Change, ...]
    cautions: tuple[Caution, ...] = ()
    prune: bool = False

    @property
    def changes(self) -> tuple[Change, ...]:
        """The steps that are neither `unchanged` nor `unknown`: what the server has otherwise than declared."""
        return tuple(step for step in self.steps if step.kind not in ("unchanged", "unknown"))

    @property
    def unknown(self) -> tuple[Change, ...]:
        """Streams under the contract's subjects, and durable consumers of its streams, that it does not declare."""
        return tuple(step for step in self.steps if step.kind == "unknown")

    def lines(self) -> list[str]:
        """The plan as it is printed: its steps, what it found beside them, and how many there are of each kind."""
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


def differences(current: Json, declared: Json, *, consumer: bool) -> tuple[Difference, ...]:
    """Declared keys whose value is another on the server; of a key that counts in parts, the declared parts."""
    found: list[Difference] = []
    for key, wanted in declared.items():
        setting = EVERY[consumer].get(key)
        if setting is None:
            continue  # the name: it is how the two were found
        there = current.get(key)
        if setting.parts:
            parts = [(part, (there or {}).get(part), value) for part, value in wanted.items()]
            found += [Difference(f"{key}.{part}", old, new) for part, old, new in parts if not same(part, old, new)]
        elif not same(key, there, wanted):
            why = "" if setting.allows(there, wanted) else _why(setting.rule, key, there, consumer)
            found.append(Difference(key, there, wanted, why))
    return tuple(found)


def unchanged(seen: Json, now: Json) -> bool:
    """Whether the server still has what a plan saw, its own bookkeeping left out."""
    return bool(normal(seen) == normal(now))


def _why(rule: str, key: str, current: object, consumer: bool) -> str:
    what = "consumer" if consumer else "stream"
    if rule == "on":
        return f"the server never takes {key} back: declare {key} = true, or declare a {what} of another name"
    if rule == "off":
        return f"the server sets {key} only when it creates the stream: declare a stream of another name"
    advice = f"keep {words(key, current)}, or declare a {what} of another name, move over, and delete this one"
    return f"the server cannot change {key} of a {what}{' from or to a work queue' if rule == 'no queue' else ''}: {advice}"
