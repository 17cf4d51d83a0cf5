"""A document of JSON or YAML, and the references inside it. Nothing is fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_DEEPEST: Final = 100
"""Levels of a document."""
_LARGEST: Final = 16 * 1024 * 1024

Node = Mapping[str, Any]


class DocumentError(Exception):
    """What is wrong with a document, and where."""


class Remote(Exception):
    """A reference out of the document."""


def load(path: Path) -> Node:
    """The document in a file. Raises `DocumentError` and `OSError`."""
    if path.stat().st_size > _LARGEST:
        raise DocumentError(f"is larger than {_LARGEST} bytes")
    text = path.read_text(encoding="utf-8")
    try:
        found = json.loads(text) if path.suffix == ".json" or text.lstrip().startswith("{") else _yaml(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"cannot be read: {str(error)[:300] or 'too many levels'}") from None
    _check(found, "", _DEEPEST)
    if not isinstance(found, dict):
        raise DocumentError(f"is not an object but {type(found).__name__}")
    return found


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise DocumentError("YAML needs PyYAML: pip install 'smith-sdk[codegen]'") from None

    class Loader(yaml.SafeLoader):
        """Without aliases, of which a few lines can stand for gigabytes, and without times."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise DocumentError(f"line {mark.line + 1}: YAML aliases are not read: use $ref")
            return super().compose_node(parent, index)

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag.rpartition(":")[2] not in ("bool", "timestamp")]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    booleans = re.compile("true|True|TRUE|false|False|FALSE")  # of YAML 1.2: `on` is a text
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", booleans, list("tTfF"))
    try:
        return yaml.load(text, Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise DocumentError(f"is not valid YAML: {' '.join(str(error).split())[:300]}") from None


def _check(value: Any, at: str, left: int) -> None:
    if left == 0:
        raise DocumentError(f"has more than {_DEEPEST} levels")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise DocumentError(f"{at or 'the top'} has the key {key!r}, which is not a text: put it in quotes")
            _check(inner, f"{at}/{key}", left - 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check(inner, f"{at}/{index}", left - 1)


class References:
    """Follows the references inside one document."""

    def __init__(self, document: Node) -> None:
        self._document = document

    def follow(self, node: Any) -> tuple[Any, str]:
        """What a node is or refers to, and the last part of the last reference, or "".

        Raises `Remote` for a reference out of the document, `DocumentError` for one that leads
        nowhere or in a circle.
        """
        name = ""
        seen: list[str] = []
        while isinstance(node, dict) and isinstance(node.get("$ref"), str):
            reference = node["$ref"]
            if reference in seen:
                raise DocumentError(f"the references {' -> '.join([*seen, reference])} form a circle")
            seen.append(reference)
            if not reference.startswith("#"):
                raise Remote(reference)
            node, name = self._at(reference), reference.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        return node, name

    def _at(self, reference: str) -> Any:
        found: Any = self._document
        for part in reference.removeprefix("#").split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            else:
                raise DocumentError(f"the reference {reference} leads nowhere")
        return found
