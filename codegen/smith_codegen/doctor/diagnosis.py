"""The output of the doctor: its checks as text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import msgspec


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check. Unless `ok`, it has a fix, and the file and line that it is
    about.
    """

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
    """Whether no check failed; a warning is not a failure."""
    return all(check.status != "fail" for check in checks)
