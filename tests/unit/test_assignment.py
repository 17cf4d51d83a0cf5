"""Who is assigned which shard: even, the same for all, and no shard moves that need not."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from smith_sdk._core.sharding.assignment import assign

shard_sets = st.integers(1, 64).map(lambda count: [f"1-{number:02x}" for number in range(count)])
names = st.text(st.characters(categories=("L", "N"), include_characters="-_"), min_size=1, max_size=12)
groups = st.sets(names, min_size=1, max_size=12)


def counts(assigned: dict[str, str], members: set[str]) -> list[int]:
    found = Counter(assigned.values())
    return sorted(found[name] for name in members)


def moved(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {shard for shard in before if before[shard] != after.get(shard)}


@st.composite
def states(draw: st.DrawFn) -> tuple[list[str], set[str], dict[str, str], dict[str, str]]:
    """Shards, members, owners of which some have left, and moves."""
    shards, members = draw(shard_sets), draw(groups)
    anybody = st.sampled_from(sorted(members | draw(groups)))
    ids = st.sampled_from([*shards, "2-00", "1-ff"])  # what stands in the bucket may be of no shard
    return shards, members, draw(st.dictionaries(ids, anybody)), draw(st.dictionaries(ids, anybody, max_size=4))


@settings(max_examples=40)
@given(states())
def test_every_shard_has_one_member_and_none_has_two_more_than_another(
    state: tuple[list[str], set[str], dict[str, str], dict[str, str]],
) -> None:
    shards, members, owners, moves = state
    found = assign(shards, members, owners, moves)
    assert sorted(found) == shards
    assert set(found.values()) <= members
    asked_for = {shard: name for shard, name in moves.items() if shard in found and name in members}
    assert {shard: found[shard] for shard in asked_for} == asked_for
    few, *_, many = counts({shard: name for shard, name in found.items() if shard not in asked_for}, members) * 2
    assert many - few <= 1


@settings(max_examples=40)
@given(states(), st.data())
def test_the_order_of_what_goes_in_changes_nothing(
    state: tuple[list[str], set[str], dict[str, str], dict[str, str]], data: st.DataObject
) -> None:
    shards, members, owners, moves = state
    shuffled = data.draw(st.permutations(sorted(members)))
    again = assign(shards, [*shuffled, *members], dict(data.draw(st.permutations(sorted(owners.items())))), moves)
    assert again == assign(shards, members, owners, moves)


@settings(max_examples=40)
@given(states())
def test_what_is_assigned_stays_so(state: tuple[list[str], set[str], dict[str, str], dict[str, str]]) -> None:
    shards, members, owners, moves = state
    found = assign(shards, members, owners, moves)
    assert assign(shards, members, found, moves) == found


@settings(max_examples=40)
@given(states(), st.data())
def test_members_that_see_different_steps_of_the_way_agree(
    state: tuple[list[str], set[str], dict[str, str], dict[str, str]], data: st.DataObject
) -> None:
    """Shards are given up and taken one by one, in any order: each state on the way leads to the
    same end."""
    shards, members, owners, moves = state
    end = assign(shards, members, owners, moves)
    now = dict(owners)
    for shard in data.draw(st.permutations(shards)):
        if now.get(shard) != end[shard]:
            now.pop(shard, None)
            assert assign(shards, members, now, moves) == end
            if data.draw(st.booleans()):
                now[shard] = end[shard]
                assert assign(shards, members, now, moves) == end


@settings(max_examples=40)
@given(shard_sets, groups, names)
def test_a_member_that_joins_is_given_no_more_than_its_share_and_nothing_else_moves(
    shards: list[str], members: set[str], newcomer: str
) -> None:
    members -= {newcomer}
    if members:
        before = assign(shards, members, {}, {})
        after = assign(shards, members | {newcomer}, before, {})
        assert {after[shard] for shard in moved(before, after)} <= {newcomer}
        assert len(moved(before, after)) == len(shards) // (len(members) + 1)


@settings(max_examples=40)
@given(shard_sets, st.sets(names, min_size=2, max_size=12), st.data())
def test_a_member_that_leaves_has_its_shards_given_away_and_nothing_else_moves(
    shards: list[str], members: set[str], data: st.DataObject
) -> None:
    before = assign(shards, members, {}, {})
    leaver = data.draw(st.sampled_from(sorted(members)))
    after = assign(shards, members - {leaver}, before, {})
    assert moved(before, after) == {shard for shard, name in before.items() if name == leaver}


@settings(max_examples=40)
@given(shard_sets, groups, st.data())
def test_a_move_moves_one_shard(shards: list[str], members: set[str], data: st.DataObject) -> None:
    before = assign(shards, members, {}, {})
    shard = data.draw(st.sampled_from(shards))
    target = data.draw(st.sampled_from(sorted(members)))
    after = assign(shards, members, before, {shard: target})
    assert after[shard] == target
    if len(members) > 1 and before[shard] != target:
        # The one that gave it away may be owed another for the balance of the rest.
        assert len(moved(before, after)) <= 2


SIXTEEN = [f"1-{number:02x}" for number in range(16)]


def test_nobody_is_assigned_anything_without_members() -> None:
    assert assign(SIXTEEN, [], {"1-03": "a"}, {"1-04": "b"}) == {}


def test_the_result_is_the_same_in_every_version() -> None:
    """Members of two versions of the SDK work together while it is rolled out."""
    found = assign(SIXTEEN, ["a", "b", "c"], {"1-00": "a", "1-01": "left"}, {"1-02": "c"})
    assert "".join(found[shard] for shard in SIXTEEN) == "aacabbbacabcbccc"
