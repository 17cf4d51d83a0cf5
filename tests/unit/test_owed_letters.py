"""Letters that a worker owes while the stream of dead letters is full."""

from __future__ import annotations

from traceback import TracebackException
from types import SimpleNamespace
from typing import Any

import pytest

from smith_sdk._core.dead_letters.format import Death
from smith_sdk.aio import owed_letters
from smith_sdk.aio.owed_letters import OwedLetters
from smith_sdk.errors import QueueFull
from smith_sdk.topology import CONTRACT

FULL = QueueFull("full", stream="SMITH_DLQ")


def owing(contract: Any = CONTRACT) -> OwedLetters:
    session: Any = SimpleNamespace(contract=contract)
    return OwedLetters(session, "c")


def message(seq: int, timestamp: int = 1) -> Any:
    return SimpleNamespace(metadata=SimpleNamespace(stream_seq=seq, timestamp=timestamp))


def failed() -> Death:
    try:
        raise ValueError("no good")
    except ValueError as error:
        return Death(error_type="ValueError", error="no good", cause=error)


def test_why_a_message_was_given_up_is_remembered_without_its_frames() -> None:
    owed = owing()
    owed.add(message(1), failed())
    found = owed.of(message(1))
    assert found is not None
    assert (found.error_type, found.error) == ("ValueError", "no good")
    assert isinstance(found.cause, TracebackException)
    assert owed.of(message(1, timestamp=2)) is None  # of a stream that was created again
    owed.stored(message(1))
    assert (owed.of(message(1)), len(owed)) == (None, 0)


def test_the_oldest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owed_letters, "_MOST", 2)
    owed = owing()
    for seq in (1, 2, 3):
        owed.add(message(seq), failed())
    assert [owed.of(message(seq)) is not None for seq in (1, 2, 3)] == [False, True, True]


def test_the_delay_grows_up_to_a_minute() -> None:
    owed, delays = owing(), []
    for _ in range(6):
        owed.add(message(1), failed())
        delays.append(owed.delay(message(1), 5.0))
    assert delays == [5, 10, 20, 40, 60, 60]
    assert owed.delay(message(2), 5.0) == 5
    assert owed.delay(message(1), 90.0) == 90


def test_only_the_stream_of_the_dead_letters_counts() -> None:
    assert owing().is_full(FULL)
    assert not owing().is_full(QueueFull("full", stream="ATOMS_RESULTS"))
    assert not owing().is_full(ValueError())
    assert not owing(SimpleNamespace(dead_letters=None)).is_full(FULL)


def test_that_it_is_full_is_logged_once_until_a_letter_was_stored(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "smith_sdk.worker")
    owed = owing()
    for _ in range(2):
        for _ in range(3):
            owed.log_full(FULL)
        owed.stored(message(1))
        owed.stored(message(2))
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"] * 2
