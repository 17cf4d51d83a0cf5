"""What the caller's own configuration of an embedded server says about logins. No server is asked.

The format: https://docs.nats.io/running-a-nats-service/configuration. Keys are in any case; after a
key come `:`, `=` or white space; a value that is a block has braces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LOGINS: Final = frozenset(
    (
        "authorization",
        "accounts",
        "no_auth_user",
        "operator",
        "operators",
        "root",
        "roots",
        "root_operator",
        "root_operators",
        "trusted",
        "trusted_keys",
    )
)
"""Keys at the top of the file that say who may connect."""
_INCLUDE: Final = "include"
_DEPTH: Final = 8
"""Files that include each other."""

_TOKEN: Final = re.compile(
    r"""
    (?P<text>"(?:\\.|[^"\\])*"|'[^']*')
    |(?P<comment>\#[^\n]*|(?<![^\s{}\[\](),;:=])//[^\n]*)
    |(?P<open>[{\[(])
    |(?P<close>[}\])])
    |(?P<assign>[:=])
    |(?P<end>[\n,;])
    |(?P<word>[^\s{}\[\]()"',;:=]+)
    """,
    re.VERBOSE,
)


def has_login(config: str) -> bool:
    """Whether `config`, or a file that it includes, says who may connect to the server."""
    return _has_login(config, _DEPTH)


def _has_login(config: str, depth: int) -> bool:
    for key, value in _top_level(config):
        if key in _LOGINS:
            return True
        if key == _INCLUDE and depth:
            try:
                included = Path(value).read_text(encoding="utf-8", errors="replace")
            except (OSError, ValueError):  # the server reports it
                continue
            if _has_login(included, depth - 1):
                return True
    return False


def _top_level(config: str) -> Iterator[tuple[str, str]]:
    """The keys outside all blocks, in lower case, each with its value; "" if that is a block."""
    depth, key = 0, None
    for found in _TOKEN.finditer(config):
        match found.lastgroup:
            case "open":
                if not depth and key is not None:
                    yield key, ""
                depth += 1
            case "close":
                depth -= 1
                key = None
            case "end" if not depth:
                key = None
            case "text" | "word" if not depth:
                word = found[0].strip("\"'")
                if key is None:
                    key = word.lower()
                else:
                    yield key, word


def secrets_in(config: str) -> list[str]:
    """The secrets in `config`, which must not be shown, longest first."""
    values = re.findall(r"""(?i)(?:pass(?:word)?|token|seed|secret)\b\s*[:=]?\s*("[^"]*"|'[^']*'|[^\s,{}]+)""", config)
    in_urls = re.findall(r"://([^/@\s\"']+)@", config)
    return sorted({value.strip("\"'") for value in [*values, *in_urls]} - {""}, key=len, reverse=True)
