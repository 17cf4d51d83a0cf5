"""The ledger sees what it is there to see."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    sent, confirmed, consumed = ledger.page("p", "sent"), ledger.page("p", "confirmed"), ledger.page("r", "consumed")
    for number in range(100):
        sent.write(f"raw:p-{number}")
        confirmed.write(f"raw:p-{number}", number + 1)
        consumed.write(f"raw:p-{number}", number + 1)
    return ledger


def everything(reader: str, key: str) -> bool:
    return True


def test_all_is_well(ledger: Ledger) -> None:
    count = ledger.check(everything, ["r"])
    assert count.is_clean
    assert (count.sent, count.confirmed, count.consumed, count.duplicates) == (100, 100, 100, 0)


def test_confirmed_and_never_consumed_is_lost(ledger: Ledger) -> None:
    ledger.page("p", "sent").write("raw:p-100")
    ledger.page("p", "confirmed").write("raw:p-100", 101)
    count = ledger.check(everything, ["r", "idle"])
    assert not count.is_clean
    assert count.lost["r"] == ["raw:p-100"]
    assert len(count.lost["idle"]) == 101
    assert ledger.check(lambda reader, key: key != "raw:p-100", ["r"]).is_clean


def test_unconfirmed_may_be_consumed_or_not(ledger: Ledger) -> None:
    for key in ("raw:p-100", "raw:p-101"):
        ledger.page("p", "sent").write(key)
        ledger.page("p", "failed").write(key, "PublishUnconfirmed")
    ledger.page("r", "consumed").write("raw:p-100", 101)
    count = ledger.check(everything, ["r"])
    assert count.is_clean
    assert "unconfirmed 2," in str(count)


def test_consumed_and_never_sent_is_invented(ledger: Ledger) -> None:
    ledger.page("r", "consumed").write("raw:q-1", 101)
    count = ledger.check(everything, ["r"])
    assert not count.is_clean
    assert count.invented["r"] == ["raw:q-1"]
    assert len(ledger.check(lambda reader, key: False, ["r"]).invented["r"]) == 101


def test_consumed_again_is_a_duplicate_and_from_another_place_stored_twice(ledger: Ledger) -> None:
    ledger.page("r", "consumed").write("raw:p-5", 6)
    count = ledger.check(everything, ["r"])
    assert count.is_clean
    assert count.duplicates == 1
    ledger.page("r", "consumed").write("raw:p-5", 101)
    count = ledger.check(everything, ["r"])
    assert not count.is_clean
    assert (count.duplicates, count.stored_twice) == (2, ["raw:p-5"])
    count = ledger.check(everything, ["r"], lambda key: key == "raw:p-5")
    assert count.is_clean
    assert (count.duplicates, count.stored_twice, count.forgotten) == (2, [], ["raw:p-5"])
    assert not ledger.check(everything, ["r"], lambda key: key != "raw:p-5").is_clean


def test_the_progress_of_a_reader(ledger: Ledger) -> None:
    ledger.page("r", "consumed").write("raw:p-200", 1)
    ledger.page("r", "consumed").write("raw:q-300", 1)
    ledger.page("r", "consumed").write("raw:p-150", 1)
    ledger.page("r", "consumed").write("raw:p-1")
    assert ledger.last("r", "consumed", "p") == 200
    assert ledger.last("r", "consumed", "nobody") == -1
    assert ledger.last("nobody", "consumed", "p") == -1
