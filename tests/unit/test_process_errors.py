"""Errors of a handler's process, as its parent raises them."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from handling import Odd, Unreachable

from smith_sdk import Reject
from smith_sdk._core.execution.process_pool import _portable, _stand_in
from smith_sdk.errors import CircuitOpen


class OwnReject(Reject):
    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(f"{code}: {hint}")


class Frozen(ValueError):
    """Cannot be extended."""

    def __init__(self, text: str, *, hint: str) -> None:
        super().__init__(text)

    def __init_subclass__(cls) -> None:
        raise TypeError("final")


def crossed(error: Exception) -> Exception:
    """`error`, as it comes out of the pipe."""
    found: Any = pickle.loads(pickle.dumps(_portable(error)))
    return found if isinstance(found, Exception) else _stand_in(*found)


def local() -> type[Exception]:
    class Local(KeyError):
        pass

    return Local


@pytest.mark.parametrize(
    ("error", "kinds"),
    [
        (Odd("a word"), (Odd,)),
        (Unreachable("a file", hint="b"), (Unreachable, ConnectionError, OSError)),
        (OwnReject(5, hint="no"), (OwnReject, Reject)),
        (local()("made in a function"), (KeyError, LookupError)),
        (Frozen("text", hint="b"), (Exception,)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_that_cannot_be_pickled_keeps_name_text_and_bases(error: Exception, kinds: tuple[type[Exception], ...]) -> None:
    found = crossed(error)
    assert type(found).__name__ == type(error).__name__
    assert str(found) == str(error)
    for kind in kinds:
        assert isinstance(found, kind)


def test_a_class_that_the_parent_does_not_have_is_an_exception() -> None:
    found = _stand_in("Gone", "text", pickle.dumps(Odd).replace(b"handling", b"handlers"))
    assert (type(found).__name__, str(found), type(found).__bases__) == ("Gone", "text", (Exception,))


def test_an_open_circuit_crosses_as_it_is() -> None:
    found = crossed(CircuitOpen("open", name="database", until=7.5, retry_after=2.5))
    assert isinstance(found, CircuitOpen)
    assert (str(found), found.name, found.until, found.retry_after) == ("open", "database", 7.5, 2.5)
