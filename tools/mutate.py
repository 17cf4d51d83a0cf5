"""Mutate the SDK at random, one place at a time, and list the mutations that its tests do not
notice.

`python tools/mutate.py --sample 30 --seed 1` runs each mutation against the tests of its module
(`TESTS`), on a copy of `src/smith_sdk`. It exits with 0 unless it cannot run: a survivor is a
question, not a failure. Some mutations change nothing that anybody can observe.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SDK = ROOT / "src" / "smith_sdk"
GENERATED = ("protocol/*", "subjects/*", "sync/*", "topology.py")

TESTS: dict[str, str] = {
    "contract/*": "unit/test_contract.py unit/test_subjects.py codegen/test_wire.py codegen/test_topology.py",
    "signing.py": "server/test_signing.py",
    "errors/*": "server/test_err_codes.py",
    "_core/codec.py": "codegen/test_wire.py unit/test_signing.py",
    "_core/events.py": "server/test_worker_events.py server/test_worker.py",
    "_core/connection/*": "unit/test_parser.py unit/test_headers.py unit/test_options.py server/test_connection.py "
    "server/test_credentials.py server/test_faults.py server/test_bus.py",
    "_core/jetstream/ack_window.py": "server/test_bus.py",
    "_core/jetstream/in_flight.py": "server/test_ack_window.py server/test_bus.py",
    "_core/jetstream/window_room.py": "server/test_ack_window.py",
    "_core/jetstream/no_responders.py": "server/test_ack_window.py server/test_bus.py",
    "_core/jetstream/pull_*": "unit/test_pull_pacer.py unit/test_pull_status.py server/test_pull_loop.py "
    "server/test_pull_capacity.py server/test_consumers.py server/test_first_delivery.py",
    "_core/jetstream/*": "unit/test_delivery.py server/test_claim.py server/test_bus.py server/test_consumers.py "
    "server/test_stream_info.py server/test_err_codes.py server/test_pull_loop.py",
    "_core/topology/*": "unit/test_planner.py server/test_streams.py server/test_manage.py server/test_permissions.py "
    "server/test_stream_info.py",
    "_core/dead_letters/*": "unit/test_dead_letter_format.py unit/test_dead_letter_selection.py server/test_dead_letters.py "
    "server/test_dead_letters_replay.py server/test_dead_letters_audit.py server/test_isolated_attempts.py",
    "_core/execution/*": "unit/test_runners.py server/test_handlers.py server/test_isolated_attempts.py",
    "_core/blocking/*": "faces",
    "aio/admission.py": "server/test_admission.py",
    "aio/dead_letters.py": "server/test_dead_letters_replay.py server/test_dead_letters_audit.py",
    "aio/streams.py": "server/test_stream_info.py server/test_manage.py",
    "aio/*": "unit/test_settle.py unit/test_runners.py server/test_bus.py server/test_consumers.py server/test_worker.py "
    "server/test_handlers.py server/test_opening.py server/test_isolated_attempts.py",
    "embedded/*": "server/test_embedded.py",
    "testing/*": "server/test_testing_plugin.py",
    "cli/*": "server/test_cli.py server/test_cli_streams.py server/test_cli_consumers.py server/test_cli_dlq.py "
    "server/test_cli_worker.py server/test_demo.py",
    "*": "unit server/test_bus.py",
}
"""The tests of each module, below tests/: the first pattern that fits counts.

Files named after the module, as unit/test_MODULE.py, come before these.
"""

COMPARISONS = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not"}
COMPARISONS |= {ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in"}
ARITHMETIC = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*"}


@dataclass(frozen=True)
class Mutation:
    """`text` in place of the characters from `start` to `end` of a file (bytes of UTF-8)."""

    file: Path
    line: int
    start: int
    end: int
    text: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]

    def diff(self, source: bytes) -> str:
        """The line before and after, and where it stands."""
        before, after = (one.decode().splitlines()[self.line - 1].strip() for one in (source, self.apply(source)))
        return f"{self.file.relative_to(ROOT)}:{self.line}\n    - {before}\n    + {after}"


class Places(ast.NodeVisitor):
    """Every mutation of one file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        source = file.read_bytes()
        lines = source.splitlines(keepends=True)
        self._starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
        self._source = source
        self.found: list[Mutation] = []
        self.visit(ast.parse(source))

    def _replace(self, node: ast.expr | ast.stmt, text: str) -> None:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        end = self._starts[node.end_lineno - 1] + node.end_col_offset
        if self._source[start:end].decode() != text:
            self.found.append(Mutation(self.file, node.lineno, start, end, text))

    def visit_Compare(self, node: ast.Compare) -> None:
        if len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
            changed = f"{ast.unparse(node.left)} {COMPARISONS[type(node.ops[0])]} {ast.unparse(node.comparators[0])}"
            self._replace(node, f"({changed})")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = " or " if isinstance(node.op, ast.And) else " and "
        self._replace(node, f"({other.join(f'({ast.unparse(value)})' for value in node.values)})")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._replace(node, f"bool({ast.unparse(node.operand)})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in ARITHMETIC and not isinstance(node.left, (ast.Constant, ast.JoinedStr)):
            self._replace(node, f"({ast.unparse(node.left)} {ARITHMETIC[type(node.op)]} {ast.unparse(node.right)})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._replace(node, str(not node.value))
        elif isinstance(node.value, int | float):
            self._replace(node, repr(node.value + 1))

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            self._replace(node.test, f"not ({ast.unparse(node.test)})")
            self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not isinstance(node.value, ast.Constant):
            self._replace(node, "return None")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call | ast.Await):
            self._replace(node, "pass")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._replace(node, "pass")

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        # Neither decorators nor annotations: the first are checked at import, the second by mypy.
        for part in (*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
            self.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef


def modules() -> Iterator[Path]:
    for file in sorted(SDK.rglob("*.py")):
        if not any(fnmatch(str(file.relative_to(SDK)), pattern) for pattern in GENERATED):
            yield file


def tests_of(file: Path) -> list[str]:
    name = str(file.relative_to(SDK))
    chosen = next(tests for pattern, tests in TESTS.items() if fnmatch(name, pattern)).split()
    own = [f"{folder}/test_{file.stem}.py" for folder in ("unit", "server")]
    return [str(ROOT / "tests" / test) for test in dict.fromkeys([*own, *chosen]) if (ROOT / "tests" / test).exists()]


def survives(mutation: Mutation, workers: int, limit: float) -> str:
    """How the tests ended: "killed", with the test; "survived", "timeout", "cannot run"."""
    with tempfile.TemporaryDirectory(prefix="smith-mutate-") as top:
        copy = Path(top) / "smith_sdk"
        shutil.copytree(SDK, copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / mutation.file.relative_to(SDK)).write_bytes(mutation.apply(mutation.file.read_bytes()))
        env = {**os.environ, "PYTHONPATH": top, "PYTHONDONTWRITEBYTECODE": "1"}
        env.pop("SMITH_TEST_WHEEL", None)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", str(workers), "-p", "no:cacheprovider"]
        try:
            done = subprocess.run([*command, *tests_of(mutation.file)], cwd=ROOT, env=env, capture_output=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return "timeout"
    if done.returncode in (0, 4, 5):  # pytest: passed, wrong usage, no tests
        return "cannot run" if done.returncode else "survived"
    failed = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", done.stdout.decode(errors="replace"), re.MULTILINE)
    return f"killed by {failed[1]}" if failed else "killed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=30, help="how many mutations (30)")
    parser.add_argument("--seed", type=int, default=0, help="which ones (0)")
    parser.add_argument("--only", default="*", help="modules below src/smith_sdk, as a pattern")
    parser.add_argument("--workers", type=int, default=(os.cpu_count() or 1) + 1, help="processes of pytest")
    parser.add_argument("--limit", type=float, default=300, help="seconds for the tests of one mutation")
    chosen = parser.parse_args()
    files = [file for file in modules() if fnmatch(str(file.relative_to(SDK)), chosen.only)]
    every = [mutation for file in files for mutation in Places(file).found]
    if not every:
        print(f"no module fits {chosen.only!r}", file=sys.stderr)
        return 2
    sample = random.Random(chosen.seed).sample(every, min(chosen.sample, len(every)))
    print(f"{len(sample)} of {len(every)} mutations in {len(files)} modules, seed {chosen.seed}", flush=True)
    ends: dict[str, list[Mutation]] = {}
    for number, mutation in enumerate(sample, 1):
        started = time.monotonic()
        end = survives(mutation, chosen.workers, chosen.limit)
        ends.setdefault(end.partition(" by ")[0], []).append(mutation)
        took = time.monotonic() - started
        print(f"{number:3} {took:4.0f} s  {mutation.file.relative_to(SDK)}:{mutation.line}: {end}", flush=True)
    print(", ".join(f"{len(mutations)} {end}" for end, mutations in sorted(ends.items())))
    for end in ("survived", "cannot run"):
        for mutation in ends.get(end, []):
            print(f"\n{end}: {mutation.diff(mutation.file.read_bytes())}")
    return 2 if "cannot run" in ends else 0


if __name__ == "__main__":
    sys.exit(main())
