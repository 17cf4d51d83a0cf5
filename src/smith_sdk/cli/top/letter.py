"""One dead letter in full: why it failed, where, its headers, its payload, the traceback."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.text import Text

from ..._core.foreign_text import bounded, escape_control
from ...options import format_size
from . import cells
from .board import clean

if TYPE_CHECKING:
    from ...aio import DeadLetter

_MOST: Final = 64 * 1024
"""Bytes of a payload that are shown."""
_LINES: Final = 2000
_BINARY: Final = 512
_TOKENS: Final = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=\s*:)|(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>-?\d[\d.eE+-]*|true|false|null)'
)
_COLOURS: Final = {"key": cells.ACCENT, "string": "#2fbf95", "word": "#e69f00"}


def letter_text(letter: DeadLetter) -> Text:
    """All of it, with control characters escaped: the terminal obeys nothing of it."""
    text = Text()
    for name, value in _facts(letter):
        text.append_text(Text.assemble((f"{name:>16}  ", cells.DIM), clean(value), "\n"))
    text.append_text(_section("headers"))
    for name, value in sorted(letter.headers.items()):
        text.append_text(Text.assemble((f"  {clean(name)}", cells.ACCENT), ": ", clean(bounded(value)), "\n"))
    if not letter.headers:
        text.append_text(Text("  none\n", cells.DIM))
    text.append_text(_section(f"payload, {format_size(letter.size)}"))
    text.append_text(_indented(payload_lines(letter.payload)))
    if letter.truncated:
        text.append_text(Text(f"  only the first {format_size(len(letter.payload))} are in the letter\n", cells.TONES["warn"]))
    if letter.traceback:
        text.append_text(_section("traceback"))
        text.append_text(_indented(_traceback(letter.traceback)))
    return text


def _facts(letter: DeadLetter) -> Iterator[tuple[str, str]]:
    yield "error", f"{letter.error_type}: {letter.error}"
    yield "subject", letter.subject
    yield "stored as", f"message {letter.seq:,} of {letter.stream}{_at(letter.stored)}"
    yield "consumer", letter.consumer
    yield "attempts", f"{letter.attempts:,}{_between(letter.first_delivered, letter.last_delivered)}"
    yield "dead-lettered", _time(letter.time)
    if letter.worker or letter.host:
        yield "by", f"{letter.worker} on {letter.host}"
    if letter.replays:
        yield "replayed", f"{letter.replays:,} times before; the last time from {letter.replay_of}"
    if letter.dropped_headers:
        yield "headers dropped", f"{letter.dropped_headers:,}"
    for problem in letter.problems:
        yield "problem", problem


def _time(moment: datetime) -> str:
    passed = (datetime.now(UTC) - moment).total_seconds()
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z, {cells.lasting(max(0.0, passed))} ago"


def _at(moment: datetime | None) -> str:
    return "" if moment is None else f", {_time(moment)}"


def _between(first: datetime | None, last: datetime | None) -> str:
    if first is None or last is None:
        return ""
    return f", over {cells.lasting(max(0.0, (last - first).total_seconds()))}"


def _section(title: str) -> Text:
    return Text.assemble("\n", (f" {title} ", cells.TITLE), ("─" * max(4, 60 - len(title)), cells.RULE), "\n")


def payload_lines(payload: bytes) -> list[Text]:
    """JSON on several lines, other text as it is, anything else in hexadecimal digits."""
    if not payload:
        return [Text("empty", cells.DIM)]
    cut = payload[:_MOST]
    try:
        lines = [_coloured(one) for one in escape_control(_pretty(cut)).splitlines()]
    except (ValueError, RecursionError):  # not JSON, or only the beginning of it
        try:
            lines = [Text(one) for one in escape_control(_decoded(cut)).expandtabs().splitlines()]
        except UnicodeDecodeError:
            return [*_hexadecimal(payload[:_BINARY]), *_more(len(payload) - _BINARY)]
    return [*lines[:_LINES], *_more(len(payload) - _MOST)]


def _pretty(payload: bytes) -> str:
    msgspec.json.decode(payload, type=msgspec.Raw)  # `format` does not look at all of it
    return msgspec.json.format(payload.decode(), indent=2)


def _decoded(payload: bytes) -> str:
    for left in range(4):  # the cut may have gone through a character
        try:
            return payload[: len(payload) - left].decode()
        except UnicodeDecodeError as error:
            if left == 3 or error.end < len(payload) - left:
                raise
    raise AssertionError


def _more(left: int) -> list[Text]:
    return [Text(f"... {format_size(left)} more", cells.DIM)] if left > 0 else []


def _coloured(line: str) -> Text:
    text = Text(line)
    for found in _TOKENS.finditer(line):
        if found.lastgroup is not None:
            text.stylize(_COLOURS[found.lastgroup], found.start(), found.end())
    return text


def _hexadecimal(payload: bytes) -> Iterator[Text]:
    for start in range(0, len(payload), 16):
        part = payload[start : start + 16]
        shown = "".join(chr(one) if 32 <= one < 127 else "." for one in part)
        yield Text.assemble((f"{start:06x}  ", cells.DIM), f"{part.hex(' '):<47}", ("  " + shown, cells.ACCENT))


def _traceback(trace: str) -> Iterator[Text]:
    lines = escape_control(trace).expandtabs().splitlines()
    for number, line in enumerate(lines, 1):
        is_frame = line.lstrip().startswith("File ")
        yield Text(line, cells.TONES["bad"] if number == len(lines) else cells.ACCENT if is_frame else "")


def _indented(lines: Iterable[Any]) -> Text:
    text = Text()
    for line in lines:
        text.append_text(cells.joined("  ", line, "\n"))
    return text
