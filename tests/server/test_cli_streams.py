"""`smith streams` on a real server: its output, its exit statuses, and that nothing is deleted
without a question."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from buses import Account
from cli import Smith, apply_declared, contract_module, on_terminal, without_colour
from generated import generated
from msgspec.structs import replace
from topology_cases import ORDERS, READER, bus_of, contract

from smith_sdk import SmithBus
from smith_sdk.contract import Profile
from smith_sdk.embedded import EmbeddedServer

Make = Callable[..., EmbeddedServer]
DECLARED = contract(ORDERS, readers=(READER,), profile=Profile(name="prod"))


@pytest.fixture
def url(account: Account, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server of the test's own, which `smith` asks by itself."""
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    return account.url


@pytest.fixture
def smith(capsys: pytest.CaptureFixture[str], url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Smith]:
    """`smith` on the contract of these tests."""
    with contract_module("orders_bus", DECLARED) as name:
        monkeypatch.setenv("SMITH_CONTRACT", name)
        yield Smith(capsys)


def make_stream(url: str, name: str, subject: str, messages: int = 0, **otherwise: Any) -> None:
    """A stream that was made by hand, with messages on `subject`."""

    async def make() -> None:
        async with bus_of(url, DECLARED) as (bus, admin):
            await admin.stream_create({"name": name, "subjects": [subject], **otherwise})
            for number in range(messages):
                await bus._session.publish(subject.replace(">", "a"), b"x", stream=name, msg_id=str(number))

    asyncio.run(make())


def streams_of(url: str) -> dict[str, int]:
    """The streams on the server, and how many messages each has."""

    async def ask() -> dict[str, int]:
        async with bus_of(url, DECLARED) as (_, admin):
            return {info["config"]["name"]: info["state"]["messages"] for info in await admin.streams(">")}

    return asyncio.run(ask())


def test_plan_apply_verify(smith: Smith, url: str) -> None:
    assert smith("streams", "plan").status == 2
    assert smith.out == "+ stream ORDERS\n+ consumer reader of ORDERS\n2 to create\n"
    found = smith("streams", "plan", "--json").json
    assert smith.status == 2
    assert {key: found[key] for key in ("profile", "prune", "unknown", "cautions")} == {
        "profile": "prod",
        "prune": False,
        "unknown": [],
        "cautions": [],
    }
    assert [(step["kind"], step["stream"], step["consumer"]) for step in found["steps"]] == [
        ("create", "ORDERS", None),
        ("create", "ORDERS", "reader"),
    ]
    assert smith("streams", "verify").status == 1
    assert (smith.out, len(smith.err.splitlines())) == ("", 1)
    assert smith("streams", "verify", "--json").status == 1
    assert smith.json == {"profile": "prod", "differences": ["create stream ORDERS", "create consumer reader of ORDERS"]}
    assert streams_of(url) == {}

    assert smith("streams", "apply").status == 0
    assert smith.out == "+ stream ORDERS\n+ consumer reader of ORDERS\n2 to create\napplied\n"
    assert smith("streams", "apply").out == "nothing to do\n"
    assert smith("streams", "plan").status == 0
    assert smith.out == "nothing to do\n"
    assert smith("streams", "plan", "--json").json["steps"] == []
    assert smith("streams", "verify").status == 0
    assert smith("streams", "verify", "--json").json == {"profile": "prod", "differences": []}
    assert smith("streams", "apply", "--json").json["steps"] == []


def test_undeclared_streams_are_shown_and_pruned_only_on_request(smith: Smith, url: str) -> None:
    smith("streams", "apply")
    make_stream(url, "LEFTOVER", "t.left.>", 3)
    assert smith("streams", "plan").status == 0
    assert smith.out == "? stream LEFTOVER\n    captures t.left.>\nnothing to do\n"
    assert [step["stream"] for step in smith("streams", "plan", "--json").json["unknown"]] == ["LEFTOVER"]
    assert smith("streams", "apply").status == 0

    assert smith("streams", "plan", "--prune").status == 2
    assert smith.out.splitlines()[0] == "- stream LEFTOVER"
    found = smith("streams", "plan", "--prune", "--json").json
    assert [(step["kind"], step["stream"]) for step in found["steps"]] == [("delete", "LEFTOVER")]
    assert [(caution["kind"], caution["messages"]) for caution in found["cautions"]] == [("pending", 3)]

    assert smith("streams", "apply", "--prune").status == 1
    assert "- stream LEFTOVER" in smith.out
    assert "--yes" in smith.err
    assert smith("streams", "apply", "--prune", "--json").status == 1
    assert smith.out == ""
    assert "- stream LEFTOVER" in smith.err
    assert streams_of(url) == {"ORDERS": 0, "LEFTOVER": 3}
    assert smith("streams", "apply", "--prune", "--yes", "--json").status == 0
    assert [step["stream"] for step in smith.json["steps"]] == ["LEFTOVER"]
    assert streams_of(url) == {"ORDERS": 0}


def test_an_update_that_deletes_messages_asks_as_well(capsys: pytest.CaptureFixture[str], url: str) -> None:
    make_stream(url, "ORDERS", "t.orders.>", 5)
    smaller = contract(replace(ORDERS, max_msgs=2), profile=Profile(name="prod"))
    with contract_module("smaller_bus", smaller) as name:
        smith = Smith(capsys)
        assert smith("streams", "apply", "--contract", name).status == 1
        assert "~ stream ORDERS\n    max_msgs: unlimited -> 2\nwarning: stream ORDERS holds 3 messages more" in smith.out
        assert streams_of(url) == {"ORDERS": 5}
        assert smith("streams", "apply", "--contract", name, "--yes").status == 0
        assert streams_of(url) == {"ORDERS": 2}


def test_an_impossible_plan_is_refused_without_a_question(smith: Smith, url: str) -> None:
    make_stream(url, "ORDERS", "t.orders.>", storage="memory")
    make_stream(url, "LEFTOVER", "t.left.>", 3)
    assert smith("streams", "plan").status == 2
    assert "! stream ORDERS\n    storage: memory -> file\n      the server cannot change storage" in smith.out
    assert smith("streams", "apply", "--prune").status == 1
    assert "cannot change storage" in smith.err
    assert streams_of(url) == {"ORDERS": 0, "LEFTOVER": 3}


def test_control_characters_from_the_server_are_escaped(smith: Smith, url: str) -> None:
    make_stream(url, "ORDERS", "t.orders.>", description="\x1b]0;owned\x07[red]x")
    spec = replace(ORDERS, description="ours")
    with contract_module("described_bus", contract(spec, profile=Profile(name="prod"))) as name:
        smith("streams", "plan", "--contract", name)
    assert "description: \\x1b]0;owned\\x07[red]x -> ours" in smith.out


# ---- what the streams hold


def test_ls_and_show(smith: Smith, url: str) -> None:
    limited = contract(replace(ORDERS, max_msgs=8, max_age=3600.0), readers=(READER,), profile=Profile(name="prod"))
    apply_declared(url, limited, 6)
    assert smith("streams", "ls").status == 0
    headings, row = smith.out.splitlines()
    assert headings.split() == ["stream", "messages", "size", "full", "last", "consumers", "pending"]
    name, messages, _, *full, last, consumers, pending = row.split()
    assert (name, messages, full, consumers, pending) == ("ORDERS", "6", ["75.0%", "of", "max_msgs"], "1", "3")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", last)
    (listed,) = smith("streams", "ls", "--json").json
    assert (listed["name"], listed["messages"], listed["last_seq"], listed["utilisation"]["max_msgs"]) == ("ORDERS", 6, 6, 75)
    assert [(one["name"], one["num_pending"]) for one in listed["consumers"]] == [("reader", 3)]

    assert smith("streams", "show", "ORDERS").status == 0
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in smith.out.partition("\n\n")[0].splitlines())
    assert {key: facts[key] for key in ("stream", "subjects", "messages", "of max_msgs")} == {
        "stream": "ORDERS",
        "subjects": "t.orders.>",
        "messages": "6",
        "of max_msgs": "75.0%",
    }
    assert re.search(r"^reader +ORDERS +3 ", smith.out, re.MULTILINE)
    assert smith("streams", "show", "ORDERS", "--json").json["name"] == "ORDERS"
    assert smith("streams", "show", "NONE").status == 1
    assert "ORDERS" in smith.err


def test_ls_of_a_server_without_streams(smith: Smith) -> None:
    assert smith("streams", "ls", "--json").json == []
    assert smith("streams", "ls").status == 0
    assert len(smith.out.splitlines()) == 1
    assert smith("streams", "show", "ORDERS").status == 1
    assert "smith streams apply" in smith.err


def test_purge(smith: Smith, url: str) -> None:
    apply_declared(url, DECLARED, 10)
    for options, count in (
        ((), 10),
        (("--subject", "t.orders.a"), 5),
        (("--before-seq", "4"), 3),
        (("--keep", "2"), 8),
        (("--subject", "t.orders.b", "--keep", "1"), 4),
    ):
        assert smith("streams", "purge", "ORDERS", *options, "--dry-run").status == 0
        assert smith.out == f"{count} messages of stream ORDERS would be deleted\n"
        assert smith("streams", "purge", "ORDERS", *options, "--dry-run", "--json").status == 0
        assert smith.json == {"stream": "ORDERS", "messages": count, "dry_run": True}
        assert smith("streams", "purge", "ORDERS", *options).status == 1
        assert "--yes" in smith.err
        assert smith.out == f"{count} messages of stream ORDERS would be deleted\n"
        assert smith("streams", "purge", "ORDERS", *options, "--json").status == 1
        assert smith.out == ""
    assert streams_of(url) == {"ORDERS": 10}
    assert smith("streams", "purge", "ORDERS", "--subject", "t.orders.b", "--keep", "1", "--yes", "--json").status == 0
    assert smith.json == {"stream": "ORDERS", "messages": 4, "dry_run": False}
    assert streams_of(url) == {"ORDERS": 6}
    assert smith("streams", "purge", "ORDERS", "--keep", "1", "--yes").out == "deleted 5 messages of stream ORDERS\n"
    assert smith("streams", "purge", "ORDERS", "--keep", "1").status == 0, "there is nothing to delete, so it does not ask"
    assert streams_of(url) == {"ORDERS": 1}
    assert smith("streams", "purge", "ORDERS", "--dry-run").out == "1 message of stream ORDERS would be deleted\n"
    assert smith("streams", "purge", "NONE", "--yes").status == 1
    assert smith("streams", "purge", "ORDERS", "--keep", "1", "--before-seq", "1", "--yes").status == 1


# ---- on a terminal


@pytest.fixture
def shop(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A contract of another package than Smith's, for `smith` in a process of its own too. It
    extends Smith's, whose streams are there."""
    spec = Path(__file__).parents[1] / "codegen" / "brew.toml"
    with generated(spec, "brew_bus", tmp_path) as package, SmithBus(url, contract=package.topology.CONTRACT) as bus:
        bus.streams.apply(profile="dev")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SMITH_CONTRACT", "brew_bus")
    return url


def test_a_terminal_asks_before_anything_is_deleted(shop: str) -> None:
    make_stream(shop, "LEFTOVER", "brew.left.>", 3)
    prune = ("streams", "apply", "--profile", "dev", "--prune")
    status, shown = on_terminal(*prune, answer="n\n")
    assert (status, "LEFTOVER" in streams_of(shop)) == (1, True)
    assert "\x1b[31m-\x1b[0m stream LEFTOVER" in shown
    assert "\x1b[33mwarning:\x1b[0m stream LEFTOVER is deleted with its 3 messages" in shown
    assert "Aborted: nothing was changed." in shown
    status, shown = on_terminal(*prune, answer="\x04")
    assert (status, "LEFTOVER" in streams_of(shop), "Traceback" in shown) == (1, True, False)
    status, shown = on_terminal(*prune, answer="y\n", env={"NO_COLOR": "1"})
    assert (status, "LEFTOVER" in streams_of(shop)) == (0, False)
    assert "- stream LEFTOVER\n" in shown
    assert "\x1b[3" not in shown
    assert without_colour(shown).endswith("applied\n")


def test_a_purge_asks_and_how_full_a_stream_is_has_its_colour(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    full = contract(replace(ORDERS, max_msgs=4), profile=Profile(name="prod"))
    apply_declared(url, full, 4)
    (tmp_path / "full_bus.py").write_text(
        "from topology_cases import ORDERS, contract\n"
        "from msgspec.structs import replace\n"
        "CONTRACT = contract(replace(ORDERS, max_msgs=4))\n"
    )
    for path in (tmp_path, Path(__file__).parents[1]):
        monkeypatch.setenv("PYTHONPATH", str(path), prepend=os.pathsep)
    monkeypatch.setenv("SMITH_CONTRACT", "full_bus:CONTRACT")
    assert "\x1b[31m100.0% of max_msgs\x1b[0m" in on_terminal("streams", "ls")[1]
    status, shown = on_terminal("streams", "purge", "ORDERS", "--keep", "1", answer="n\n")
    assert (status, streams_of(url)) == (1, {"ORDERS": 4})
    assert "3 messages of stream ORDERS would be deleted" in shown
    status, shown = on_terminal("streams", "purge", "ORDERS", "--keep", "1", answer="y\n")
    assert (status, streams_of(url)) == (0, {"ORDERS": 1})
    assert "deleted 3 messages of stream ORDERS" in shown


# ---- which contract


def test_a_contract_is_named_by_package_or_by_module_and_name(
    shop: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smith = Smith(capsys)
    for package, code in (("broken_bus", "import its_needs"), ("wrong_bus", "CONTRACT =")):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "topology.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("brew_bus", "brew_bus.topology:CONTRACT"):
        done = in_a_process("streams", "ls", "--json", "--contract", name)
        assert '"BREW"' in done
    assert "SDLC_RAW" in in_a_process("streams", "ls")
    for name, said in (
        ("no_such_bus", "no module no_such_bus"),
        ("broken_bus", "importing broken_bus.topology failed: No module named 'its_needs'"),
        ("wrong_bus", "importing wrong_bus.topology failed: SyntaxError: "),
        ("json:CONTRACT", "is not a contract"),
        ("json:loads", "is not a contract"),
        (":CONTRACT", "is not a contract"),
        (".topology:CONTRACT", "is not a contract"),
    ):
        assert smith("streams", "plan", "--contract", name).status == 1
        assert said in smith.err
        assert name in smith.err
        assert len(smith.err.splitlines()) == 1


def in_a_process(*arguments: str) -> str:
    """What `smith` prints as a process of its own, which ends well."""
    command = [sys.executable, "-m", "smith_sdk.cli", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout
