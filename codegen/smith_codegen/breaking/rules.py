"""One rule for each key that a spec may have: what breaks when it changes, and what to do.

`RULES` is the whole table, by the declaration's struct and the key; a declaration itself has a
rule, too. A test fails if a key has no rule, or if `breaking` reports something that the table does
not say. The table of docs/howto/breaking.md is made from it.

A key whose rule is a limit, a flag or "any change" is compared by `keys.py`, and needs no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .bucket_rules import BUCKETS
from .payload_rules import PAYLOADS
from .rule import REMEDIES, Deploy, Effect, Kind, Rule
from .topology_rules import TOPOLOGY

__all__ = ["REMEDIES", "RULES", "Deploy", "Effect", "Kind", "Rule"]

RULES: Final[Mapping[str, Rule]] = {**PAYLOADS, **TOPOLOGY, **BUCKETS}
