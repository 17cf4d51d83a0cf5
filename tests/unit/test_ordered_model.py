"""Order and progress within keys, over random histories of faults; many more in tests/chaos."""

from __future__ import annotations

from shard_histories import run_histories


def test_order_and_progress_over_random_histories() -> None:
    run_histories(12, 30, derandomize=True)
