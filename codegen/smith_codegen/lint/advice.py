"""From the text of a subject, with holes, to matching subjects of the spec and the typed call."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from enum import Enum, auto

import msgspec

from ..placeholders import Piece, pieces
from ..spec import SHARD_TOKEN, SHARD_TYPE, ShardedDecl, Spec, SubjectDecl, TokenDecl
from .literals import HOLE

_legal = re.compile("[^.*>\\s\x00-\x20\x7f\ud800-\udfff]+")
_placeholder = re.compile(r"\{[^{}.]*\}|%(?:\(\w+\))?[sdr]|\$\{?\w+\}?")
_at_most = 3

_file_suffix = re.compile(
    "bak|cfg|conf|crt|csv|db|gz|html|ini|js|json|jsonl|lock|log|md|ndjson|parquet|pdf|pem|pickle|pid|pkl|png|pyc?|pyi|rst|sh|so"
    "|sock|socket|sqlite3?|svg|tar|tgz|tmp|toml|tsv|txt|whl|xml|ya?ml|zip"
)
"""The last token of a text that is the name of a file, unless it is used as a subject."""


class How(Enum):
    """The use of a text: unknown, or the subject of a call."""

    LITERAL = auto()
    PUBLISH = auto()
    SUBMIT = auto()
    SUBSCRIBE = auto()
    PULL = auto()

    @property
    def publishes(self) -> bool:
        return self in (How.PUBLISH, How.SUBMIT)


class _Match(msgspec.Struct, frozen=True):
    """A subject that a text may be.

    `given` has the value of each token, `HOLE` or `*`; `missed` counts the literals of the pattern
    that the text leaves open.
    """

    subject: str
    given: dict[str, str]
    missed: int


class Advice(msgspec.Struct, frozen=True):
    """The advice for one text: the problem, and what to use, with the imports for it."""

    problem: str
    use: str


class Advisor:
    """Gives advice on texts that look like subjects of a spec."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._roots = tuple(tuple(root.split(".")) for root in spec.roots)
        self._parts = {name: [_part(spec, decl, piece) for piece in pieces(decl.pattern)] for name, decl in spec.subjects.items()}
        self._packages = {name: spec.home(("subjects", name)) for name in spec.subjects}

    def of_text(self, text: str, how: How) -> Advice | None:
        """The advice for `text`; None if it is not, or not certainly, a subject under a root of the
        spec.
        """
        # `$JS` looks like a placeholder of a template, too.
        servers = next((root for root in self._roots if root[0].startswith("$") and text.startswith(f"{'.'.join(root)}.")), ())
        tokens = (*servers, *_tokens(text.removeprefix("".join(f"{token}." for token in servers))))
        after = next((tokens[len(root) :] for root in self._roots if tokens[: len(root)] == root), ())
        if not after and how is not How.LITERAL:
            return self._of_call(text, tokens, how)
        if not after or (how is How.LITERAL and not _is_specific(after, text)):
            return None
        matches = self._matches(tokens)
        if how is How.LITERAL and _file_suffix.fullmatch(tokens[-1]):
            matches = [match for match in matches if not self._ends_open(match.subject)]
        wide = "*" in tokens or ">" in tokens
        if matches:
            return Advice(_problem(how, wide), self._use(matches, how, wide))
        if how is How.LITERAL or not self._parts:
            return None
        return self._unknown(text, how, wide=wide)

    def _of_call(self, text: str, tokens: tuple[str, ...], how: How) -> Advice | None:
        """The advice for the subject of a call that is a root itself, or begins with a hole."""
        if tokens in self._roots:
            return self._unknown(text, how, wide=False) if how.publishes and self._parts else None
        known = {token for token in tokens if HOLE not in token and token not in ("*", ">")}
        matches = self._matches(tokens) if tokens[0] == HOLE and known else []
        found = [match for match in matches if known & self._literals(match.subject)]
        wide = "*" in tokens or ">" in tokens
        return Advice(_problem(how, wide), self._use(found, how, wide)) if found else None

    def _literals(self, subject: str) -> set[str]:
        """The literals of a subject below the roots."""
        found = {part for part in self._parts[subject] if isinstance(part, str)}
        return found.difference(*self._roots)

    def _unknown(self, text: str, how: How, *, wide: bool) -> Advice:
        close = self._closest(text)
        problem = f"is not a subject of the spec; the closest is {self._spec.subjects[close].pattern}"
        unknown = {part.name: "*" if wide else HOLE for part in self._parts[close] if not isinstance(part, str)}
        return Advice(problem, self._use([_Match(close, unknown, 0)], how, wide))

    def mentions(self, text: str) -> bool:
        """Whether the first token of a root stands anywhere in `text`."""
        return any(root[0] in text for root in self._roots)

    def may_begin(self, text: str) -> bool:
        """Whether the known start of `text` may be that of a subject."""
        start = text.partition(HOLE)[0]
        return any(f"{'.'.join(root)}.".startswith(start) or start.startswith(f"{'.'.join(root)}.") for root in self._roots)

    def of_start(self, text: str) -> Advice | None:
        """The advice for a constant that subjects begin with; None for a root alone, or less."""
        tokens = _tokens(text)
        if not any(len(tokens) > len(root) and tokens[: len(root)] == root for root in self._roots):
            return None
        advice = self.of_text(f"{text}.", How.LITERAL)
        return advice and Advice("is the start of a subject as text", advice.use)

    def of_typed(self, path: str, source: str, how: How) -> Advice | None:
        """The advice for publishing the text of `source`, made with `path`; None if it is not a
        subject.
        """
        packages = [package for package in dict.fromkeys(self._packages.values()) if path.startswith(f"{package}.subjects.")]
        if not packages:
            return None
        known = (name for name, package in self._packages.items() if f"{path}.".startswith(f"{package}.subjects.{name}."))
        subject = max(known, key=len, default=None)
        call = "bus.publish" if subject is None else self._method(subject, how)
        return Advice("is a typed subject made text, so nothing checks the payload", f"{call}({source}, payload)")

    def _matches(self, tokens: tuple[str, ...]) -> list[_Match]:
        """All matches, best first. Without `>` in the text, only the best ones.

        With `>` it may be many subjects at once.
        """
        found = [match for name in self._parts if (match := self._match(name, tokens)) is not None]
        found.sort(key=lambda match: match.missed)
        return found if ">" in tokens else [match for match in found if match.missed == found[0].missed]

    def _match(self, subject: str, tokens: tuple[str, ...]) -> _Match | None:
        fits = [
            fit
            for parts in _lengths(self._parts[subject], len(tokens))
            for spread in _spreads(tokens, sum(1 if isinstance(part, str) else part.width for part in parts))
            if (fit := _fit(spread, parts)) is not None
        ]
        if not fits:
            return None
        missed = min(fit[0] for fit in fits)
        given, *others = sorted((fit[1] for fit in fits if fit[0] == missed), key=len, reverse=True)
        return _Match(
            subject,
            {token: value if all(other.get(token) == value for other in others) else HOLE for token, value in given.items()},
            missed,
        )

    def _ends_open(self, subject: str) -> bool:
        last = self._parts[subject][-1]
        return not isinstance(last, str) and (last.decl is None or last.decl.enum is None)

    def _closest(self, text: str) -> str:
        patterns = {decl.pattern: name for name, decl in self._spec.subjects.items()}
        return patterns[difflib.get_close_matches(text.replace(HOLE, "{}"), patterns, n=1, cutoff=0)[0]]

    # ---- what to write instead

    def _use(self, matches: list[_Match], how: How, wide: bool) -> str:
        chosen = matches[:_at_most]
        filters = wide and not how.publishes
        imports: dict[str, list[str]] = {}
        calls = [
            self._of_payload(match.subject, imports)
            if how.publishes and isinstance(self._spec.subjects[match.subject], ShardedDecl)
            else self._construction(match, filters, imports)
            for match in chosen
        ]
        if how.publishes:
            calls = [f"{self._method(match.subject, how)}({call}, payload)" for match, call in zip(chosen, calls, strict=True)]
        use = (" | " if filters else " or ").join(calls)
        if how is How.SUBSCRIBE:
            use = f"bus.subscribe({use})" if filters else " or ".join(f"bus.subscribe({call})" for call in calls)
        more = f" and {len(matches) - _at_most} more" if len(matches) > _at_most else ""
        lines = [f"from {package} import {', '.join(dict.fromkeys(found))}" for package, found in imports.items()]
        return f"{use}{more}, with {'; '.join(lines)}"

    def _method(self, subject: str, how: How) -> str:
        if self._spec.subjects[subject].stream is None:
            return "bus.emit"
        return "bus.submit" if how is How.SUBMIT else "bus.publish"

    def _of_payload(self, subject: str, imports: dict[str, list[str]]) -> str:
        """Of a subject with shards: the payload tells the shard, wherever others put it."""
        sharded = self._spec.sharding[self._spec.derived["subjects", subject]].sharded
        imports.setdefault(self._packages[sharded], []).append("subjects")
        return f"subjects.{sharded}.of(payload)"

    def _construction(self, match: _Match, as_filter: bool, imports: dict[str, list[str]]) -> str:
        imports.setdefault(self._packages[match.subject], []).append("subjects")
        arguments = []
        for name, value in match.given.items():
            if value not in (HOLE, "*"):
                arguments.append(f"{name}={self._value(match.subject, name, value, imports)}")
            elif value == HOLE or not as_filter:
                arguments.append(f"{name}=...")
        namespace, attr, _ = self._spec.python.subjects[match.subject]
        name = f"{namespace}.{attr}".lstrip(".")
        return f"subjects.{name}{'.filter' if as_filter else ''}({', '.join(arguments)})"

    def _value(self, subject: str, token: str, value: str, imports: dict[str, list[str]]) -> str:
        if any(not isinstance(part, str) and part.name == token and part.decl is None for part in self._parts[subject]):
            return f"({', '.join(map(json.dumps, value.split('.')))},)"
        decl, package = self._spec.token(self._spec.subjects[subject], token), self._packages[subject]
        package = self._spec.home(("tokens", token)) if token in self._spec.tokens else package
        if token in self._spec.selectors:
            imports.setdefault(f"{package}.subjects", []).append(token)
            return f"{token}.{self._spec.python.constants[token, value]}"
        if decl.enum is not None:
            return json.dumps(value)
        kind = self._spec.python.tokens.get(token, SHARD_TYPE)
        imports.setdefault("smith_sdk.contract" if decl is SHARD_TOKEN else f"{package}.protocol", []).append(kind)
        return f"{kind}({_number(decl, value) if decl.base == 'int' else json.dumps(value, ensure_ascii=False)})"


class _Open(msgspec.Struct, frozen=True):
    """A placeholder of a pattern. `decl` is None for all tokens to the end."""

    name: str
    decl: TokenDecl | None
    width: int
    prefix: str = ""
    suffix: str = ""
    is_optional: bool = False


_Part = str | _Open


def _part(spec: Spec, subject: SubjectDecl, piece: Piece) -> _Part:
    if not piece.name:
        return piece.text
    if piece.is_tail:
        return _Open(piece.name, None, 1)
    decl = spec.token(subject, piece.name)
    width = len(decl.enum[0].split(".")) if decl.enum else 1
    return _Open(piece.name, decl, width, piece.prefix, piece.suffix, piece.is_optional)


def _lengths(parts: list[_Part], count: int) -> Iterator[list[_Part]]:
    """The parts for a text of `count` tokens: without an optional one, with as many of a tail."""
    last = parts[-1]
    if isinstance(last, _Open) and last.is_optional:
        yield parts[:-1]
    if isinstance(last, _Open) and last.decl is None:
        rest = max(1, count - sum(1 if isinstance(part, str) else part.width for part in parts[:-1]))
        parts = [*parts[:-1], msgspec.structs.replace(last, width=rest)]
    yield parts


def _tokens(text: str) -> tuple[str, ...]:
    """The tokens of a text; one that is not fully known, or formatted later, is `HOLE`.

    A final "." makes it a prefix, so `>`.
    """
    tokens = _placeholder.sub(HOLE, text).split(".")
    if tokens[-1] == "" and len(tokens) > 1:
        tokens[-1] = ">"
    return tuple(HOLE if HOLE in token and _legal.fullmatch(token.replace(HOLE, "x")) else token for token in tokens)


def _is_specific(after: tuple[str, ...], text: str) -> bool:
    """Whether the tokens after the root tell a subject from a logger, a module or a file name."""
    if after[0] in (HOLE, ">"):
        return ">" in after and not text.endswith(".")
    return after != ("*",)


def _problem(how: How, wide: bool) -> str:
    if how.publishes:
        return (
            "is a wildcard or a prefix, which cannot be published to"
            if wide
            else "is published to as text, so nothing checks the payload"
        )
    return "is a subject as text" if how is How.LITERAL else "is subscribed to as text, so messages have no type"


def _spreads(tokens: tuple[str, ...], width: int) -> Iterator[tuple[str, ...]]:
    """Every way to spread `tokens` over `width` wire tokens: a hole and a last `>` may be
    several.
    """
    if not tokens:
        if width == 0:
            yield ()
        return
    head, *rest = tokens
    several = head == HOLE or (head == ">" and not rest)
    for span in range(1, width - len(rest) + 1) if several else (1,):
        for others in _spreads(tuple(rest), width - span):
            yield (("*" if head == ">" and not rest else head,) * span) + others


def _fit(spread: tuple[str, ...], parts: list[_Part]) -> tuple[int, dict[str, str]] | None:
    """The number of literals left open, and the value of each token; None if it does not fit."""
    missed, given, at = 0, {}, 0
    for part in parts:
        if isinstance(part, str):
            if spread[at] != part:
                if spread[at] not in (HOLE, "*"):
                    return None
                missed += 1
            at += 1
            continue
        found = tuple(_inner(part, token) for token in spread[at : at + part.width])
        at += len(found)
        if not _admits(part.decl, found):
            return None
        given[part.name] = HOLE if HOLE in found else "*" if "*" in found else ".".join(found)
    return missed, given


def _inner(part: _Open, token: str) -> str:
    """The value in a wire token with the text of `part` around it; "" if it has other text."""
    if token in (HOLE, "*"):
        return token
    if not (token.startswith(part.prefix) and token.endswith(part.suffix)):
        return ""
    return token[len(part.prefix) : len(token) - len(part.suffix)]


def _admits(decl: TokenDecl | None, found: tuple[str, ...]) -> bool:
    if decl is None:
        return all(one in (HOLE, "*") or _legal.fullmatch(one) for one in found)
    if decl.enum is not None:
        return any(
            all(one in (HOLE, "*", other) for one, other in zip(found, value.split("."), strict=True)) for value in decl.enum
        )
    (one,) = found
    if one in (HOLE, "*"):
        return True
    if decl.base == "int":
        return _number(decl, one) is not None
    return _legal.fullmatch(one) is not None and one not in decl.exclude


def _number(decl: TokenDecl, text: str) -> int | None:
    """The int written as `text`; None if it is not a valid value of the token."""
    form = decl.format or "d"
    try:
        number = int(text, 16 if form.endswith("x") else 10)
    except ValueError:
        return None
    within = (decl.min is None or number >= decl.min) and (decl.max is None or number <= decl.max)
    return number if within and format(number, form) == text else None
