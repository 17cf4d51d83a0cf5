"""A draft as TOML text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_LINES: Final = ("spec", "tokens", "subjects")
"""Sections whose entries are on one line each; those of the others are tables of their own."""
_INNER: Final = ("fields", "params", "streams", "reads")
"""Keys of an entry that are tables of their own, too."""


def text_of(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole text."""
    lines: list[str] = []
    for section, entries in sections.items():
        if not entries:
            continue
        if section in _LINES:
            lines += ["", f"[{section}]", *(f"{_key(name)} = {_value(entry)}" for name, entry in entries.items())]
            continue
        for name, entry in entries.items():
            lines += ["", *_table((section, name), entry)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _table(path: tuple[str, ...], entry: Mapping[str, Any]) -> Iterator[str]:
    inner = {key: value for key, value in entry.items() if key in _INNER and isinstance(value, dict)}
    yield f"[{'.'.join(map(_key, path))}]"
    for key, value in entry.items():
        if key not in inner:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in inner.items():
        if not value:
            continue
        yield from ("", f"[{'.'.join(map(_key, (*path, key)))}]")
        for name, one in value.items():
            yield f"{_key(name)} = {_value(one)}"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(key)} = {_value(one)}' for key, one in value.items())} }}" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


def _text(value: str) -> str:
    made = json.dumps(value.encode("utf-8", "replace").decode(), ensure_ascii=False)
    return re.sub(r"[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", made)
