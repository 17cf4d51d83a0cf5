"""The checker of the sharding runs sees what it is there for, in logs that are made up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from chaos.sharding_check import Effect, Fault, Holding, Published, Quiet, Verdict, check
from chaos.sharding_plan import Plan
from chaos.sharding_wire import shard_of

KEY = "k"
BOUND = 8.0


def published(count: int, *, key: str = KEY, shard: int = 0, at: float = 1.0) -> list[Published]:
    return [Published(at, shard, key, number) for number in range(count)]


def effect(number: int, process: str = "a", *, at: float = 1.0, fence: int = 0, shard: int = 0, key: str = KEY) -> Effect:
    return Effect(at, shard, key, number, number + 1, process, fence)


def judged(effects: Sequence[Effect], count: int, *faults: Fault) -> Verdict:
    return check(effects, published(count), faults, bound=BOUND)


def test_each_in_order_is_nothing_to_complain_of() -> None:
    verdict = judged([effect(number) for number in range(5)], 5)
    assert verdict.trouble == []
    assert (verdict.published, verdict.effects, verdict.repeats) == (5, 5, 0)


def test_a_message_after_a_later_one_of_its_key_was_overtaken() -> None:
    verdict = judged([effect(number) for number in (0, 2, 3, 1)], 4)
    assert verdict.overtakes == ["k/1 by a after 3"]
    assert "1 overtakes" in verdict.trouble[0]


def test_keys_do_not_overtake_each_other() -> None:
    found = check([effect(0, key="y"), effect(0, key="x")], [*published(1, key="x"), *published(1, key="y")])
    assert found.trouble == []


def test_a_message_may_be_repeated_but_the_repeat_does_not_make_up_for_an_overtake() -> None:
    verdict = judged([effect(number) for number in (0, 0, 1, 0, 3, 3, 2)], 4)
    assert verdict.repeats == 3
    assert verdict.stale == 1  # the last 0: 1 was there
    assert verdict.overtakes == ["k/2 by a after 3"]


def test_what_has_no_effect_is_lost_and_what_was_not_published_is_invented() -> None:
    verdict = judged([effect(0), effect(2)], 2)
    assert verdict.lost == ["k/1"]
    assert verdict.invented == ["k/2 by a"]
    assert len(verdict.trouble) == 2


def test_an_effect_in_another_shard_is_reported() -> None:
    assert judged([effect(0, shard=3)], 1).astray == ["k/0 by a"]


def test_a_process_that_lost_the_shard_may_end_what_ran_but_start_nothing() -> None:
    """The order of first effects alone would not show it: `a` is ahead of what `b` repeats."""
    log = [effect(number, "a", fence=1) for number in (0, 1)]
    log += [effect(1, "b", fence=2), effect(2, "a", fence=1), effect(2, "b", fence=2), effect(3, "b", fence=2)]
    verdict = judged(log, 4)
    assert verdict.trouble == []
    assert verdict.outdated == ["k/2 by a with fence 1 after 2"]
    log[4:4] = [effect(3, "a", fence=1)]
    verdict = judged(log, 4)
    assert verdict.overtakes == []
    assert verdict.forbidden == ["k/3 by a with fence 1 after 2"]


def test_an_owner_that_goes_back_within_a_key_is_reported() -> None:
    log = [effect(0, fence=1), effect(1, fence=1), effect(0, fence=1), effect(2, fence=1)]
    assert judged(log, 3).backwards == ["k/0 by a with fence 1 after 1"]
    assert judged([effect(0, fence=1), effect(1, fence=1), effect(0, fence=2)], 2).backwards == []


# ---- takeovers


def run_of(*times: tuple[float, str]) -> list[Effect]:
    return [effect(number, process, at=at) for number, (at, process) in enumerate(times)]


@pytest.mark.parametrize(("took", "late"), [(7.9, 0), (8.1, 1)])
def test_a_takeover_is_measured_from_the_fault_of_the_owner(took: float, late: int) -> None:
    verdict = judged(run_of((1, "a"), (1.5 + took, "b")), 2, Fault(1.5, "kill", "a"))
    assert len(verdict.late) == late
    assert verdict.takeovers[0].took == pytest.approx(took)


def test_a_fault_of_the_new_owner_starts_the_clock_again_and_one_of_another_does_not() -> None:
    log = run_of((1, "a"), (17, "b"))
    first, second = Fault(1.5, "kill", "a"), Fault(9.5, "stop", "b")
    assert judged(log, 2, first).late
    assert judged(log, 2, first, Fault(9.5, "stop", "c")).late
    found = judged(log, 2, first, second)
    assert (found.late, found.takeovers[0].took, found.takeovers[0].cause) == ([], 7.5, "stop b")


def test_a_fault_of_an_owner_that_had_no_time_for_an_effect_starts_the_clock_again() -> None:
    log = run_of((1, "a"), (17, "b"))
    faults = [Fault(1.5, "kill", "a"), Fault(9.5, "kill", "m")]
    told = [Holding(9.2, "m", frozenset({0, 5}))]
    assert check(log, published(2), faults, holdings=told, bound=BOUND).late == []
    assert check(log, published(2), faults, holdings=[Holding(9.2, "m", frozenset({5}))], bound=BOUND).late
    assert check(log, published(2), faults, holdings=[Holding(2.0, "m", frozenset({0}))], bound=BOUND).late


def test_a_fault_after_a_shard_was_handed_over_may_be_that_of_its_next_owner() -> None:
    log = run_of((1, "a"), (17, "b"))
    handed_over = [Holding(9.0, "a", frozenset({0}), frozenset({0}))]
    assert check(log, published(2), [Fault(9.5, "stop", "m")], holdings=handed_over, bound=BOUND).late == []
    assert check(log, published(2), [Fault(8.5, "stop", "m")], holdings=handed_over, bound=BOUND).late


def test_a_new_owner_that_joins_does_not_start_the_clock_again() -> None:
    log = run_of((1, "a"), (17, "b"))
    (found,) = judged(log, 2, Fault(1.5, "blink", "a"), Fault(16.0, "join", "b")).late
    assert (found.took, found.cause) == (15.5, "blink a")


def test_the_outage_of_a_server_is_allowed_for_and_concerns_every_shard() -> None:
    log = run_of((1, "a"), (16, "a"))
    assert judged(log, 2, Fault(2.0, "server", allowance=6.5)).late == []
    assert judged(log, 2, Fault(2.0, "server", allowance=5.5)).late


def test_a_pause_without_a_fault_is_late_too_and_one_without_work_is_none() -> None:
    log = run_of((1, "a"), (10, "a"))
    verdict = check(log, published(2), bound=BOUND)
    assert [one.cause for one in verdict.late] == ["none"]
    assert "late takeover" in verdict.trouble[0]
    assert check(log, [*published(1), Published(9.5, 0, KEY, 1)], bound=BOUND).takeovers == []


def test_a_repeat_is_no_progress() -> None:
    log = [effect(0, at=1), effect(0, "b", at=9), effect(1, "b", at=13)]
    (found,) = judged(log, 2, Fault(1, "kill", "a")).late
    assert found.took == 12


# ---- shards of a process


def test_a_process_with_too_many_shards_at_a_quiet_moment_is_reported() -> None:
    def share(shards: int) -> Verdict:
        log = [effect(0, at=9.0, shard=shard, key=f"k{shard}") for shard in range(shards)]
        log += [effect(0, "b", at=9.5, shard=shard, key=f"k{shard}") for shard in range(shards, 16)]
        sent = [one for shard in range(16) for one in published(1, key=f"k{shard}", shard=shard)]
        return check(log, sent, quiet=[Quiet(10.0, 2), Quiet(12.0, 1)])

    assert share(9).crowded == []
    assert share(9).most_shards == {2: 9}
    assert len(share(10).crowded) == 1


# ---- the plan, and the harness's own partition


def test_a_seed_makes_the_same_choices_and_another_one_others() -> None:
    def steps(seed: int) -> list[object]:
        plan = Plan(seed, pin_timeout=3.0, servers=3)
        return [plan.next(running) for running in (4, 4, 5, 3, 2, 4, 4, 4, 4, 4)]

    assert steps(7) == steps(7)
    assert len({str(steps(seed)) for seed in range(20)}) == 20


def test_every_kind_of_fault_occurs_and_too_few_processes_are_spared() -> None:
    plan = Plan(1, pin_timeout=3.0, servers=3)
    kinds = {plan.next(4).kind for _ in range(300)}
    assert kinds == {"join", "kill", "stop", "leave", "blink", "stepdown", "server"}
    assert not {plan.next(2).kind for _ in range(300)} & {"kill", "stop", "leave"}
    assert "join" not in {plan.next(5).kind for _ in range(300)}
    assert not {Plan(1, pin_timeout=3.0, servers=1).next(4).kind for _ in range(300)} & {"stepdown", "server"}


def test_the_partition_of_the_harness_is_that_of_the_server() -> None:
    """Two of the assignments that a server made."""
    assert [shard_of(key, 16) for key in ("", "a", "foobar")] == [0x811C9DC5 % 16, 0xE40C292C % 16, 0xBF9CF968 % 16]
    assert len(set(itertools.starmap(shard_of, ((f"k{number:04d}", 16) for number in range(1_000))))) == 16
