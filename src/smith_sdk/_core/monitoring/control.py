"""The keys of the bucket of switches: what back pressure writes, and admission watches.

While any key `quarantine.<rule>` exists, each admission process quarantines new intents. A key has
a TTL and is renewed by its writer: a process that dies leaves no switch on for ever.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ..foreign_text import bounded, escape_control
from ..jetstream.kv import Entry

BUCKET: Final = "SMITH_CONTROL"
KEY_TTL: Final = 60.0
"""Seconds for which a switch stays on if it is not renewed."""
RENEWAL: Final = KEY_TTL / 4
"""Seconds between two renewals: a cluster may be without a leader for some of them."""
BACKPRESSURE: Final = "backpressure"
"""The rule that a quarantine by a switch names, and the first token of what a rule does now."""
_QUARANTINE: Final = "quarantine"
QUARANTINE: Final = f"{_QUARANTINE}."
"""What the keys begin with that switch the quarantine on."""
SWITCHES: Final = f"{QUARANTINE}*"
"""The pattern of the keys that switch the quarantine on."""


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a key that switches the quarantine on."""

    rule: str
    """The rule of back pressure that holds."""
    reason: str
    """Why, in words: it stands in the quarantine, in the audit trail, and in the answer."""
    since: str
    """When it was switched on, in RFC 3339."""
    owner: str
    """The process that renews it."""

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


def switch_key(rule: str) -> str:
    """The key by which `rule` switches the quarantine on."""
    return f"{_QUARANTINE}.{rule}"


def read_switch(entry: Entry) -> Switch:
    """The switch that `entry` is. A value that another program has written counts as well."""
    rule = entry.key.removeprefix(f"{_QUARANTINE}.")
    try:
        found = msgspec.json.decode(entry.value, type=Switch)
    except (msgspec.ValidationError, msgspec.DecodeError):
        found = Switch(rule=rule, reason="", since=entry.time, owner="")
    reason = bounded(escape_control(found.reason)) or f"the key {entry.key} of bucket {BUCKET} is set"
    return Switch(rule=rule, reason=reason, since=found.since, owner=found.owner)
