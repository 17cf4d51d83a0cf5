"""A thousand hostile messages on every consuming path; `nox -s chaos` sends twenty times as many.

To repeat a failure: the seed is in its message, and `--fuzz-seed N` sets it.
"""

from __future__ import annotations

import pytest
from buses import Account
from fuzzing.runs import PATHS, fuzz

pytestmark = pytest.mark.usefixtures("quick_garbage_collections")

COUNTS = {"wire": 5}  # each costs the connection, and perhaps a request its time-out


@pytest.mark.parametrize("path", PATHS)
async def test_hostile_messages(path: str, account: Account, fuzz_seed: int) -> None:
    await fuzz(path, account.url, seed=fuzz_seed, count=COUNTS.get(path, 100), deadline=90)
