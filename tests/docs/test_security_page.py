"""docs/security.md names a test for each claim: each exists, and tests what its file says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:unit|server|codegen|faces|docs)/test_\w+\.py(?:::\w+)?)`", PAGE)))


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize("named", NAMED)
def test_a_named_test_exists(named: str) -> None:
    file, _, name = named.partition("::")
    text = (ROOT / "tests" / file).read_text()
    assert re.search(rf"^(async )?def {name or 'test_'}", text, re.MULTILINE), f"{named} does not exist"


def test_each_row_of_a_claim_names_one() -> None:
    section = PAGE.partition("## What is defended")[2].partition("## What is not defended")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| it ")]
    assert [row for row in rows if "::" not in row and ".py`" not in row] == []


def test_reporting_invents_no_address() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    assert "Report a vulnerability" in text
    assert not re.search(r"\w@\w", text)
