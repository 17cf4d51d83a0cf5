"""Wildcards match as the same regular expression does, in a time that no publisher can stretch."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk._core.globs import Glob


@given(st.text("a/b*", max_size=8), st.text("a/b", max_size=8), st.sampled_from(["", "/"]))
def test_it_matches_what_a_regular_expression_matches(text: str, value: str, beyond: str) -> None:
    one = f"[^{beyond}]*" if beyond else ".*"
    parts = re.split(r"(\*+)", text)
    pattern = "".join((one if part == "*" else ".*") if part[:1] == "*" else re.escape(part) for part in parts)
    assert Glob(text, beyond).matches(value) == bool(re.fullmatch(pattern, value, re.DOTALL))


@pytest.mark.parametrize("value", ["a\nb", "a\u2028b", "a\x00b", "ab"])
def test_a_wildcard_matches_any_character(value: str) -> None:
    assert Glob("a*b").matches(value)
    assert Glob("**b").matches(value)


def test_several_wildcards_take_no_longer_than_one() -> None:
    glob = Glob("**/a/**/b/**/c/**/d", "/")
    began = time.process_time()
    assert not glob.matches("/a/b/c" * 10_000)
    assert glob.matches("/a/b/c" * 1_000 + "/d")
    assert time.process_time() - began < 2  # 60,000 characters; a regular expression takes days
