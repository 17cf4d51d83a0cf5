"""Pages that name a test for each claim: each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECURITY = (ROOT / "docs" / "security.md").read_text()
RESILIENCE = (ROOT / "docs" / "resilience.md").read_text()
_TEST = re.compile(r"`((?:unit|server|codegen|faces|docs|chaos)/test_\w+\.py(?:::\w+)?)`")
NAMED = sorted({*_TEST.findall(SECURITY), *_TEST.findall(RESILIENCE)})


@pytest.mark.parametrize("page", [SECURITY, RESILIENCE], ids=["security", "resilience"])
def test_a_page_names_tests(page: str) -> None:
    assert len(set(_TEST.findall(page))) > 30


@pytest.mark.parametrize("named", NAMED)
def test_a_named_test_exists(named: str) -> None:
    file, _, name = named.partition("::")
    text = (ROOT / "tests" / file).read_text()
    assert re.search(rf"^(async )?def {name or 'test_'}", text, re.MULTILINE), f"{named} does not exist"


def rows(page: str) -> list[str]:
    """The rows of the tables whose last column names tests, without their heads."""
    found: list[str] = []
    inside = False
    for line in page.splitlines():
        if line.endswith("| shown by |"):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|--"):
            found.append(line)
    return found


@pytest.mark.parametrize("page", [SECURITY, RESILIENCE], ids=["security", "resilience"])
def test_each_row_of_a_claim_names_one(page: str) -> None:
    assert len(rows(page)) > 20
    assert [row for row in rows(page) if not _TEST.search(row.rpartition(" | ")[2])] == []


def test_reporting_invents_no_address() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    assert "Report a vulnerability" in text
    assert not re.search(r"\w@\w", text)
