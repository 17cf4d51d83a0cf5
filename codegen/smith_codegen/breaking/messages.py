"""Rules for breaking changes of payloads: their fields, the bounds and values of these."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import msgspec

from .. import fieldtypes
from ..locate import Path
from ..message_spec import FieldDecl, MessageDecl
from ..spec import Spec, TokenDecl
from . import keys
from .change import KINDS, Change, change
from .renames import Renames, groups_of
from .rules import Deploy, Kind

Fields = dict[str, tuple[str, FieldDecl]]
"""The fields of a payload by their key in JSON, each with its name in the spec."""

SIGNATURE: Final = "signature_b64"
"""The field of a signed payload. Its signature covers every other field, at any depth."""

_LIMITS: Final = {"max_items": 100_000, "max_depth": 127}
"""Limits of a message's JSON, each with what it is where the spec is silent."""


def bounds(path: Path, old: TokenDecl | FieldDecl, new: TokenDecl | FieldDecl, least: int | None = None) -> Iterator[Change]:
    """Changes in the bounds of a token or of a field. `least`: what it is at least in any case."""
    for which, sign in (("min", 1), ("max", -1), ("min_length", 1), ("max_length", -1)):
        was, now = (getattr(decl, which, None) for decl in (old, new))
        low, high = (_number(one, least if which == "min" else None) for one in (was, now))
        if low == high:
            continue
        narrower = high is not None and (low is None or high * sign > low * sign)
        problem = f"is {'no limit' if now is None else now} instead of {'no limit' if was is None else was}: "
        problem += "values that were valid are refused" if narrower else "older readers refuse the new values"
        kind: Kind = "wire" if narrower else "consumer"
        yield change(kind, (*path, which), problem, "publishers first" if narrower else "readers first")


def _number(bound: float | str | None, least: int | None) -> Decimal | None:
    """A bound, of which a decimal is text."""
    found = least if bound is None else bound
    return None if found is None else Decimal(str(found))


def unread(path: Path, old: dict[str, str], new: dict[str, str]) -> Iterator[Change]:
    """Other spellings that are no longer read, or mean something else."""
    gone = [other for other in old if other not in new]
    if gone:
        yield change("wire", path, f"{', '.join(gone)} no longer read: newer readers refuse it", "publishers first")
    for other, value in new.items():
        if old.get(other, value) != value:
            yield change("consumer", (*path, other), f"is read as {value} instead of {old[other]}", "side by side")


def signed(spec: Spec) -> frozenset[str]:
    """The messages that a signature covers: those that have one, and all that are in them."""
    found = {
        name
        for name, decl in spec.messages.items()
        if any(SIGNATURE in fields for fields in (decl.fields, *decl.params.values()))
    }
    more = set(found)
    while more:
        inside = {ref for name in more for ref in _inside(spec.messages[name]) if ref in spec.messages}
        more = inside - found
        found |= more
    return frozenset(found)


def _inside(decl: MessageDecl) -> Iterator[str]:
    for fields in (decl.fields, *decl.params.values()):
        for field in fields.values():
            yield from fieldtypes.parse(field.type).names()


class Messages:
    """The comparison of the messages of two specs."""

    def __init__(self, old: Spec, new: Spec, renames: Renames) -> None:
        self.old = old
        self.new = new
        self.renames = renames
        self.signed = signed(old)

    def message(self, name: str, old: MessageDecl) -> Iterator[Change]:
        """What changed in one of the old messages."""
        path, now = ("messages", name), self.renames.messages.get(name)
        if now is None:
            yield change("wire", path, "removed: newer readers do not know it", "publishers first")
            return
        if now != name:
            yield change("source", path, f"is now called {now}")
            return
        new = self.new.messages[name]
        yield from keys.compare(path, old, new)
        yield from _sizes(path, old, new)
        if old.id != new.id:
            problem = f"is {new.id or 'none'} instead of {old.id or 'none'}: duplicates are recognized by another field"
            yield change("wire", (*path, "id"), problem)
        if old.by != new.by:
            was, tag = (f"a family by {by}" if by else "one payload" for by in (old.by, new.by))
            yield change("wire", (*path, "by"), f"is {tag} instead of {was}")
        if (old.by is None) != (new.by is None):
            return
        if self.old.tag_of(name) != self.new.tag_of(now):
            yield change("wire", path, "has another tag, or is in a union now, or in none any more", when="another tag")
        strict = (name in self.signed, old.forbid_unknown, new.forbid_unknown)
        before, after = groups_of(old), groups_of(new)
        for value in before:
            if value in after:  # one that is not has left the token, or the tag is another
                where = ("params", value) if value else ("fields",)
                yield from self.fields((*path, *where), before[value], after[value], strict)

    def fields(self, path: Path, old: Fields, new: Fields, strict: tuple[bool, bool, bool]) -> Iterator[Change]:
        """What changed in the fields of one payload. `strict`: whether a signature covers it, older
        readers refuse unknown fields, and newer readers do.
        """
        renamed = self.renamed(old, new)
        for key, (name, decl) in new.items():
            if key not in old and key not in renamed.values():
                yield from _added((*path, name), decl, *_refused(*strict[:2]))
        no_new = all(decl.new is msgspec.UNSET for _, decl in new.values())
        for key, (name, decl) in old.items():
            here = (*path, name)
            if key in renamed:
                problem = f"is now called {_called(new[renamed[key]][0], renamed[key])}: each side reads its own name"
                yield change("wire", here, problem, "side by side", "renamed")
            elif key not in new:
                yield _removed(here, decl, strict[2])
            else:
                now, other = new[key]
                if name != now:
                    yield change("source", here, f"is now called {now}: the same in JSON")
                yield from self.field(here, decl, other)
                yield from _dropped_new(here, decl, other, no_new)

    def renamed(self, old: Fields, new: Fields) -> dict[str, str]:
        """Fields in the place of a removed one: of the same form, and the only one of it."""
        gone = [key for key in old if key not in new]
        fresh = [key for key in new if key not in old]
        pairs = [(one, other) for one in gone for other in fresh if self.renames.same_field(old[one][1], new[other][1])]
        return {
            one: other
            for one, other in pairs
            if sum(pair[0] == one for pair in pairs) == 1 == sum(pair[1] == other for pair in pairs)
        }

    def field(self, path: Path, old: FieldDecl, new: FieldDecl) -> Iterator[Change]:
        """What changed in one field."""
        found = dict.fromkeys(self.renames.types(fieldtypes.parse(old.type), fieldtypes.parse(new.type)))
        for kind in KINDS:
            mine = [one for one in found if one[0] == kind]
            orders: set[Deploy] = {deploy for _, _, deploy in mine}
            if mine:
                deploy = orders.pop() if len(orders) == 1 else "side by side"
                yield change(kind, path, "; ".join(problem for _, problem, _ in mine), deploy)
        if any(kind == "wire" for kind, _, _ in found):
            return
        yield from keys.compare(path, old, new)
        yield from bounds(path, old, new, 0 if fieldtypes.parse(new.type).kind == "uint64" else None)
        yield from _pattern((*path, "pattern"), old.pattern, new.pattern)
        yield from _const((*path, "const"), old.const, new.const)
        yield from _spellings(path, old, new)
        nullable = any(kind == "consumer" for kind, _, _ in found)
        if old.const is msgspec.UNSET and new.const is msgspec.UNSET:
            yield from _default((*path, "default"), _absent(old), _absent(new), nullable)


def _called(name: str, key: str) -> str:
    """A field's name, with its key in JSON if that is another."""
    return name if name == key else f"{name} ({key} in JSON)"


def _pattern(path: Path, was: str | None, now: str | None) -> Iterator[Change]:
    if was is None and now is not None:
        yield change("wire", path, f"is {now}: values that were valid are refused", "publishers first")
    elif was is not None and now is None:
        yield change("consumer", path, "dropped: older readers refuse the new values", "readers first")
    elif was != now:
        yield change("wire", path, f"is {now} instead of {was}: each side refuses values of the other")


def _const(path: Path, was: object, now: object) -> Iterator[Change]:
    if was is msgspec.UNSET and now is not msgspec.UNSET:
        yield change("wire", path, f"is {now}: other values are refused", "publishers first")
    elif was is not msgspec.UNSET and now is msgspec.UNSET:
        yield change("wire", path, "dropped: older readers refuse other values, and newer readers require it")
    elif was != now:
        yield change("wire", path, f"is {now} instead of {was}: each side refuses the other's")


def _refused(signed: bool, forbidden: bool) -> tuple[str, Kind]:
    """Why older readers refuse a new field, and what that breaks."""
    if signed:
        return "older readers that verify over the fields they know refuse its signature", "wire"
    return ("older readers refuse fields that they do not know" if forbidden else ""), "consumer"


def _removed(path: Path, decl: FieldDecl, forbidden: bool) -> Change:
    needed = "older readers require it" if _absent(decl) is None else "older readers take it for absent"
    if forbidden:
        more = "removed from a message with forbid_unknown"
        return change("wire", path, f"removed: {needed}, and newer readers refuse it", "side by side", more)
    return change("wire", path, f"removed: {needed}", "readers first", "removed")


def _added(path: Path, decl: FieldDecl, refused: str, kind: Kind) -> Iterator[Change]:
    """A new field. `refused`: why older readers refuse it, empty if they ignore it."""
    required = _absent(decl) is None
    when = "added to a signed payload" if kind == "wire" else "added to a message with forbid_unknown"
    if required and refused:
        more = "required one added to a signed payload, or to one with forbid_unknown"
        yield change("wire", path, f"is new and required: older writers omit it, and {refused}", "side by side", more)
    elif required:
        yield change("wire", path, "is new and required: older writers omit it", "publishers first", "required one added")
    elif refused:
        yield change(kind, path, f"is new: {refused}", "readers first", when)


def _dropped_new(path: Path, old: FieldDecl, new: FieldDecl, last: bool) -> Iterator[Change]:
    """A field that `.new()` no longer fills in."""
    if old.new is msgspec.UNSET or new.new is not msgspec.UNSET:
        return
    if last:
        yield change("source", (*path, "new"), "dropped, and it was the last: .new() no longer exists")
    elif _absent(new) is None:
        yield change("source", (*path, "new"), f"dropped: .new() needs {path[-1]}")


def _default(path: Path, was: str | None, now: str | None, nullable: bool) -> Iterator[Change]:
    """A change in what an absent field is, as JSON. `nullable`: reported already."""
    if now is None and was is not None:
        yield change("wire", path, "dropped: it is required, and older writers may leave it out", "publishers first")
    elif was is None and now is not None:
        if not nullable:
            yield change("consumer", path, "is new: older readers refuse a message without it")
    elif was != now:
        problem = f"is {now} instead of {was}: an omitted value has another meaning"
        yield change("consumer", path, problem, "side by side")


def _spellings(path: Path, old: FieldDecl, new: FieldDecl) -> Iterator[Change]:
    """Changes in how the values of a closed set are written, and in what is read for them."""
    if old.case is None and new.case is not None:
        yield change("wire", (*path, "case"), "is now written in upper case: older readers refuse it", "readers first")
    elif old.case is not None and new.case is None:
        problem = "is no longer written in upper case, and upper case no longer read"
        yield change("wire", (*path, "case"), problem, "publishers first")
    yield from unread((*path, "reads"), old.reads, new.reads)


def _sizes(path: Path, old: MessageDecl, new: MessageDecl) -> Iterator[Change]:
    for which, usual in _LIMITS.items():
        was, now = (getattr(decl, which) or usual for decl in (old, new))
        if was != now:
            problem = f"is {now:,} instead of {was:,}: "
            problem += "messages that were valid are refused" if now < was else "older readers refuse larger messages"
            kind: Kind = "wire" if now < was else "consumer"
            yield change(kind, (*path, which), problem, "publishers first" if now < was else "readers first")


def _absent(decl: FieldDecl) -> str | None:
    """The value of an absent field, as JSON; None if it is required."""
    kind = fieldtypes.parse(decl.type)
    given = decl.default if decl.const is msgspec.UNSET else decl.const
    if given is msgspec.UNSET:
        return "null" if kind.optional else None
    value = float(given) if kind.kind == "float" else given
    return msgspec.json.encode(value, order="deterministic").decode()
