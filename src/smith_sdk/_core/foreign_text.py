"""Text of strangers: what messages, headers, subjects and servers contain, made fit to be shown.

A leaf: it imports nothing of the SDK. Whoever may publish chooses such text, so it must not control
the terminal that shows it, forge a line of a log or a table, or be as long as its author likes.
"""

from __future__ import annotations

import re
from typing import Final

LIMIT: Final = 1024
"""Characters of a foreign text that errors, logs and reasons quote."""

# A terminal obeys C0, DEL and C1. Line and paragraph separators begin lines for some readers of a
# log. Format controls for direction reorder what is shown around them, and tags and zero-width
# characters are not seen at all. Lone surrogates cannot be encoded. Joiners (U+200C, U+200D) stay:
# words of several languages, and emoji, need them.
_LAYOUT: Final = "\t\n"
_KEEPING_LAYOUT: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_ALL: Final = re.compile(f"{_KEEPING_LAYOUT.pattern[:-1]}{_LAYOUT}]")

_CREDENTIALS: Final = re.compile(r"""://[^\s/@"'\\]+@""")
"""Of a URL, from behind its scheme on: to look for that first takes a time that grows with the
square of the text."""


def escape_control(text: str, *, keep_layout: bool = True) -> str:
    """`text` with its control characters as backslash escapes, such as `\\x1b`.

    These are C0, DEL, C1, lone surrogates, and the format controls that reorder or hide text. Tabs
    and line feeds stay, unless `keep_layout` is False: then nothing in `text` begins a line.
    """
    return (_KEEPING_LAYOUT if keep_layout else _ALL).sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def bounded(text: str, limit: int = LIMIT) -> str:
    """The first `limit` characters of `text`, and how many more there are."""
    more = len(text) - limit
    return text if more <= 0 else text[:limit] + _note(more)


def without_secrets(text: str) -> str:
    """`text` with `***` for the credentials in URLs. To be called before a text is shortened: half
    a password would not be known as one.

    Also the source lines of a traceback may hold the URL of a server.
    """
    return _CREDENTIALS.sub("://***@", text)


def shortened(text: str, limit: int = LIMIT) -> str:
    """`text` with its middle left out, if it is longer than `limit` characters (64 or more).

    Control characters are escaped, and line feeds, too: the result is one line.
    """
    line = escape_control(text if len(text) <= limit else _without_middle(text, limit), keep_layout=False)
    return line if len(line) <= limit else _without_middle(line, limit)


def _without_middle(text: str, limit: int) -> str:
    kept = (limit - 40) // 2
    return f"{text[:kept]}... ({len(text) - 2 * kept:,} more characters) ...{text[-kept:]}"


def _note(more: int) -> str:
    return f"... ({more:,} more character{'s' * (more != 1)})"


def one_line(text: str, limit: int = LIMIT) -> str:
    """`text` as a header or a log line can carry it: at most `limit` characters, 64 or more.

    White space is a single space, control characters are escaped, and "-" stands for nothing. How
    much was left out is part of the `limit` characters.
    """
    line = escape_control(" ".join(text.split()), keep_layout=False)
    return (line if len(line) <= limit else bounded(line, limit - len(_note(len(line))))) or "-"


def error_text(error: BaseException) -> str:
    """`str(error)`, or a substitute: a handler may raise an error whose `__str__` raises."""
    try:
        return str(error)
    except Exception as another:
        return f"(no message: its __str__ raised {type(another).__name__})"
