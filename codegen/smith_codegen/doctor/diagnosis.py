"""How the doctor says what it found: one check after the other, as text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import msgspec


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. What is not `ok` says what to do about it, and where it is about a file, which and the line."""

    name: str
    status: Literal["ok", "warn", "fail"]
    says: str
    fix: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        where = ":".join(part for part in (self.file, str(self.line) if self.line else "") if part)
        first = f"{self.status:<5} {self.name}: {f'{where}: ' if where else ''}{self.says}"
        return f"{first}\n      -> {self.fix}" if self.fix else first


def as_json(checks: Sequence[Check]) -> str:
    return json.dumps({"ok": healthy(checks), "checks": msgspec.to_builtins(checks)}, indent=1)


def as_text(checks: Sequence[Check]) -> str:
    """Every check, then the sum."""
    counts = {status: sum(check.status == status for check in checks) for status in ("ok", "warn", "fail")}
    return "\n".join([*map(str, checks), ", ".join(f"{count} {status}" for status, count in counts.items())])


def healthy(checks: Sequence[Check]) -> bool:
    """Whether nothing failed; a warning is no failure."""
    return all(check.status != "fail" for check in checks)
