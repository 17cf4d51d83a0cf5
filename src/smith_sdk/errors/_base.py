"""The root of the tree, and how an error travels between processes."""

from __future__ import annotations

from typing import ClassVar

from .._core.foreign_text import escape_control

_LIMIT = 2048
"""Characters of a message: 1 KiB of what it quotes, and words of ours."""
_TAIL = 512
"""Characters of its end, where it says what to do."""
LONGEST = 16 * 1024
"""Characters of a message that lists what the caller has, such as streams that differ."""


def _rebuild(kind: type[Exception], args: tuple[object, ...]) -> Exception:
    """For pickle and copy. They would call the constructor with `args` alone, and it takes more."""
    error = kind.__new__(kind, *args)
    error.args = args
    return error


def _fit_to_show(message: str, limit: int) -> str:
    text = escape_control(message)
    if len(text) <= limit:
        return text
    head, tail = text[: limit - _TAIL], text[-_TAIL:]
    return f"{head}... ({len(text) - len(head) - len(tail):,} more characters) ...{tail}"


class SmithError(Exception):
    """Root of every exception that smith-sdk raises on purpose.

    Each can be pickled, attributes and notes included: it may have to come from another process.
    Its message may quote what a message or a server contains: control characters are escaped in it,
    and a long one is cut in the middle. Attributes hold what they hold as it is.
    """

    _limit: ClassVar[int] = _LIMIT

    def __init__(self, *args: object) -> None:
        super().__init__(*(_fit_to_show(one, self._limit) if isinstance(one, str) else one for one in args))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args), self.__dict__


class OptionsError(SmithError, ValueError):
    """An option has a value that can never work; the message names the option."""

    _limit = LONGEST
