"""Consumers for some domains: their names, their filters, and contracts that have them."""

from __future__ import annotations

from typing import Any

import pytest

from smith_sdk import consumers
from smith_sdk._core.domains.moves import find_moves
from smith_sdk.contract import RUNTIME_ABI, ConsumerSpec, Contract, StreamSpec
from smith_sdk.errors import InvalidToken, OptionsError
from smith_sdk.protocol import Domain
from smith_sdk.topology import CONTRACT

READ = consumers.executor_fs_read


def test_a_derived_consumer_has_one_filter_for_each_domain_and_a_name_of_its_own() -> None:
    found = READ.for_domains("us", Domain("eu"))
    assert found.name == "executor-fs-read--eu--us"
    assert found.filters == ("smith.intents.vetted.fs.read.v1.eu", "smith.intents.vetted.fs.read.v1.us")
    assert found.domains == ("eu", "us")
    assert found.derived_from == READ.name
    assert found == READ.for_domains("eu", "us")
    assert (found.stream, found.ack_wait, found.max_attempts) == (READ.stream, READ.ack_wait, READ.max_attempts)


@pytest.mark.parametrize(
    ("one", "other"), [(["a--b"], ["a", "b"]), (["a-", "b"], ["a", "-b"]), (["x/y"], ["x", "y"]), (["a"], ["A"])]
)
def test_no_two_sets_of_domains_share_a_name(one: list[str], other: list[str]) -> None:
    assert READ.for_domains(*one).name != READ.for_domains(*other).name


@pytest.mark.parametrize("domains", [["x/y"], ["ä\\"], ["d" * 256], [f"domain-{i}" for i in range(40)]])
def test_a_name_is_one_that_the_server_takes_whatever_the_domains(domains: list[str]) -> None:
    name = READ.for_domains(*domains).name
    assert len(name) < 128
    assert name.replace("-", "").isalnum()
    assert name.isascii()


@pytest.mark.parametrize("wrong", ["", "a.b", "*", ">", "a b", "x" * 257, 7, None, ["eu"]])
def test_what_is_not_a_token_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(InvalidToken, match=r"\{domain\} of subject smith.intents.vetted.fs.read.v1.\{domain\} cannot be"):
        READ.for_domains("eu", wrong)


def test_no_domain_and_one_given_twice_are_refused() -> None:
    with pytest.raises(OptionsError, match="name at least one domain"):
        READ.for_domains()
    with pytest.raises(OptionsError, match="domain 'eu' is given twice"):
        READ.for_domains("eu", "us", "eu")


def test_a_consumer_without_an_open_domain_is_refused() -> None:
    with pytest.raises(OptionsError, match=r"consumer http-results: for_domains: its filters have no open \{domain\}"):
        consumers.http_results.for_domains("eu")
    with pytest.raises(OptionsError, match="it was derived from executor-fs-read already"):
        READ.for_domains("eu").for_domains("eu")


def test_a_contract_has_derived_consumers_in_place_of_the_one_for_all_domains() -> None:
    found = CONTRACT.with_domains(READ.for_domains("eu"), READ.for_domains("us"))
    names = [one.name for one in found.consumers]
    assert READ.name not in names
    assert names[-2:] == ["executor-fs-read--eu", "executor-fs-read--us"]
    assert len(names) == len(CONTRACT.consumers) + 1
    assert [one.name for one in found.with_domains(READ.for_domains("jp")).consumers][-1] == "executor-fs-read--jp"
    assert READ in found.templates
    assert READ in CONTRACT.consumers  # which stays as it was


def test_beside_keeps_the_consumer_for_all_domains() -> None:
    found = CONTRACT.with_domains(READ.for_domains("eu"), beside=["executor-fs-read"])
    assert {"executor-fs-read", "executor-fs-read--eu"} <= {one.name for one in found.consumers}


def test_what_would_execute_a_message_twice_is_refused() -> None:
    with pytest.raises(OptionsError, match="both serve domain eu"):
        CONTRACT.with_domains(READ.for_domains("eu"), READ.for_domains("us", "eu"))


def test_what_was_not_derived_from_the_contract_is_refused() -> None:
    with pytest.raises(OptionsError, match="is not a derived consumer"):
        CONTRACT.with_domains(READ)
    with pytest.raises(OptionsError, match="the contract has no consumer executor-fs-read"):
        _queue().with_domains(READ.for_domains("eu"))


def test_on_a_work_queue_overlaps_are_refused_with_the_servers_code() -> None:
    contract = _queue()
    (todo,) = contract.consumers
    with pytest.raises(OptionsError, match="10100"):
        contract.with_domains(todo.for_domains("eu"), beside=["todo"])
    with pytest.raises(OptionsError, match="10100"):
        contract.with_domains(todo.for_domains("eu"), todo.for_domains("us", "eu"))


def _queue() -> Contract:
    return Contract(
        name="q",
        version=1,
        abi=RUNTIME_ABI,
        spec_hash="",
        origin="q:CONTRACT",
        trie={},
        streams=(StreamSpec(name="TODO", subjects=("todo.*",), retention="workqueue"),),
        consumers=(
            ConsumerSpec(
                name="todo",
                stream="TODO",
                filters=("todo.*",),
                domain_filters=("todo.{domain}",),
                ack_wait=5.0,
                max_attempts=3,
                max_ack_pending=10,
                prefetch=5,
            ),
        ),
        profiles=(),
    )


# ---- what makes way for what


def on_server(*specs: ConsumerSpec[Any, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for spec in specs:
        config = {"durable_name": spec.name, "filter_subjects": list(spec.filters), "metadata": dict(spec.metadata)}
        found.setdefault(spec.stream, {})[spec.name] = {"name": spec.name, "config": config}
    return found


def moves(contract: Contract, there: dict[str, dict[str, Any]], domain: str, to: list[str] | None = None) -> list[Any]:
    found = find_moves(contract, there, {"TODO"}, {}, domain, to)
    return [(move.old, tuple(spec.name for spec in move.new)) for move in found]


def test_all_that_share_a_domain_make_way_at_once() -> None:
    a, b, c, d = (READ.for_domains(*one) for one in (["a"], ["b", "c"], ["a", "b"], ["c", "d"]))
    declared = CONTRACT.with_domains(a, b, READ.for_domains("d"))
    expected = [((c.name, d.name), (a.name, READ.for_domains("b", "c").name, READ.for_domains("d").name))]
    for domain in "abcd":
        assert moves(declared, on_server(c, d), domain, None)[:1] == expected[:1], domain


def test_nothing_is_moved_where_the_server_has_what_is_declared() -> None:
    declared = CONTRACT.with_domains(READ.for_domains("a"))
    assert moves(declared, on_server(READ.for_domains("a"), READ.for_domains("z")), "a") == []
    assert moves(CONTRACT, on_server(*CONTRACT.consumers), "anything") == []


def test_the_order_of_the_steps_is_that_of_the_retention() -> None:
    contract = _queue()
    (todo,) = contract.consumers
    declared = contract.with_domains(todo.for_domains("a"), todo.for_domains("b"))
    (move,) = find_moves(declared, on_server(todo), {"TODO"}, {}, "a")
    assert [step.action for step in move.steps()] == ["hold", "drain", "stop", "delete", "create", "release"]
    assert "NO_EXECUTOR" in list(move.steps())[-1].text
    assert move.patterns == ("todo.*",)


def test_a_domain_that_is_declared_nowhere_is_refused_with_those_that_are() -> None:
    declared = _queue()
    (todo,) = declared.consumers
    with pytest.raises(OptionsError, match=r"domain 'c': contract 'q' declares no consumer that serves it; .* are a, b"):
        moves(declared.with_domains(todo.for_domains("a", "b")), {}, "c")
