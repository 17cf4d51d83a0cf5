"""Patterns as the spec writes them: literals and placeholders, joined by dots.

`{name}` is one value of a token, `{name?}` one that may be absent, `{name>}` all tokens to the end;
the last two are last. A part, such as `sensor-{id}`, has text around a placeholder in one wire
token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from . import patterns
from .patterns import LITERAL, TAIL, Number, Open, Part, Positions, Tail, alternatives
from .spec import Spec, SubjectDecl, TokenDecl
from .topology_spec import ConsumerDecl

PLACEHOLDER: Final = re.compile(r"\{(\w*)\}")
"""A piece that is one value of a token, and nothing else."""
_PIECE: Final = re.compile(r"(?P<prefix>[A-Za-z0-9_-]*)\{(?P<name>\w+)(?P<mark>[?>]?)\}(?P<suffix>[A-Za-z0-9_-]*)")
_SERVER: Final = re.compile(r"\$[A-Za-z0-9_-]{1,255}")
_REQUESTS: Final = (("$SYS", "REQ"), ("$JS", "API"), ("$SRV",), ("$KV",), ("$O",))
"""Subjects of the server that its clients publish to."""


class Piece(msgspec.Struct, frozen=True):
    """A piece of a pattern: a literal, whose `name` is "", or a placeholder with the text around
    it.
    """

    text: str
    name: str = ""
    prefix: str = ""
    suffix: str = ""
    mark: Literal["", "?", ">"] = ""

    @property
    def is_part(self) -> bool:
        return bool(self.prefix or self.suffix)

    @property
    def is_tail(self) -> bool:
        return self.mark == ">"

    @property
    def is_optional(self) -> bool:
        return self.mark == "?"

    def around(self, value: str) -> str:
        """The wire token, or tokens, with that value."""
        return f"{self.prefix}{value}{self.suffix}"


def split(pattern: str) -> list[str]:
    """The pieces of a pattern as text."""
    return pattern.split(".")


def piece_of(text: str) -> Piece:
    """The piece that `text` is. What is neither placeholder nor part is a literal."""
    match = _PIECE.fullmatch(text)
    if match is None:
        return Piece(text)
    mark: Literal["", "?", ">"] = "?" if match["mark"] == "?" else ">" if match["mark"] == ">" else ""
    return Piece(text, match["name"], match["prefix"], match["suffix"], mark)


def pieces(pattern: str) -> list[Piece]:
    """The pieces of a pattern."""
    return [piece_of(text) for text in split(pattern)]


def placeholders(pattern: str) -> list[Piece]:
    """Those that are not literals."""
    return [piece for piece in pieces(pattern) if piece.name]


def names_in(pattern: str) -> list[str]:
    """The names of the placeholders of a pattern."""
    return [piece.name for piece in placeholders(pattern)]


def is_literal(text: str, index: int) -> bool:
    """Whether `text` is a valid literal at this place of a pattern: `$` only begins the first."""
    return LITERAL.fullmatch(text) is not None or (index == 0 and _SERVER.fullmatch(text) is not None)


def is_servers(pattern: str) -> bool:
    """Whether only the server publishes to the subjects of a pattern: those that begin with `$`,
    but for its requests, APIs and buckets.
    """
    first = split(pattern)
    return pattern.startswith("$") and not any(tuple(first[: len(known)]) == known for known in _REQUESTS)


def parts_of(spec: Spec, decl: SubjectDecl) -> list[Part]:
    """A subject's pattern for `patterns.alternatives`, with the token that may be absent."""
    return [_part(spec, decl, piece) for piece in pieces(decl.pattern)]


def paths_of(spec: Spec, decl: SubjectDecl) -> list[Positions]:
    """All subjects of a declaration: each combination of values of closed sets; with and without a
    token that may be absent.
    """
    parts = parts_of(spec, decl)
    shorter = alternatives(parts[:-1]) if _may_end_early(decl.pattern) else []
    return [*shorter, *alternatives(parts)]


def _part(spec: Spec, decl: SubjectDecl, piece: Piece) -> Part:
    if not piece.name:
        return piece.text
    if piece.is_tail:
        return TAIL
    return _values(piece, spec.token(decl, piece.name))


def _values(piece: Piece, token: TokenDecl) -> Open | Sequence[str]:
    if token.enum is not None:
        return tuple(map(piece.around, token.enum))
    number = Number(token.format or "d", token.min, token.max) if token.base == "int" else None
    return Open(frozenset(map(piece.around, token.exclude)), None, piece.prefix, piece.suffix, number)


def _may_end_early(pattern: str) -> bool:
    return piece_of(split(pattern)[-1]).is_optional


def wildcards(spec: Spec, decl: SubjectDecl, given: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """What receives all subjects of a declaration, or those with the `given` values, as NATS writes
    it: two patterns if the last token may be absent. A wildcard takes whole tokens: in place of a
    part, it receives others, too.
    """
    found = [_wildcard(spec, decl, piece, given or {}) for piece in pieces(decl.pattern)]
    either = _may_end_early(decl.pattern) and names_in(decl.pattern)[-1] not in (given or {})
    return (*([".".join(found[:-1])] if either else []), ".".join(found))


def _wildcard(spec: Spec, decl: SubjectDecl, piece: Piece, given: Mapping[str, str]) -> str:
    if not piece.name:
        return piece.text
    if piece.name in given:
        return piece.around(given[piece.name])
    if piece.is_tail:
        return ">"
    values = spec.token(decl, piece.name).enum
    return ".".join("*" * (len(values[0].split(".")) if values else 1))


def received_by(spec: Spec, decl: SubjectDecl) -> list[Positions]:
    """What the wildcards of a subject receive, if a part received only tokens with its text."""
    parts = parts_of(spec, decl)
    wide: list[Part] = []
    for piece, part in zip(pieces(decl.pattern), parts, strict=True):
        if isinstance(part, str | Open | Tail):
            wide.append(Open(prefix=piece.prefix, suffix=piece.suffix) if isinstance(part, Open) else part)
        elif piece.is_part:
            wide.append(Open(prefix=piece.prefix, suffix=piece.suffix))
        else:
            wide += [Open()] * len(part[0].split("."))
    shorter = alternatives(wide[:-1]) if _may_end_early(decl.pattern) else []
    return [*shorter, *alternatives(wide)]


def widest(spec: Spec, decl: SubjectDecl, given: Mapping[str, str] | None = None) -> str:
    """The only pattern of `wildcards`, of a subject whose last token is always there."""
    (found,) = wildcards(spec, decl, given)
    return found


def taken(spec: Spec, decl: ConsumerDecl) -> tuple[str, ...]:
    """What a consumer receives, as NATS writes it: its filters, or all that its stream has."""
    chosen = tuple(one for table in decl.chosen for one in filtered(spec, table))
    stream = spec.streams[decl.stream]
    return chosen or (_whole(stream.subjects) if stream.retention == "workqueue" else stream.subjects)


def _whole(subjects: tuple[str, ...]) -> tuple[str, ...]:
    """Filters that leave nothing of a work queue without a consumer, where it would take room until
    it is too old.

    nats-server 2.15 stores a subject with `>` as a token within it, which no `*` of a filter
    matches: a filter ends in `>` from the first wildcard on.
    """
    wide = tuple(dict.fromkeys(one if "*" not in one else f"{one.partition('*')[0]}>" for one in subjects))
    paths = {one: patterns.positions(one) for one in wide}
    return tuple(one for one in wide if not any(other != one and patterns.covers(paths[other], paths[one]) for other in wide))


def filtered(spec: Spec, table: dict[str, str]) -> tuple[str, ...]:
    """What a filter in the spec is to NATS."""
    return wildcards(spec, spec.subjects[table["subject"]], {key: value for key, value in table.items() if key != "subject"})


def feeding(spec: Spec, stream: str, *, transformed: bool = False) -> frozenset[str]:
    """The streams whose messages reach `stream`: itself, and its mirror or sources in the spec.

    With `transformed` also through subject transforms, after which the subjects are other ones.
    """
    found = {stream}
    waiting = [stream]
    while waiting:
        origins = [one for one in spec.streams[waiting.pop()].origins if one.external is None]
        new = {one.name for one in origins if transformed or not one.subject_transforms} - found
        found |= new
        waiting += new
    return frozenset(found)
