"""20,000 hostile messages over every path on which messages of strangers are consumed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from buses import Account
from fuzzing.runs import PATHS, fuzz

COUNT = 2_000
COUNTS = {"wire": 60}  # each costs the connection, and perhaps a request its time-out


@pytest.mark.chaos
@pytest.mark.timeout(200)
@pytest.mark.parametrize("path", PATHS)
async def test_hostile_messages(path: str, account: Account, fuzz_seed: int, tell: Callable[[str], None]) -> None:
    tell(await fuzz(path, account.url, seed=fuzz_seed, count=COUNTS.get(path, COUNT), deadline=150))
