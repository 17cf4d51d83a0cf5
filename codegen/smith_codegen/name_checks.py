"""Names in a spec that become names in Python."""

from __future__ import annotations

import difflib
import keyword
from collections.abc import Iterable, Iterator

from .errors import SpecError
from .locate import Path as Key
from .spec import Spec


def is_name(name: str) -> bool:
    return name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and not name.startswith("_")


def is_class_name(name: str) -> bool:
    return is_name(name) and name[:1].isupper() and not keyword.iskeyword(name)


def python_name(spec: Spec, key: Key, name: str, taken: frozenset[str]) -> Iterator[SpecError]:
    if not is_name(name) or name != name.lower():
        yield spec.error(
            key,
            f"{name!r} is not a valid Python name",
            "use lower case, digits and '_', such as intent_id, and avoid Python keywords",
        )
    elif name in taken:
        yield spec.error(key, f"{name!r} is reserved for generated code", "choose another")


def suggest(name: str, known: Iterable[str], otherwise: str) -> str:
    """The fix for an unknown name."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}? If not, {otherwise}" if close else otherwise
