"""Texts in PromQL."""

from __future__ import annotations


def quoted(text: str) -> str:
    """`text` as a string of PromQL, which has the escapes of Go."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
