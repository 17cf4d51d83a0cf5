"""Examples of payloads: those that a spec declares, or one that is made from the schema."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..model import Model, Token
from .message_schemas import MessageSchemas
from .validity import problems

_MADE: Final[Mapping[str, Any]] = {
    "uuid7": "01970b5e-8c00-7a3d-9f21-6b1c4e5d7a90",
    "uuid4": "7f3c1b2a-5d4e-4c6b-8a9f-0e1d2c3b4a59",
    "now_ns": 1767225600000000000,
    "now_rfc3339": "2026-01-01T00:00:00.000000Z",
    "now": "2026-01-01T00:00:00Z",
    "today": "2026-01-01",
}
_FORMATS: Final[Mapping[str, str]] = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "duration": "PT90S",
    "uuid": "7f3c1b2a-5d4e-4c6b-8a9f-0e1d2c3b4a59",
}
"""What stands for a value that is made."""
_BY_NAME: Final = (
    (r"(^|_)url$", "https://example.com/"),
    (r"(^|_)path$", "/srv/example.txt"),
    (r"(^|_)email$", "a@example.com"),
    (r"(_at|_time|timestamp)$", "2026-01-01T00:00:00.000000Z"),
    (r"_ns$", 1767225600000000000),
    (r"_ms$", 30000),
)
_TRIED: Final = ("a", "A", "0", "abc", "ABC", "a1", "A1", "abc-1", "EUR", "DE", "01", "2026-01-01", "12345", "a@example.com")
"""Texts that are tried where a pattern binds a field."""
_EXTRA: Final = (0, 1, 4, 16, 64)
MISSING: Final = object()


class Samples:
    """Makes examples. Every one is valid, or there is none."""

    def __init__(self, model: Model, declared: Mapping[str, tuple[Mapping[str, Any], ...]]) -> None:
        schemas = MessageSchemas(model, needs_tag=True)
        self._declared = declared
        self._defs = {name: schemas.of(name) for name in schemas.declared}

    def of(self, name: str) -> Iterator[Any]:
        """The examples of a payload, or one of a family's first member."""
        if declared := self._declared.get(name):
            yield from declared
            return
        made = self._make(self._defs[name], name, (name,))
        if made is not MISSING and not any(problems(self._defs[name], made, self._defs)):
            yield made

    def wrong(self, name: str) -> Iterator[tuple[int, str]]:
        """The declared examples of a payload that are not valid, with the first problem of each."""
        for index, example in enumerate(self._declared.get(name, ())):
            if problem := next(problems(self._defs[name], example, self._defs), ""):
                yield index, problem

    def _make(self, schema: Mapping[str, Any], name: str, inside: tuple[str, ...]) -> Any:
        if "$ref" in schema:
            other = schema["$ref"].rpartition("/")[2]
            return MISSING if other in inside else self._make(self._defs[other], name, (*inside, other))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                made = (self._make(one, name, inside) for one in schema[keyword] if one.get("const") != "")
                return next((one for one in made if one is not MISSING), MISSING)
        if "const" in schema or "enum" in schema:
            return schema["const"] if "const" in schema else schema["enum"][0]
        kind = schema.get("type", "object")
        if "import" in schema.get("x-smith", {}):
            return MISSING  # the class knows
        if kind == "object":
            return self._object(schema, inside)
        if kind == "array":
            made = self._make(schema["items"], name.removesuffix("s"), inside)
            return [] if made is MISSING else [made] * max(1, schema.get("minItems", 1))
        return _scalar(kind, schema, name)

    def _object(self, schema: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
        found = {}
        for name, one in schema.get("properties", {}).items():
            made = self._field(one, name, inside)
            if made is not MISSING:
                found[name] = made
            elif name in schema.get("required", ()):
                return MISSING
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) and not found and (made := self._make(extra, "value", inside)) is not MISSING:
            found["key"] = made
        return found

    def _field(self, schema: Mapping[str, Any], name: str, inside: tuple[str, ...]) -> Any:
        new = schema.get("x-smith", {}).get("new")
        chosen = [_MADE.get(new, new) if isinstance(new, str) else new, schema.get("default")]
        for value in chosen:
            if value is not None and not any(problems(schema, value, self._defs)):
                return value
        return self._make(schema, name, inside)


def _scalar(kind: Any, schema: Mapping[str, Any], name: str) -> Any:
    named = next((value for pattern, value in _BY_NAME if re.search(pattern, name)), None)
    if kind == "boolean":
        return True
    if kind in ("integer", "number"):
        value = named if isinstance(named, int) else 1
        return min(max(value, schema.get("minimum", value)), schema.get("maximum", value))
    if schema.get("contentEncoding") == "base64":
        return "Ynl0ZXM=".rjust(schema.get("minLength", 0), "A")[: schema.get("maxLength")]
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    tried = (
        *schema.get("examples", ()),
        "12.50" if "[0-9_]" in schema.get("pattern", "") else None,
        named if isinstance(named, str) else None,
        _word(name),
        *_TRIED,
        *_MADE.values(),
    )
    matched = (matching(schema["pattern"], extra) for extra in _EXTRA) if "pattern" in schema else ()
    made = itertools.chain((_sized(one, schema) for one in tried if isinstance(one, str)), matched)
    return next((one for one in made if not any(problems(schema, one, {}))), MISSING)


def matching(pattern: str, extra: int = 0) -> str:
    """A short text that a pattern of a field matches, as a rule; `extra`: what repeats more often
    than it has to."""
    return _joined(re._parser.parse(pattern), extra)  # type: ignore[attr-defined]


def _joined(parts: Any, extra: int) -> str:
    return "".join(_matched(op, value, extra) for op, value in parts)


def _matched(op: Any, value: Any, extra: int) -> str:
    match str(op):
        case "LITERAL":
            return chr(value)
        case "NOT_LITERAL":
            return next(letter for letter in "ax" if letter != chr(value))
        case "ANY":
            return "a"
        case "IN":
            return next((letter for letter in string.printable if _is_in(letter, value)), "")
        case "MAX_REPEAT" | "MIN_REPEAT":
            least, most, inner = value
            count: int = min(least + extra, int(most))
            return _joined(inner, extra) * count
        case "SUBPATTERN":
            return _joined(value[-1], extra)
        case "BRANCH":
            return _joined(value[1][0], extra)
        case _:
            return ""


def _is_in(letter: str, members: Any) -> bool:
    found, negated = False, False
    for op, value in members:
        negated = negated or str(op) == "NEGATE"
        if str(op) in ("LITERAL", "RANGE"):
            low, high = (value, value) if str(op) == "LITERAL" else value
            found = found or low <= ord(letter) <= high
    return found is not negated


def _sized(text: str, schema: Mapping[str, Any]) -> str:
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", len(text) + schema.get("minLength", 0))]


def _word(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "text"


def token(token: Token) -> str:
    """A value of a token, as it stands in a subject, with the text around it."""
    if token.values:
        value = token.values[0]
    elif token.kind in ("int", "shard"):
        value = format(token.min or 0, token.format or "d")
    else:
        word = _word(token.name)
        value = word if word not in token.exclude else f"{word}-1"
    return f"{token.prefix}{value}{token.suffix}"
