"""The algebra of subjects against a matcher that is too simple to be wrong."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from smith_codegen import patterns
from smith_codegen.patterns import Open, Positions, Tail

ALPHABET = ("a", "b", "c", "other")
UNIVERSE = [words for length in range(1, 5) for words in product(ALPHABET, repeat=length)]

nats = st.builds(
    lambda head, last: ".".join([*head, last]),
    st.lists(st.sampled_from(["a", "b", "c", "*"]), max_size=2),
    st.sampled_from(["a", "b", "c", "*", ">"]),
)
parts = st.lists(
    st.sampled_from(["a", "b"])
    | st.builds(Open, exclude=st.frozensets(st.sampled_from(["a", "b"]), max_size=2))
    | st.sampled_from([("a", "c"), ("a.b", "b.c"), ("b",)]),
    min_size=1,
    max_size=2,
)


def matches(pattern: Positions, words: tuple[str, ...]) -> bool:
    for index, position in enumerate(pattern):
        if isinstance(position, Tail):
            return len(words) > index
        if index >= len(words):
            return False
        if isinstance(position, Open) and not position.admits(words[index]):
            return False
        if isinstance(position, str) and position != words[index]:
            return False
    return len(pattern) == len(words)


def subjects(*alternatives: Positions) -> set[tuple[str, ...]]:
    return {words for words in UNIVERSE if any(matches(one, words) for one in alternatives)}


@given(nats, nats)
def test_overlap_of_nats_patterns(a: str, b: str) -> None:
    one, other = patterns.positions(a), patterns.positions(b)
    assert patterns.overlap(one, other) == patterns.overlap(other, one) == bool(subjects(one) & subjects(other))


@given(nats, nats)
def test_where_nats_patterns_meet(a: str, b: str) -> None:
    one, other = patterns.positions(a), patterns.positions(b)
    assert patterns.text(one) == a
    if patterns.overlap(one, other):
        assert subjects(patterns.meet(one, other)) == subjects(one) & subjects(other)


@given(nats, nats)
def test_covers_of_nats_patterns(a: str, b: str) -> None:
    one, other = patterns.positions(a), patterns.positions(b)
    assert patterns.covers(one, other) == (subjects(other) <= subjects(one))


@given(parts, parts)
def test_overlap_of_patterns_with_closed_sets_and_exclusions(
    a: list[str | Open | tuple[str, ...]], b: list[str | Open | tuple[str, ...]]
) -> None:
    one, other = patterns.alternatives(a), patterns.alternatives(b)
    assert patterns.any_overlap(one, other) == bool(subjects(*one) & subjects(*other))


@given(nats, parts)
def test_covers_of_patterns_with_closed_sets(a: str, b: list[str | Open | tuple[str, ...]]) -> None:
    stream, paths = patterns.positions(a), patterns.alternatives(b)
    if all(patterns.covers(stream, path) for path in paths):
        assert subjects(*paths) <= subjects(stream)
    if not any(patterns.overlap(stream, path) for path in paths):
        assert not subjects(*paths) & subjects(stream)
