"""Consumers of shards, named in few words."""

from __future__ import annotations

import pytest

from smith_sdk.cli.name_runs import condensed

SHARDS = [f"episode-{number:02x}" for number in range(256)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (reversed(SHARDS), ["episode-00 to episode-ff"]),
        (["b", *SHARDS[:16], "a"], ["a", "b", "episode-00 to episode-0f"]),
        (SHARDS[:2], ["episode-00", "episode-01"]),
        ([*SHARDS[:3], *SHARDS[4:6]], ["episode-00 to episode-02", "episode-04", "episode-05"]),
        (["a-00", "b-01", "b-02", "b-03"], ["a-00", "b-01 to b-03"]),
        (["a-09", "a-10", "a-11", "a-12"], ["a-09", "a-10 to a-12"]),  # hexadecimal
        (["a-fe", "a-ff", "a-100"], ["a-100", "a-fe", "a-ff"]),
    ],
)
def test_runs_of_three_or_more_are_shortened(names: list[str], expected: list[str]) -> None:
    assert condensed(names) == expected
