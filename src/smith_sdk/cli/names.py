"""The subjects of a contract, by the names that its spec gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..contract import Contract


def subject_classes(contract: Contract) -> list[Any]:
    """The class of each subject."""
    return [leaf.cls for leaf in _leaves(contract.trie)]


def _leaves(node: Any) -> Iterator[Any]:
    for key, below in node.items():
        if key is None:
            yield below
        else:
            yield from _leaves(below)
