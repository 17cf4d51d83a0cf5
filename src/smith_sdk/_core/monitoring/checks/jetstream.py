"""JetStream for the account: whether its API answers, how much of its limits is used, its level."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ....options import format_size
from ...foreign_text import one_line
from ...jetstream.api import release_name
from ..health import Check
from .words import Finding, counted, joined, lasting, not_known, percent

NAME: Final = "jetstream"
NEAR: Final = 0.8
"""The share of a limit of the account from which on it is degraded."""
_FULL: Final = 0.99
_LONGEST: Final = 100

Json = dict[str, Any]


def jetstream_check(account: Json, seconds: float, needs: tuple[int, str]) -> Check:
    """From the account's INFO, which took `seconds`; `needs`: an API level, and a key that needs
    it."""
    level = account.get("api", {}).get("level", 0)
    found = [*_of_limits(account)]
    for name, tier in (account.get("tiers") or {}).items():
        found += _of_limits(tier, f" of tier {one_line(name, _LONGEST)}")
    wanted, key = needs
    if level < wanted:
        why = f"API level {level} ({release_name(level)}), and {key} in the spec needs {wanted} ({release_name(wanted)})"
        found.append(Finding("failing", why, f"upgrade the server, or take {key} out of the spec"))
    else:
        found.append(Finding("ok", f"API level {level}"))
    return joined(NAME, found, f"answered in {lasting(seconds)}")


def jetstream_failed(error: Exception) -> Check:
    return not_known(
        NAME, error, "look at the servers: in a cluster without a majority, or without a leader, the API does not answer"
    )


def _of_limits(usage: Json, where: str = "") -> Iterator[Finding]:
    limits = usage.get("limits") or {}
    for kind, setting in (("storage", "max_file"), ("memory", "max_mem")):
        used, most = usage.get(kind, 0), limits.get(f"max_{kind}", -1)
        if most <= 0:
            continue  # unlimited, or not allowed at all
        share = used / most
        text = f"{kind}{where} {percent(share)} used, {format_size(used)} of {format_size(most)}"
        advice = f"raise {setting} of the account, purge what is not needed, or lower max_age and max_bytes in the spec"
        if share >= _FULL:
            yield Finding("failing", f"{text}: publishes are refused", advice)
        elif share >= NEAR:
            yield Finding("degraded", f"{text}: once it is full, publishes are refused", advice)
        else:
            yield Finding("ok", text)
    used, most = usage.get("consumers", 0), limits.get("max_consumers", -1)
    if most > 0 and used >= most * NEAR:
        text = f"{used} of {most} consumers{where}: each reader needs one, and is refused beyond"
        yield Finding("degraded", text, "raise max_consumers of the account, or delete those that are not needed")
    else:
        yield Finding("ok", f"{counted(usage.get('streams', 0), 'stream')} and {counted(used, 'consumer')}{where}")
