"""The root of the tree, and how an error travels between processes."""

from __future__ import annotations


def _rebuild(kind: type[Exception], args: tuple[object, ...]) -> Exception:
    """For pickle and copy. They would call the constructor with `args` alone, and it takes more."""
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class SmithError(Exception):
    """Root of every exception that smith-sdk raises on purpose.

    Each can be pickled, attributes and notes included: it may have to come from another process.
    """

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args), self.__dict__


class OptionsError(SmithError, ValueError):
    """An option has a value that can never work; the message names the option."""
