"""How long it takes to generate a package from a spec with thousands of subjects, and what the
import of one of them brings with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from large_spec import large_spec

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SIZES = (100, 250, 500, 1000, 2000)


def generate(size: int, top: Path) -> float:
    """Seconds of this process and its children that `smith-codegen` takes."""
    spec = top / f"large{size}.toml"
    spec.write_text(large_spec(size))
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "smith_codegen.cli", str(spec), str(top / str(size) / "large_bus")],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def test_generation_grows_no_faster_than_n_log_n_and_one_subject_is_imported_alone(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    taken = {size: generate(size, tmp_path) for size in SIZES}
    for size, seconds in taken.items():
        tell(f"{size:5} subjects: {seconds:6.2f} s, {1000 * seconds / size:5.2f} ms each")
    assert taken[2000] / taken[250] < 8 * 1.5, taken  # n log n: 11; n squared: 64
    script = (
        "import sys, time; import smith_sdk.contract; start = time.perf_counter()\n"
        "from large_bus import subjects; found = subjects.a0.b0.e0\n"
        "print(time.perf_counter() - start, sum(name.startswith('large_bus') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path / "2000", stdout=subprocess.PIPE, text=True, check=True)
    took, modules = done.stdout.split()
    tell(f"import of one subject of 2000: {1000 * float(took):.1f} ms, {modules} modules")
    assert int(modules) < 30
