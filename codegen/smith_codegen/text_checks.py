"""Checks of the words in a spec, which generated code and documents repeat."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from .errors import SpecError
from .locate import Path as Key
from .message_spec import EnumDecl
from .spec import SECTIONS, Spec, fields_of
from .topology_spec import Strict

_WORDS = ("doc", "deprecated", "reason")


def check(spec: Spec) -> Iterator[SpecError]:
    """Invisible characters in a text, or ones that make a line look like another one."""
    for section in SECTIONS:
        for path, words in _words((section,), getattr(spec, section)):
            found = next((char for char in words if _is_hidden(char)), None)
            if found is not None and spec.is_own(path):
                name = unicodedata.name(found, "a control character")
                yield spec.error(path, f"has U+{ord(found):04X} ({name.lower()})", "write text, and \\n for a line end")


def _is_hidden(char: str) -> bool:
    """Whether a character does not show: controls, line separators, and marks of direction."""
    return (
        char not in "\n\t" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in "\u200c\u200d\u00ad"
    )


def _words(path: Key, value: object) -> Iterator[tuple[Key, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _words((*path, name), inner)
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from _words((*path, str(index)), inner)
    elif isinstance(value, EnumDecl):
        yield from ((("enums", path[1], "values", name), words) for name, words in value.docs.items())
        yield (*path, "doc"), value.doc
    elif isinstance(value, Strict):
        for field in fields_of(type(value)):
            inner = getattr(value, field.name)
            if field.name in _WORDS and isinstance(inner, str):
                yield (*path, field.encode_name), inner
            elif isinstance(inner, (dict, tuple, Strict)) and field.name not in ("default", "new", "const"):
                yield from _words((*path, field.encode_name), inner)
