"""Names of an old spec in a new one, recognized by their form on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from .. import fieldtypes, names, patterns
from ..fieldtypes import FieldType
from ..message_spec import FieldDecl, MessageDecl
from ..patterns import TAIL, Open, Positions
from ..placeholders import Piece, names_in, pieces, taken
from ..spec import Spec, SubjectDecl
from .rules import Deploy, Kind

Found = tuple[Kind, str, Deploy]

Pair = tuple[str, str]

_TEXTS: Final = ("enum", "open", "uuid", "datetime", "date", "duration", "decimal")
_WIDER: Final = (("int", "float"), ("uint64", "int"), ("uint64", "float"), *((one, "str") for one in _TEXTS))
"""JSON types, and the ones that take all their values."""


_SAME: Final = ("default", "const", "min", "max", "min_length", "max_length", "pattern", "case", "reads")
"""Keys of a field that have an effect on the wire."""


class Renames:
    """Maps old names to new names.

    `tokens`, `messages` and `streams` leave out removed names; in `subjects` their value is None;
    `consumers` has only durables with another name. A
    subject with the same name in both specs is paired with itself, unless another one is now what
    it was.
    """

    def __init__(self, old: Spec, new: Spec) -> None:
        self.old = old
        self.new = new
        self.tokens = {name: name for name in old.tokens if name in new.tokens}
        self.messages = {name: name for name in old.messages if name in new.messages}
        self.streams = {name: name for name in old.streams if name in new.streams}
        self.tokens.update(self._tokens())
        self.streams.update(self._streams())
        self.enums = self._enums()
        self.messages.update(self._messages())
        self.subjects = self._subjects()
        self.consumers = self._consumers()

    # ---- names

    def _tokens(self) -> dict[str, str]:
        """New tokens in the place of an old one, in a pattern that is otherwise the same on the
        wire.
        """
        found: dict[str, str] = {}
        shapes = {self.skeleton(self.new, decl): decl for decl in self.new.subjects.values()}
        for decl in self.old.subjects.values():
            now = shapes.get(self.skeleton(self.old, decl))
            for one, other in zip(_named(decl.pattern), _named(now.pattern) if now else [], strict=False):
                if one not in self.new.tokens and other not in self.old.tokens and other not in found.values():
                    found.setdefault(one, other)
        return found

    def _streams(self) -> dict[str, str]:
        """New streams that capture everything that a removed one did."""
        fresh = {name: decl.subjects for name, decl in self.new.streams.items() if name not in self.old.streams}
        return {
            name: other
            for name, decl in self.old.streams.items()
            for other, subjects in fresh.items()
            if name not in self.new.streams and all(carried(one, subjects) for one in decl.subjects)
        }

    def _enums(self) -> dict[str, str]:
        """Enums of both specs, also those with another name and the same values."""
        found = {name: name for name in self.old.enums if name in self.new.enums}
        fresh = {name: decl for name, decl in self.new.enums.items() if name not in self.old.enums}
        for name, old in self.old.enums.items():
            same = (other for other, new in fresh.items() if ({*new.docs}, new.open) == ({*old.docs}, old.open))
            if name not in found and (heir := next(same, None)) is not None:
                found[name] = heir
                del fresh[heir]
        return found

    def _messages(self) -> dict[str, str]:
        """New messages of the same form; first the one that the same subject carries."""
        found: dict[str, str] = {}
        fresh = sorted(name for name in self.new.messages if name not in self.old.messages)
        for name in sorted(self.old.messages):
            if name in self.new.messages:
                continue
            at = [subject for subject, decl in self.old.subjects.items() if decl.message == name]
            heirs = {self.new.subjects[subject].message for subject in at if subject in self.new.subjects}
            for other in sorted(fresh, key=lambda one: one not in heirs):
                if self.same_form(name, other):
                    found[name] = other
                    fresh.remove(other)
                    break
        return found

    def _subjects(self) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for name, old in self.old.subjects.items():
            same = self.new.subjects.get(name)
            if same is not None and replaced(self.old, old.pattern, self.new, same.pattern, self.tokens) is not None:
                found[name] = name
        changed = {name: old for name, old in self.old.subjects.items() if name not in found}
        free = {name: new for name, new in self.new.subjects.items() if name not in found}
        for name, old in changed.items():
            heir = next((other for other, new in free.items() if self._is(old, new)), None)
            if heir is not None:
                found[name] = heir
                del free[heir]
        for name in changed:
            found.setdefault(name, name if name in free else None)
        return found

    def _consumers(self) -> dict[str, str]:
        """New durables that receive exactly what a removed one did, of the same stream."""
        fresh = {name: decl for name, decl in self.new.consumers.items() if name not in self.old.consumers}
        found: dict[str, str] = {}
        for name, old in self.old.consumers.items():
            if name in self.new.consumers:
                continue
            stream, subjects = self.streams.get(old.stream), sorted(taken(self.old, old))
            same = (one for one, new in fresh.items() if new.stream == stream and sorted(taken(self.new, new)) == subjects)
            heir = next(same, None)
            if heir is not None:
                found[name] = heir
                del fresh[heir]
        return found

    def _is(self, old: SubjectDecl, new: SubjectDecl) -> bool:
        return (
            replaced(self.old, old.pattern, self.new, new.pattern, self.tokens) is not None
            and (self.same_message(old.message, new.message) or self.same_form(old.message, new.message))
            and self.stream(old) == new.stream
        )

    def stream(self, old: SubjectDecl) -> str | None:
        """The stream that keeps an old subject, as it is called now."""
        return None if old.stream is None else self.streams.get(old.stream, old.stream)

    # ---- forms on the wire

    @staticmethod
    def skeleton(spec: Spec, decl: SubjectDecl) -> tuple[object, ...]:
        """A pattern with what each token looks like instead of what it is called."""
        return tuple(form if (form := _form(spec, piece)) else piece.text for piece in pieces(decl.pattern))

    def same_message(self, old: str, new: str) -> bool:
        """Whether it is the same declaration, whatever may have changed in it."""
        if old in self.old.unions or new in self.new.unions:
            return old == new and old in self.old.unions and new in self.new.unions
        return old == new == "bytes" or (old in self.messages and self.messages[old] == new)

    def same_form(self, old: str, new: str, assumed: set[Pair] | None = None) -> bool:
        """Whether two messages look the same on the wire.

        `assumed` are pairs that are taken to be the same, since messages may contain themselves; if
        one of them is not, the whole answer is False.
        """
        assumed = set() if assumed is None else assumed
        if (old, new) in assumed:
            return True
        a, b = self.old.messages.get(old), self.new.messages.get(new)
        if a is None or b is None or (a.id, a.by, a.forbid_unknown) != (b.id, b.by, b.forbid_unknown):
            return False
        groups, others = groups_of(a), groups_of(b)
        assumed.add((old, new))
        return groups.keys() == others.keys() and all(
            fields.keys() == others[value].keys()
            and all(self.same_field(decl, others[value][key][1], assumed) for key, (_, decl) in fields.items())
            for value, fields in groups.items()
        )

    def same_field(self, old: FieldDecl, new: FieldDecl, assumed: set[Pair] | None = None) -> bool:
        """Whether two fields look the same on the wire, whatever they are called."""
        kinds = self.types(fieldtypes.parse(old.type), fieldtypes.parse(new.type), assumed)
        same = all(getattr(old, which) == getattr(new, which) for which in _SAME)
        return same and all(kind == "source" for kind, _, _ in kinds)

    def types(self, old: FieldType, new: FieldType, assumed: set[Pair] | None = None) -> Iterator[Found]:
        """What breaks if a field of type `old` becomes one of type `new`."""
        if old.optional and not new.optional:
            yield "wire", "can no longer be null or absent: newer readers refuse that", "publishers first"
        elif new.optional and not old.optional:
            yield "consumer", "may now be null or absent: older readers refuse that", "readers first"
        was, now = _token_of(self.old, old), _token_of(self.new, new)
        if was is not None and now is not None and self.tokens.get(was) == now:
            return  # whatever has changed is a change of the token
        if old.name in self.enums and self.enums[old.name] == new.name:
            if old.name != new.name:
                yield "source", f"is {_word(new)} instead of {_word(old)}: the same on the wire", "any order"
            return  # whatever has changed is a change of the enum
        a, b = _plain(self.old, old), _plain(self.new, new)
        if {a.kind, b.kind} <= {"enum", "open"}:
            yield from changed_enum(a.values, a.kind == "open", b.values, b.kind == "open")
        elif a.kind != b.kind:
            yield "wire", f"is {_word(new)} instead of {_word(old)}", _retyped(a.kind, b.kind)
        elif a.item is not None and b.item is not None:
            yield from self.types(a.item, b.item, assumed)
        elif a.kind == "ref":
            if not self.same_message(a.name, b.name):
                problem = f"is {_word(new)} instead of {_word(old)}"
                if self.same_form(a.name, b.name, assumed):
                    yield "source", problem, "any order"
                else:
                    yield "wire", problem, "side by side"
        elif old.name != new.name and (was is None or was in self.tokens):
            yield "source", f"is {_word(new)} instead of {_word(old)}: the same on the wire", "any order"


def changed_values(old: Iterable[str], new: Iterable[str]) -> Iterator[Found]:
    """What breaks where the values of a closed set change."""
    old, new = tuple(old), tuple(new)
    removed, added = [value for value in old if value not in new], [value for value in new if value not in old]
    if removed:
        order: Deploy = "publishers first" if len(removed) < len(old) else "side by side"
        yield "wire", f"{', '.join(removed)} removed: newer readers refuse what older publishers send", order
    if added and len(removed) < len(old):  # otherwise it is another set altogether
        yield "consumer", f"{', '.join(added)} added: older readers do not know it", "readers first"


def changed_enum(old: Iterable[str], was_open: bool, new: Iterable[str], is_open: bool) -> Iterator[Found]:
    """What breaks where an enum changes, or becomes open or closed."""
    if was_open and is_open:
        if set(old) != set(new):
            yield "consumer", "has other members: a value without one is an unknown member", "readers first"
        return
    if was_open:
        yield "wire", "is no longer open: newer readers refuse other values", "publishers first"
    elif is_open:
        yield "consumer", "is now open: older readers refuse other values", "readers first"
    yield from changed_values(old, new)


def _retyped(old: str, new: str) -> Deploy:
    """How to deploy another JSON type: a wider one takes what the narrower one was."""
    if new == "any" or (old, new) in _WIDER:
        return "readers first"
    return "publishers first" if old == "any" or (new, old) in _WIDER else "side by side"


def replaced(old: Spec, pattern: str, new: Spec, other: str, tokens: dict[str, str]) -> dict[str, str] | None:
    """Tokens of `pattern` that `other` has under another name with the same form.

    None if the two patterns differ on the wire.
    """
    mine, others = pieces(pattern), pieces(other)
    if len(mine) != len(others):
        return None
    before = {tokens.get(name, name) for name in names_in(pattern)}
    found = {}
    for piece, now in zip(mine, others, strict=True):
        if not piece.name or not now.name:
            if piece.text != now.text:
                return None
        elif (piece.prefix, piece.suffix, piece.mark) != (now.prefix, now.suffix, now.mark):
            return None
        elif tokens.get(piece.name, piece.name if piece.is_tail else None) != now.name:
            swapped = now.name in before or tokens.get(piece.name, piece.name) in names_in(other)
            if swapped or _form(old, piece) != _form(new, now):
                return None
            found[piece.name] = now.name
    return found


def carried(pattern: str, others: Iterable[str]) -> bool:
    """Whether every subject that `pattern` matches is matched by one of `others` too."""
    paths = [patterns.positions(other) for other in others]
    longest = max(map(len, paths), default=0)
    return all(any(patterns.covers(path, piece) for path in paths) for piece in _unrolled(patterns.positions(pattern), longest))


def _unrolled(path: Positions, longest: int) -> Iterator[Positions]:
    """`a.>` as `a.*`, `a.*.*` and so on, up to one more token than any pattern that may cover it.

    `a.*` and `a.*.>` cover it together.
    """
    while path[-1] == TAIL and len(path) <= longest:
        yield (*path[:-1], Open())
        path = (*path[:-1], Open(), TAIL)
    yield path


def _named(pattern: str) -> list[str]:
    """The placeholders of declared tokens."""
    return [piece.name for piece in pieces(pattern) if piece.name and not piece.is_tail]


def _form(spec: Spec, piece: Piece) -> tuple[object, ...] | None:
    """The form of a placeholder on the wire; None for a literal."""
    if not piece.name:
        return None
    around = (piece.prefix, piece.suffix, piece.mark) if piece.is_part or piece.mark else ()
    if piece.is_tail:
        return around
    decl = spec.tokens[piece.name]
    return (*around, decl.base, decl.format or "d", decl.min, decl.max, frozenset(decl.exclude), frozenset(decl.enum or ()))


def groups_of(decl: MessageDecl) -> dict[str, dict[str, tuple[str, FieldDecl]]]:
    """The fields of a message by their key in JSON, each with its name; of a family also its
    params, by value.
    """
    every = {"": decl.fields, **decl.params}
    return {
        value: {names.wire(name, one.name, decl.rename): (name, one) for name, one in fields.items()}
        for value, fields in every.items()
    }


def _token_of(spec: Spec, kind: FieldType) -> str | None:
    """The token whose type it is."""
    if kind.kind != "ref":
        return None
    return next((name for name in spec.tokens if spec.python.tokens[name] == kind.name), None)


def _plain(spec: Spec, kind: FieldType) -> FieldType:
    """The JSON type of a token; other types unchanged."""
    token = _token_of(spec, kind)
    if token is None:
        enum = spec.enums.get(kind.name)
        return kind if enum is None else FieldType("open" if enum.open else "enum", values=tuple(enum.docs))
    decl = spec.tokens[token]
    return FieldType("enum", values=decl.enum) if decl.enum is not None else FieldType(decl.base)


def _word(kind: FieldType) -> str:
    """A type as a spec writes it."""
    if kind.item is not None:
        plain = f"{kind.kind}[{_word(kind.item)}]"
    elif kind.kind == "enum":
        plain = f"enum:{'|'.join(kind.values)}"
    else:
        plain = kind.name or kind.kind
    return f"{plain}?" if kind.optional else plain
