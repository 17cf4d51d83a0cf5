"""Patterns of fields: those that are accepted are quick on every text, and mean what they say."""

from __future__ import annotations

import random
import re
import time

from smith_codegen.field_patterns import portable, problem

REPEATS = ("*", "+", "?", "*?", "+?", "{0,3}", "{2,}", "{1,20}", "{3}")
ATOMS = ("a", "b", "ab", "[ab]", "[^a]", ".", r"\w", r"\d", r"[\d-]", r"\S")


def pattern(chance: random.Random, depth: int) -> str:
    """A pattern without its anchors, such as `(?:a|[ab]b)+`."""
    kind = chance.random()
    if depth == 0 or kind < 0.3:
        return chance.choice(ATOMS)
    if kind < 0.55:
        return pattern(chance, depth - 1) + pattern(chance, depth - 1)
    if kind < 0.7:
        return f"({pattern(chance, depth - 1)}|{pattern(chance, depth - 1)})"
    return f"(?:{pattern(chance, depth - 1)}){chance.choice(REPEATS)}"


def test_patterns_that_are_accepted_are_quick_on_hostile_text() -> None:
    chance, refused = random.Random(1), 0
    for _ in range(300):
        found, length = f"^{pattern(chance, 5)}$", chance.choice([None, 50, 1000])
        if problem(found, length) is not None:
            refused += 1
            continue
        compiled = re.compile(portable(found))
        for unit in ("a", "ab", "aab1"):
            text = (unit * 3000)[: (length or 3000) - 1]
            for tail in ("!", "\n"):
                started = time.process_time()
                compiled.search(text + tail)
                assert time.process_time() - started < 2, (found, length, unit)
    assert 30 < refused < 150


def test_a_pattern_means_the_same_in_a_schema() -> None:
    chance = random.Random(2)
    for _ in range(300):
        found = f"^{pattern(chance, 3)}$"
        if problem(found, 12) is None:
            compiled = re.compile(portable(found))
            for _ in range(20):
                text = "".join(chance.choice("ab1-!\n\u0661") for _ in range(chance.randrange(5)))
                assert bool(compiled.search(text)) == bool(re.fullmatch(found[1:-1], text, re.ASCII)), (found, text)
