"""What a large spec takes: no more than n log n, in steps of the interpreter, not in time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random
from types import FrameType
from typing import Any

from large_spec import large_spec

from smith_codegen import checks, resolve, sources, trie
from smith_codegen.overlaps import Index
from smith_codegen.patterns import TAIL, Open, Positions, any_overlap, covers

PACKAGE = checks.__file__.rpartition("/")[0]


def steps(function: Callable[[], object]) -> int:
    """The bytecode instructions of the generator that `function` executes."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if event == "call":
            if not frame.f_code.co_filename.startswith(PACKAGE):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def work(text: str) -> dict[str, int]:
    spec = sources.parse(text, "large.toml")
    model = resolve.build(spec)
    return {
        "read": steps(lambda: sources.parse(text, "large.toml")),
        "check": steps(lambda: checks.check(spec)),
        "resolve": steps(lambda: resolve.build(spec)),
        "trie": steps(lambda: trie.build(model.subjects)),
    }


def test_the_work_for_a_spec_grows_no_faster_than_n_log_n() -> None:
    small, large = work(large_spec(50)), work(large_spec(200))
    grown = {part: large[part] / small[part] for part in small}
    assert max(grown.values()) < 4 * 1.4, grown  # 200 log 200 / 50 log 50 is 5.4; n squared would be 16


# ---- the index gives what comparing with each pattern gives

TOKENS = ("a", "b", "c", Open(), Open(exclude=frozenset("a")), Open(only=frozenset("ab")), Open(prefix="a"), TAIL)


def random_path(random: Random) -> Positions:
    path = tuple(random.choice(TOKENS) for _ in range(random.randint(1, 4)))
    return path[: path.index(TAIL) + 1] if TAIL in path else path


def test_the_index_finds_what_overlaps_and_what_covers() -> None:
    random = Random(7)
    for _ in range(300):
        every = {key: [random_path(random) for _ in range(random.randint(1, 2))] for key in range(12)}
        index = Index(every.items())
        asked = [random_path(random) for _ in range(random.randint(1, 2))]
        assert index.overlapping(asked) == [key for key, paths in every.items() if any_overlap(asked, paths)]
        path = asked[0]
        assert index.covering(path) == [key for key, paths in every.items() if any(covers(one, path) for one in paths)]
        assert len(index.overlapping([(TAIL,)])) == len(every)
