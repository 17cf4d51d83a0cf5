"""How a contract scales: parsing and type-checking at 50 and 500 subjects; the time to import the
SDK."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tables import Flat, table

from smith_codegen.compile import compile_spec
from smith_codegen.publish import publish

SIZES = (50, 500)
MESSAGES = 100
PER_NAMESPACE = 10


def costs(quick: bool) -> dict[str, float]:
    """Figures by their names in the JSON: nanoseconds for one operation, milliseconds for an
    import, seconds for mypy."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="smith-bench-") as scratch:
        sys.path.insert(0, scratch)
        try:
            for size in SIZES:
                _generate(Path(scratch), size)
                found[f"subject.parse_{size}.ns"] = _parse(size, 20 if quick else 200)
        finally:
            sys.path.remove(scratch)
        found[f"mypy.cold_{SIZES[-1]}.s"] = _mypy(Path(scratch), f"bench_{SIZES[-1]}", 1 if quick else 3)
    return {**found, **_imports(5 if quick else 20)}


def _generate(top: Path, size: int) -> None:
    """The package `bench_<size>` with that many subjects and `MESSAGES` payloads."""
    lines = ["[spec]", 'name = "bench"', "version = 1", 'root = "bench"', f'package = "bench_{size}"']
    lines += ["[tokens]", 'one = { newtype = "One" }', 'other = { newtype = "Other" }']
    for number in range(MESSAGES):
        lines += [f"[messages.M{number}.fields]", 'one = "One"', 'at = "int"', 'words = "list[str]"', 'note = "str?"']
    lines += ["[subjects]"]
    for number in range(size):
        space, place = divmod(number, PER_NAMESPACE)
        pattern = f"bench.n{space}.s{place}.{{one}}.{{other}}"
        stream = ', stream = "BENCH"' if number % 2 else ""
        lines.append(f'"n{space}.s{place}" = {{ pattern = "{pattern}", message = "M{number % MESSAGES}"{stream} }}')
    captured = [f'"bench.*.s{place}.>"' for place in range(1, PER_NAMESPACE, 2)]
    lines += ["[streams.BENCH]", f"subjects = [{', '.join(captured)}]"]
    publish(compile_spec("\n".join(lines)), top / f"bench_{size}")
    (top / f"bench_{size}" / "__init__.py").write_text("")


def _parse(size: int, number: int) -> float:
    """Nanoseconds to parse one subject, over subjects of every pattern; the best of five runs."""
    parse = importlib.import_module(f"bench_{size}.topology").CONTRACT.parse
    texts = [f"bench.n{n // PER_NAMESPACE}.s{n % PER_NAMESPACE}.0192f0c4.b{n}" for n in range(size)]
    repeat = max(1, number * SIZES[-1] // size)

    def run() -> None:
        for text in texts:
            parse(text)

    return min(timeit.Timer(run).repeat(5, repeat)) / repeat / len(texts) * 1e9


def _mypy(top: Path, package: str, rounds: int) -> float:
    """Seconds of `mypy --strict` on a package, with no cache at all; the median."""
    took = []
    for number in range(rounds):
        command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", f"--cache-dir={top / f'cache{number}'}", package]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=top, capture_output=True, text=True, check=False)
        took.append(time.perf_counter() - started)
        if done.returncode:
            raise RuntimeError(f"mypy on {package}:\n{done.stdout}{done.stderr}")
    return median(took)


def _imports(rounds: int) -> dict[str, float]:
    """Milliseconds to import nats and msgspec, the same with smith_sdk, and with a bus and the
    subjects; the medians."""
    lines = {
        "import.nats_and_msgspec.ms": "import nats, msgspec",
        "import.smith_sdk_too.ms": "import nats, msgspec, smith_sdk",
        "import.bus_and_subjects_too.ms": "import nats, msgspec; from smith_sdk import SmithBus, subjects",
    }
    found: dict[str, list[float]] = {name: [] for name in lines}
    for _ in range(rounds):
        for name, line in lines.items():
            found[name].append(
                _time_of(["-c", f"import time; at = time.perf_counter()\n{line}\nprint(time.perf_counter() - at)"])
            )
    return {name: median(times) * 1000 for name, times in found.items()}


def _time_of(arguments: Sequence[str]) -> float:
    return float(subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout)


def show(flat: Flat) -> None:
    alone = flat["import.nats_and_msgspec.ms"]
    table(
        "Importing, and type-checking 500 subjects with 100 payloads",
        ("work", "took", "ratio"),
        [
            ("import nats, msgspec", f"{alone:.1f} ms", "1"),
            ("and smith_sdk", f"{flat['import.smith_sdk_too.ms']:.1f} ms", f"{flat['import.smith_sdk_too.ms'] / alone:.2f}"),
            (
                "and its SmithBus and subjects",
                f"{flat['import.bus_and_subjects_too.ms']:.1f} ms",
                f"{flat['import.bus_and_subjects_too.ms'] / alone:.2f}",
            ),
            ("mypy --strict without a cache", f"{flat['mypy.cold_500.s']:.1f} s", ""),
        ],
    )
