"""Parts of tokens, tails and tokens that may be absent, against models too simple to be wrong."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smith_codegen import patterns, render, resolve, trie
from smith_codegen.checks import check
from smith_codegen.errors import SpecErrors
from smith_codegen.patterns import Number, Open
from smith_codegen.placeholders import is_servers, names_in, paths_of, piece_of, received_by, wildcards
from smith_codegen.reader import read
from smith_codegen.spec import Spec
from smith_sdk.contract import Parts, rest

LETTERS = "ab1"
WORDS = ["".join(word) for length in range(1, 6) for word in product(LETTERS, repeat=length)]
"""Long enough for two prefixes, two suffixes and a value."""

around = st.text("ab", max_size=2)
numbers = st.none() | st.builds(Number, st.sampled_from(["d", "02d"]), st.none(), st.none())
opens = st.builds(
    Open,
    exclude=st.frozensets(st.sampled_from(["a", "ab", "a1b"]), max_size=2),
    prefix=around,
    suffix=around,
    number=numbers,
)


@given(opens, opens)
@settings(max_examples=150)
def test_two_parts_meet_if_one_token_could_be_both(one: Open, other: Open) -> None:
    both = [word for word in WORDS if one.admits(word) and other.admits(word)]
    if both:
        assert one.meets(other)
        assert other.meets(one)
    elif one.number is None and other.number is None:
        assert not one.meets(other)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.sampled_from(["", "p", "p1"]))
def test_numbers_within_bounds_meet_exactly(low: int, high: int, least: int, most: int, prefix: str) -> None:
    one, other = Open(prefix="p", number=Number("d", low, high)), Open(prefix=prefix, number=Number("d", least, most))
    mine = {f"p{number}" for number in range(low, high + 1)}
    theirs = {f"{prefix}{number}" for number in range(least, most + 1)}
    assert one.meets(other) == other.meets(one) == bool(mine & theirs)
    assert all(one.admits(token) == (token in mine) for token in (*mine, *theirs))


@pytest.mark.parametrize(
    ("text", "admitted"),
    [("sensor-1", True), ("sensor-", False), ("sensor", False), ("Sensor-1", False), ("sensor-x-y", True), ("x", False)],
)
def test_a_part_has_a_value_of_its_own(text: str, admitted: bool) -> None:
    assert Open(prefix="sensor-").admits(text) == admitted


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("orders", ("", "", "", "")),
        ("{id}", ("id", "", "", "")),
        ("sensor-{id}", ("id", "sensor-", "", "")),
        ("v{major}_x", ("major", "v", "_x", "")),
        ("{device_id?}", ("device_id", "", "", "?")),
        ("{rest>}", ("rest", "", "", ">")),
        ("{a}{b}", ("", "", "", "")),
        ("{a", ("", "", "", "")),
    ],
)
def test_pieces(text: str, found: tuple[str, str, str, str]) -> None:
    piece = piece_of(text)
    assert (piece.name, piece.prefix, piece.suffix, piece.mark) == found


@pytest.mark.parametrize(
    ("pattern", "only_the_servers"),
    [
        ("$JS.EVENT.ADVISORY.API", True),
        ("$SYS.ACCOUNT.{account}.CONNECT", True),
        ("$SYS.REQ.SERVER.PING", False),
        ("$JS.API.INFO", False),
        ("$KV.bucket.{key}", False),
        ("$SYS.{kind}.x", True),
        ("shop.$JS", False),
    ],
)
def test_what_only_the_server_publishes(pattern: str, only_the_servers: bool) -> None:
    assert is_servers(pattern) == only_the_servers


# ---- specs

HEAD = """
[spec]
name = "trial"
version = 1
root = "t"
package = "trial"

[tokens]
one = { newtype = "One" }
two = { newtype = "Two", exclude = ["a"] }
number = { newtype = "Digit", base = "int", min = 0, max = 12 }
level = { enum = ["a", "b1"] }
wide = { enum = ["a.b", "b.a"] }

[subjects]
"""

PIECES = ("a", "b", "{one}", "{two}", "a{one}", "{one}b", "a{two}b", "a{number}", "{number}", "{level}", "b{level}", "{wide}")
LAST = (*PIECES, "{one?}", "{level?}", "{rest>}")
TOKENS = ("a", "b", "ab", "b1", "a1", "a12", "a13", "ba", "bb1", "1", "a1b", "c")
SUBJECTS = [["t", *words] for length in (1, 2) for words in product(TOKENS, repeat=length)]
SUBJECTS += [["t", *words] for words in product(("a", "b", "a1", "bb1"), ("a", "b1", "a12"), ("a", "c"))]

patterns_of_specs = st.builds(
    lambda head, last: ".".join(["t", *head, last]), st.lists(st.sampled_from(PIECES), max_size=1), st.sampled_from(LAST)
)


def spec_of(*found: str) -> Spec:
    lines = [f's{index} = {{ pattern = "{pattern}", message = "bytes" }}' for index, pattern in enumerate(found)]
    return read(HEAD + "\n".join(lines))


def is_without_repeats(pattern: str) -> bool:
    names = names_in(pattern)
    return len(names) == len(set(names))


def matches(path: patterns.Positions, words: list[str]) -> bool:
    if path[-1] == patterns.TAIL:
        path = (*path[:-1], *[Open()] * max(1, len(words) - len(path) + 1))
    return len(path) == len(words) and all(
        position.admits(word) if isinstance(position, Open) else position == word
        for position, word in zip(path, words, strict=True)
    )


@given(st.lists(patterns_of_specs, min_size=2, max_size=3, unique=True))
@settings(max_examples=40, deadline=None)
def test_specs_are_ambiguous_or_parsed_without_backtracking(found: list[str]) -> None:
    assume(all(is_without_repeats(pattern) for pattern in found))
    spec = spec_of(*found)
    every = {name: paths_of(spec, decl) for name, decl in spec.subjects.items()}
    mine = [[name for name, paths in every.items() if any(matches(path, words) for path in paths)] for words in SUBJECTS]
    try:
        check(spec)
    except SpecErrors as refused:
        problems = str(refused)
    else:
        problems = ""
    if problems:
        assert "could be this subject" in problems
        return
    assert all(len(names) < 2 for names in mine)
    root = compiled(spec)
    for words, names in zip(SUBJECTS, mine, strict=True):
        # A wildcard stands for closed sets, numbers and parts: their classes refuse other values.
        assert walked(root, words) in ([names[0].upper()] if names else [None, *map(str.upper, every)])


def compiled(spec: Spec) -> Any:
    model = resolve.build(spec)
    leaves = {f"_leaf_{subject.cls}": subject.cls for subject in model.subjects}
    return eval(render._literal(trie.build(model.subjects)), {**leaves, "_Parts": Parts, "_rest": rest})


def walked(node: Any, words: list[str]) -> str | None:
    for word in words:
        node = node.get(word) or node.get("*")
        if node is None:
            return None
    leaf: str | None = node.get(None)
    return leaf


@given(patterns_of_specs)
@settings(max_examples=30, deadline=None)
def test_the_wildcards_of_a_subject_receive_all_of_it(pattern: str) -> None:
    assume(is_without_repeats(pattern))
    spec = spec_of(pattern)
    decl = spec.subjects["s0"]
    filters = [patterns.positions(one) for one in wildcards(spec, decl)]
    assert all(any(patterns.covers(one, path) for one in filters) for path in paths_of(spec, decl))
    assert not any(patterns.overlap(a, b) for a, b in combinations(filters, 2))
    assert all(any(patterns.overlap(one, path) for path in paths_of(spec, decl)) for one in received_by(spec, decl))


# ---- refusals


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("t.{rest>}.x", "is not last"),
        ("t.{one?}.x", "is not last"),
        ("t.x{one?}", "has text around it"),
        ("t.x{rest>}", "has text around it"),
        ("t.{one}.a{one}", "occurs twice"),
        ("t.x{wide}", "spans several tokens"),
        ("t.{one}{two}", "not a valid part"),
        ("t.>", "write {rest>}"),
        ("t.$x", "not a valid token"),
        ("t.{one>}", "[tokens] declares one"),
        ("$JS.x", "does not begin with t"),
    ],
)
def test_refusals(pattern: str, problem: str) -> None:
    with pytest.raises(SpecErrors) as refused:
        check(spec_of(pattern))
    assert any(problem in f"{error.problem} ({error.fix})" for error in refused.value.errors), refused.value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("t.a{one}", "t.{one}b"),
        ("t.{rest>}", "t.x.y"),
        ("t.x.{one?}", "t.x"),
        ("t.x.{one?}", "t.{one}"),
        ("t.a{number}", "t.a7"),
        ("t.{level?}", "t.b1"),
    ],
)
def test_ambiguities(one: str, other: str) -> None:
    with pytest.raises(SpecErrors, match="could be this subject"):
        check(spec_of(one, other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("t.sensor-{one}", "t.gateway-{one}"),
        ("t.a{number}", "t.a13"),
        ("t.a{number}", "t.all"),
        ("t.x.{rest>}", "t.x"),
        ("t.x.{one?}", "t.x.y.z"),
        ("t.v1.{one}", "t.v2.{one}"),
    ],
)
def test_no_ambiguities(one: str, other: str) -> None:
    check(spec_of(one, other))


@pytest.mark.parametrize(
    ("root", "problem"),
    [
        ('["t", "t.x"]', "within another root"),
        ('["t", "t"]', "within another root"),
        ("[]", "is empty"),
        ('["t", "a$"]', "not a valid subject"),
        ('"x.$JS"', "not a valid subject"),
    ],
)
def test_roots(root: str, problem: str) -> None:
    text = HEAD.replace('root = "t"', f"root = {root}") + 's = { pattern = "t.x", message = "bytes" }'
    with pytest.raises(SpecErrors, match=problem):
        check(read(text))


def test_a_subject_may_begin_with_each_root() -> None:
    text = HEAD.replace('root = "t"', 'root = ["t", "cart", "$JS.EVENT"]')
    for pattern in ("t.x", "cart.x", "$JS.EVENT.x"):
        check(read(text + f's = {{ pattern = "{pattern}", message = "bytes" }}'))


STREAM = """
[streams.KEPT]
subjects = {subjects}
retention = "limits"
discard = "old"
max_bytes = "1MiB"
"""


@pytest.mark.parametrize(
    ("pattern", "subjects", "problem"),
    [
        ("t.x.{one?}", '["t.x.>"]', "captures only part of t.x.{one?}, not t.x"),
        ("t.x.{one?}", '["t.x", "t.x.*"]', None),
        ("t.x.{rest>}", '["t.x.*"]', "captures only part"),
        ("t.x.{rest>}", '["t.x.>"]', None),
        ("t.x.a{one}", '["t.x.*"]', None),
        ("t.x.a{level}", '["t.x.aa"]', "captures only part"),
        ("t.x.a{level}", '["t.x.aa", "t.x.ab1"]', None),
        ("t.x.a{one}", '["t.x.b"]', "captures none"),
    ],
)
def test_streams(pattern: str, subjects: str, problem: str | None) -> None:
    text = HEAD + f's = {{ pattern = "{pattern}", message = "bytes", stream = "KEPT" }}' + STREAM.format(subjects=subjects)
    if problem is None:
        check(read(text))
        return
    with pytest.raises(SpecErrors) as refused:
        check(read(text))
    assert problem in str(refused.value)


def test_parts_at_one_place_are_told_apart() -> None:
    root = compiled(spec_of("t.sensor-{one}", "t.gateway-{one}", "t.{number}.x", "t.sensor-{one}.x", "t.gateway-x.{two}.y"))
    for text, name in {
        "t.sensor-1": "S0",
        "t.gateway-1": "S1",
        "t.7.x": "S2",
        "t.sensor-1.x": "S3",
        "t.gateway-x": "S1",
        "t.gateway-x.b.y": "S4",
        "t.sensor-": None,
        "t.other-1": None,
    }.items():
        assert walked(root, text.split(".")) == name, text
    only_parts = compiled(spec_of("t.sensor-{one}", "t.gateway-{one}"))
    assert walked(only_parts, ["t", "gateway-1"]) == "S1"
