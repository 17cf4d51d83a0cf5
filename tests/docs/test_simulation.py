"""benchmarks/assignments.py runs, and finds that no shard moves that need not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "assignments.py"


def test_the_simulation_of_members_tells_moves_and_traffic() -> None:
    command = [sys.executable, str(SCRIPT), "--members", "12", "--shards", "64", "--events", "60", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["moves.beyond_least"] == 0
    assert found["moves.mean"] > 0
    assert found["spread.most"] <= 1
    assert found["renewals.sent_per_s"] > found["renewals.stored_per_s"] > 0
