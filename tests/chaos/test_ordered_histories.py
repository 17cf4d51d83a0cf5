"""Order and progress within keys, over many random histories of faults, others each time."""

from __future__ import annotations

import pytest
from shard_histories import run_histories


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_order_and_progress_over_many_random_histories() -> None:
    run_histories(600, 40, derandomize=False)
