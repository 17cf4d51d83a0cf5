"""Whether a JSON value is valid for a schema that `message_schemas` makes: the keywords that it
uses, and no others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list, tuple),
    "object": (dict,),
}
_SILENT: Final = frozenset(
    (
        "$schema",
        "$defs",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "contentEncoding",
        "format",
        "writeOnly",
        "x-smith",
    )
)
"""Keywords that bind nothing."""


def problems(schema: Mapping[str, Any], value: Any, defs: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """What is wrong with `value`; `defs` are the schemas that references name, by their last part.

    Raises `NotImplementedError` for a keyword that is not known here.
    """
    for keyword, wanted in schema.items():
        if keyword in _SILENT or (keyword == "required" and not isinstance(value, dict)):
            continue
        if keyword not in _CHECKS:
            raise NotImplementedError(f"{keyword} at {at or 'the top'}")
        yield from _CHECKS[keyword](schema, wanted, value, defs, at)


def _is(kind: str, value: Any) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _said(found: bool, at: str, problem: str) -> Iterator[str]:
    if not found:
        yield f"{at or 'it'} {problem}"


def _properties(schema: Any, wanted: Any, value: Any, defs: Any, at: str) -> Iterator[str]:
    for name in wanted if isinstance(value, dict) else ():
        if name in value:
            yield from problems(wanted[name], value[name], defs, f"{at}.{name}".lstrip("."))


def _additional(schema: Any, wanted: Any, value: Any, defs: Any, at: str) -> Iterator[str]:
    for name in value if isinstance(value, dict) else ():
        if name in schema.get("properties", {}):
            continue
        where = f"{at}.{name}".lstrip(".")
        if wanted is False:
            yield f"{where} is not a field"
        elif wanted is not True:
            yield from problems(wanted, value[name], defs, where)


def _items(schema: Any, wanted: Any, value: Any, defs: Any, at: str) -> Iterator[str]:
    for index, item in enumerate(value if isinstance(value, list | tuple) else ()):
        yield from problems(wanted, item, defs, f"{at}[{index}]")


def _matching(schema: Any, wanted: Any, value: Any, defs: Any, at: str) -> Iterator[str]:
    found = [list(problems(one, value, defs, at)) for one in wanted]
    if all(found):
        yield min(found, key=len)[0]


def _reference(schema: Any, wanted: str, value: Any, defs: Any, at: str) -> Iterator[str]:
    yield from problems(defs[wanted.rpartition("/")[2]], value, defs, at)


def _not(schema: Any, wanted: Any, value: Any, defs: Any, at: str) -> Iterator[str]:
    yield from _said(any(problems(wanted, value, defs, at)), at, f"cannot be {value!r}")


def _size(least: bool, kind: type) -> Any:
    def check(schema: Any, wanted: Any, value: Any, defs: Any, at: str) -> Iterator[str]:
        if isinstance(value, kind):
            size = len(value)  # type: ignore[arg-type]
            yield from _said(size >= wanted if least else size <= wanted, at, f"has a size of {size}")

    return check


_CHECKS: Final[dict[str, Any]] = {
    "type": lambda schema, wanted, value, defs, at: _said(
        any(_is(kind, value) for kind in ([wanted] if isinstance(wanted, str) else wanted)), at, f"is not of type {wanted}"
    ),
    "enum": lambda schema, wanted, value, defs, at: _said(value in wanted, at, f"is {value!r}, which is not one of {wanted}"),
    "const": lambda schema, wanted, value, defs, at: _said(value == wanted, at, f"is {value!r}, not {wanted!r}"),
    "pattern": lambda schema, wanted, value, defs, at: _said(
        not isinstance(value, str) or re.search(wanted, value) is not None, at, f"is {value!r}, which does not match {wanted}"
    ),
    "minimum": lambda schema, wanted, value, defs, at: _said(
        not _is("number", value) or value >= wanted, at, f"is less than {wanted}"
    ),
    "maximum": lambda schema, wanted, value, defs, at: _said(
        not _is("number", value) or value <= wanted, at, f"is more than {wanted}"
    ),
    "required": lambda schema, wanted, value, defs, at: (f"{at or 'it'} has no {name}" for name in wanted if name not in value),
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "anyOf": _matching,
    "oneOf": _matching,
    "$ref": _reference,
    "not": _not,
    "minLength": _size(True, str),
    "maxLength": _size(False, str),
    "minItems": _size(True, list),
    "maxItems": _size(False, list),
    "minProperties": _size(True, dict),
    "maxProperties": _size(False, dict),
}
