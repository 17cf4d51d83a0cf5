# ruff: noqa: E501 - one case on one line
"""`[sharding]`: what it generates, what is refused, and what breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from generated import folder_of, generated

from smith_codegen import checks, permissions, sharded, sources
from smith_codegen.breaking.compat import compare
from smith_codegen.cli import main
from smith_codegen.compile import compile_spec
from smith_codegen.errors import SpecErrors
from smith_sdk import ShardKey
from smith_sdk.contract import Layout, Shard, ShardingSpec
from smith_sdk.errors import InvalidToken, SubjectMismatch

BANK_FILE = Path(__file__).with_name("bank.toml")
BANK = BANK_FILE.read_text()
SMITH = Path(__file__).parents[2].joinpath("subjects.toml").read_text()


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    with generated(BANK_FILE, "bank_bus", tmp_path_factory.mktemp("bank")) as package:
        yield package


def test_shards_are_spread_over_derived_streams(bank: ModuleType) -> None:
    contract, ledger = bank.topology.CONTRACT, bank.sharding.ledger
    assert [stream.name for stream in contract.streams] == [
        "ENTRIES",
        "BLOBS",
        "KV_LEASES",
        "KV_SILENT",
        "KV_FORGETS",
        "KV_PLAIN",
        "ENTRIES_S0",
        "ENTRIES_S1",
    ]
    one = contract.stream("ENTRIES_S1")
    assert set(one.subjects) == {
        *(f"bank.entries.*.shard.{number:02x}" for number in (1, 3, 5)),
        *(f"bank.old.*.{number:02x}" for number in (1, 3)),
    }
    assert (one.retention, one.max_bytes, one.duplicate_window) == ("interest", 8 * 2**20, 120.0)
    assert sum(stream.max_bytes or 0 for stream in contract.profile("dev")) <= 12 * 2**20
    assert [(spec.name, spec.stream) for spec in ledger.consumers] == [
        (f"ledger-{number:02x}", f"ENTRIES_S{number % 2}") for number in range(6)
    ]
    assert ledger.consumers[1].filters == ("bank.entries.*.shard.01", "bank.old.*.01")
    assert set(ledger.consumers) <= set(contract.consumers)
    assert (ledger.bucket, ledger.pin_timeout, ledger.max_ack_pending, ledger.streams) == ("LEASES", 3.0, 64, 2)
    # the runtime derives what the generator has written down
    for stream in ("ENTRIES_S0", "ENTRIES_S1"):
        captured = {pattern for spec in ledger.consumers if spec.stream == stream for pattern in spec.filters}
        assert set(contract.stream(stream).subjects) == captured
        assert set(ledger.captured()[stream]) == {one for one in captured if "shard" in one}
    assert contract.stream_of(bank.subjects.entries_sharded(account_id="a", shard=Shard(3))) == "ENTRIES_S1"
    assert contract.stream_of(bank.subjects.entries(account_id="a")) == "ENTRIES"


def test_the_subject_of_a_payload_with_fields_as_its_key(bank: ModuleType) -> None:
    entry = bank.protocol.Entry(id="1", account_id="acc", amount=1, branch="b", marks={})
    subject = bank.subjects.entries_sharded.of(entry)
    assert subject.shard == Layout(6).shard(ShardKey("acc", "b"))
    assert bank.subjects.parse(str(subject)) == subject
    assert bank.subjects.parse("bank.old.acc.03") == bank.subjects.entries_old(account_id="acc", shard=Shard(3))
    # a token of the same name is the spec's own
    assert bank.subjects.parse("bank.branches.7") == bank.subjects.branches(shard=7)
    with pytest.raises(InvalidToken):
        bank.subjects.parse("bank.entries.acc.shard.7")
    with pytest.raises(SubjectMismatch, match="the key of the payload"):
        bank.subjects.entries_sharded.of(entry, key=ShardKey("acc"))


def test_a_sharded_subject_is_made_of_a_payload_also_without_other_tokens() -> None:
    plain = BANK.replace("bank.entries.{account_id}", "bank.entries.new").replace('["bank.entries.*",', '["bank.entries.new",')
    text = compile_spec(plain.replace('"bank.old.{account_id}', '"bank.old'), "bank.toml")["subjects/_entries_sharded.py"]
    assert "class EntriesSharded(" in text
    assert "def of(cls, message: Entry, *, key: _ShardKey | None = None) -> _Self:" in text


def test_check_finds_drift_in_what_shards_make(bank: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder_of(bank)
    assert main(["--check", str(BANK_FILE), str(out)]) == 0
    for name in ("sharding.py", "subjects/_sharding.py"):
        text = (out / name).read_text()
        (out / name).write_text(text.replace("ledger", "other"))
        capsys.readouterr()
        assert main(["--check", str(BANK_FILE), str(out)]) == 1
        assert f"{name} (as it is)" in capsys.readouterr().out
        (out / name).write_text(text)


def test_the_canonical_spec_has_the_declaration_only(bank: ModuleType) -> None:
    found = bank.topology.CONTRACT.spec
    assert list(found["sharding"]) == ["ledger"]
    assert set(found["subjects"]) == {"entries", "branches", "blobs", "ticks"}
    assert set(found["streams"]) == {"ENTRIES", "BLOBS", "KV_LEASES", "KV_SILENT", "KV_FORGETS", "KV_PLAIN"}
    assert set(found["consumers"]) == {"books"}
    again = sources.parse((folder_of(bank) / "spec.json").read_text(), "spec.json")
    assert (again.canonical, set(again.consumers)) == (
        sources.parse(BANK, "bank.toml").canonical,
        {"books", *(f"ledger-{number:02x}" for number in range(6))},
    )
    spec = sources.parse(BANK, "bank.toml")
    assert sharded.without(spec).derived == {}


# ---- what is refused


def problems(text: str) -> dict[str, str]:
    try:
        compile_spec(text, "bank.toml")
    except SpecErrors as refused:
        found: dict[str, str] = {}
        for error in refused.errors:
            found[error.key] = f"{found.get(error.key, '')}{error.problem} ({error.fix}) "
        return found
    return {}


LEDGER = 'subject = "entries"\nshards = 6\nkey = ["branch", "account_id"]\nstreams = 2\n'
WRONG = {
    'shards = 6 -> shards = 0': ("sharding.ledger.shards", "0 is not within 1 to 4,096"),
    'shards = 6 -> shards = 4097': ("sharding.ledger.shards", "4097 is not within 1 to 4,096"),
    'streams = 2 -> streams = 7': ("sharding.ledger.streams", "7 streams for 6 shards"),
    'streams = 2 -> streams = 0': ("sharding.ledger.streams", "0 streams"),
    'streams = 2 -> generation = 0': ("sharding.ledger.generation", "0 is not within 1 to 65,535"),
    'pin_timeout = "3s" -> pin_timeout = "500ms"': ("sharding.ledger.pin_timeout", "less than 1s"),
    'pin_timeout = "3s" -> pin_timeout = 3': ("sharding.ledger.pin_timeout", "expected str, got int"),
    'max_ack_pending = 64 -> max_ack_pending = 0': ("sharding.ledger.max_ack_pending", "is less than 1"),
    'max_ack_pending = 64 -> max_attempts = 0': ("sharding.ledger.max_attempts", "0 attempts"),
    'bucket = "LEASES" -> bucket = "FORGETS"': ("sharding.ledger.bucket", "FORGETS deletes keys that are in use"),
    'bucket = "LEASES" -> bucket = "SILENT"': ("sharding.ledger.bucket", "workers would not see that a key of SILENT expires"),
    'bucket = "LEASES" -> bucket = "LEASE"': ("sharding.ledger.bucket", "unknown bucket 'LEASE', which is stream KV_LEASE (name one of LEASES, SILENT, FORGETS, PLAIN)"),
    'bucket = "LEASES" -> bucket = "PLAIN"': ("sharding.ledger.bucket", "cannot expire, as those of members must (add allow_msg_ttl = true to [streams.KV_PLAIN])"),
    'subject = "entries"\nshards -> subject = "entry"\nshards': ("sharding.ledger.subject", "unknown subject 'entry' (did you mean entries?)"),
    'subject = "entries"\nshards -> subject = "ticks"\nshards': ("sharding.ledger.subject", "ticks is stored in no stream"),
    'subject = "entries"\nshards -> subject = "blobs"\nshards': ("sharding.ledger.subject", "carries bytes"),
    'subject = "entries"\nshards -> subject = "branches"\nshards': ("sharding.ledger.subject", "bank.branches.{shard} has a token {shard} already"),
    'key = ["branch", "account_id"] -> key = "nothing"': ("sharding.ledger.key", "nothing: there is no field nothing"),
    'key = ["branch", "account_id"] -> key = "amount"': ("sharding.ledger.key", "amount: amount is int, not a str"),
    'key = ["branch", "account_id"] -> key = "tags"': ("sharding.ledger.key", "tags is list[str]?, not a str"),
    'key = ["branch", "account_id"] -> key = "branch.x"': ("sharding.ledger.key", "branch is str?, which has no field x"),
    'key = ["branch", "account_id"] -> key = "more.since"': ("sharding.ledger.key", "more.since: since is int?, not a str"),
    'key = ["branch", "account_id"] -> key = "more.labels.a.b"': ("sharding.ledger.key", "labels is map[str]?, which has no b"),
    'key = ["branch", "account_id"] -> key = "more.nobody"': ("sharding.ledger.key", "there is no field nobody"),
    'key = ["branch", "account_id"] -> key = []': ("sharding.ledger.key", "has 0 paths"),
    'key = ["branch", "account_id"] -> key = ["id", "branch", "account_id"]': ("sharding.ledger.key", "has 3 paths"),
    'key = ["branch", "account_id"] -> key = ["branch", "branch"]': ("sharding.ledger.key", "has a path twice"),
    'publishes = ["branches"] -> publishes = ["branch"]': ("sharding.ledger.publishes.0", "unknown subject 'branch' (did you mean branches?)"),
    "[sharding.ledger] -> [sharding.Ledger]": ("sharding.Ledger", "'Ledger' is not a valid Python name"),
    'shards = 4 -> shards = 0': ('sharding.ledger.reads.entries_old.shards', "0 is not within 1 to 4,096"),
    '{account_id}.{shard}" -> {shard}.{account_id}"': ('sharding.ledger.reads.entries_old.pattern', "does not end with {shard}"),
    'bank.old.{account_id} -> bank.old.{nobody}': ('sharding.ledger.reads.entries_old.pattern', "unknown token 'nobody'"),
    '"BranchShard" -> "Shard"': ("tokens.shard.newtype", "Shard is a type of the SDK"),
    '"bank.branches.*"] -> "bank.branches.*", "bank.entries.*.shard.*"]': ("sharding.ledger", "bank.entries.*.shard.* is also captured by ENTRIES, which the server refuses (10065)"),
    'streams = 2\n -> ': ("sharding.ledger", "captures none of bank.entries.{account_id}.shard.{shard} (write bank.entries.*.shard.* in streams.ENTRIES.subjects"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_an_error_names_the_key(case: str) -> None:
    old, _, new = case.partition(" -> ")
    assert BANK.count(old) >= 1
    changed = BANK.replace(old, new, 1) if old != "shards = 4" else BANK.replace("\nshards = 4", "\nshards = 0")
    found = problems(changed.replace("[sharding.ledger.reads", "[sharding.Ledger.reads") if "Ledger" in new else changed)
    key, words = WRONG[case]
    assert key in found, found
    assert words in found[key]


def test_one_subject_has_one_sharding_and_no_name_is_taken() -> None:
    second = '\n[sharding.second]\nsubject = "entries"\nshards = 2\nkey = "id"\nbucket = "LEASES"\n'
    assert "entries is sharded by ledger already" in problems(BANK + second)["sharding.second.subject"]
    assert (
        "entries_sharded is sharded already"
        in problems(BANK + second.replace('"entries"', '"entries_sharded"'))["sharding.second.subject"]
    )
    taken = BANK.replace('"ticks" =', '"entries_sharded" = { pattern = "bank.x", message = "Entry" }\n"ticks" =')
    assert "declares subjects.entries_sharded, which exists already" in problems(taken)["sharding.ledger"]
    taken = BANK.replace("[consumers.books]", "[consumers.ledger-03]")
    assert "declares consumers.ledger-03, which exists already" in problems(taken)["sharding.ledger"]


def test_no_other_subject_has_the_form_of_a_shard() -> None:
    audit = '"audit" = { pattern = "bank.entries.{account_id}.audit.{shard}", message = "Entry", stream = "BLOBS" }\n"ticks" ='
    found = problems(BANK.replace('"ticks" =', audit).replace('["bank.blobs"]', '["bank.blobs", "bank.entries.*.audit.*"]'))
    assert "a message on bank.entries.*.audit.* could be this subject or audit" in found["sharding.ledger"]


def test_streams_have_room_for_the_consumers() -> None:
    many = BANK.replace("shards = 6", "shards = 2002").replace("max_ack_pending = 64", "prefetch = 10")
    with pytest.raises(SpecErrors, match="1001 consumers are declared, and without max_consumers the server refuses the 1,001st"):
        checks.check(sources.parse(many, "bank.toml"))
    room = many.replace('max_bytes = "8MiB"', 'max_bytes = "8MiB"\nmax_consumers = 1100')
    checks.check(sources.parse(room, "bank.toml"))
    few = BANK.replace('max_bytes = "8MiB"', 'max_bytes = "8MiB"\nmax_consumers = 2')
    assert any("3 consumers are declared (10026)" in one for one in problems(few).values())


def test_a_work_queue_has_no_consumer_beside_its_shards() -> None:
    queue = BANK.replace('retention = "interest"', 'retention = "workqueue"').replace("streams = 2", "streams = 1")
    queue = queue.replace('"bank.branches.*"]', '"bank.branches.*", "bank.entries.*.shard.*", "bank.old.*.*"]')
    assert problems(queue) == {}
    rival = queue.replace('[{ subject = "entries" }', '[{ subject = "entries_sharded", shard = "03" }, { subject = "entries" }')
    assert "overlaps that of books on ENTRIES, which the server refuses on a work queue" in problems(rival)["sharding.ledger"]
    beside = BANK.replace('"branches" }]', '"branches" }, { subject = "entries_sharded", shard = "0f" }]')
    assert "entries_sharded is stored in ENTRIES_S0" in problems(beside)["consumers.books.filters.2.subject"]


# ---- a spec that extends another


EXTENDS = """
[spec]
name = "watch"
version = 1
root = "watch"
package = "watch_bus"
extends = ["smith_sdk"]

[sharding.health]
subject = "events.health"
shards = 4
key = "service"
"""


def test_an_inherited_subject_is_sharded_if_its_stream_captures_it(tmp_path: Path) -> None:
    path = tmp_path / "watch.toml"
    path.write_text(EXTENDS)
    with generated(path, "watch_bus", tmp_path) as watch:
        contract = watch.topology.CONTRACT
        assert [one.name for one in contract.shardings] == ["episode", "health"]
        health: ShardingSpec[Any, Any] = contract.sharding_of("events.health")
        assert health is watch.sharding.health
        assert health.consumers[2].filters == ("smith.events.health.*.shard.02",)
        assert [spec.name for spec in contract.consumers][-4:] == ["health-00", "health-01", "health-02", "health-03"]
        assert contract.consumers.count(health.consumers[0]) == 1
        parsed = contract.parse("smith.events.health.web.shard.02")
        assert type(parsed) is watch.subjects.events.health_sharded
        assert (
            type(contract.parse("smith.intents.vetted.fs.read.v1.d.shard.02")).__module__
            == "smith_sdk.subjects.intents._vetted_sharded"
        )


@pytest.mark.parametrize(
    ("subject", "key", "words"),
    [
        ("results", "intent_id", "ATOMS_RESULTS (smith.results.*) captures none of smith.results.{intent_id}.shard.{shard}"),
        ("intents.vetted", "id", "intents.vetted is sharded by episode already"),
        ("audit.policy", "intent_id", "consumer audit-collector of smith_sdk would receive it"),
    ],
)
def test_what_cannot_be_sharded_of_what_is_inherited(subject: str, key: str, words: str) -> None:
    found = problems(EXTENDS.replace("events.health", subject).replace('"service"', f'"{key}"'))
    assert any(words in one for one in found.values()), found


# ---- permissions


def test_a_worker_may_pull_the_shards_of_each_layout() -> None:
    spec = sources.parse(SMITH, "subjects.toml")
    declared = permissions.block(spec, "worker", shardings=["episode"])
    both = permissions.block(spec, "worker", shardings=["episode:generation=2,shards=3"], once="SMITH_NONCES")
    pulls = [one for one in declared.publish if ".MSG.NEXT.ATOMS_VETTED." in one]
    assert pulls == [f"$JS.API.CONSUMER.MSG.NEXT.ATOMS_VETTED.episode-{number:02x}" for number in range(16)]
    more = {one.rpartition(".")[2] for one in both.publish if ".UNPIN." in one}
    assert more == {*(f"episode-{number:02x}" for number in range(16)), *(f"episode-g2-{number:02x}" for number in range(3))}
    assert "$KV.SMITH_NONCES.ATOMS_VETTED.episode-g2-02.*" in both.publish
    assert not any("layout" in one or one.startswith("$KV.SMITH_CONTROL.>") for one in declared.publish)
    # streams of their own have no other consumers
    bank = permissions.block(sources.parse(BANK, "bank.toml"), "worker", shardings=["ledger"])
    assert [one for one in bank.publish if "MSG.NEXT.ENTRIES" in one] == [
        f"$JS.API.CONSUMER.MSG.NEXT.ENTRIES_S{index}.*" for index in (0, 1)
    ]
    assert bank.inbox_prefix == "_INBOX_ledger"


def test_a_publisher_may_use_each_layout() -> None:
    spec = sources.parse(SMITH, "subjects.toml")
    found = permissions.block(spec, "publisher", subjects=["intents.vetted_sharded:domain=eu"])
    assert "smith.intents.vetted.*.*.*.eu.*.*" in found.publish
    assert "$JS.API.STREAM.MSG.GET.KV_SMITH_CONTROL" in found.publish
    assert "smith.intents.vetted.*.*.*.*.*.*" in permissions.block(spec, "admission").publish


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("other", "declares no sharding other: episode"),
        ("episode:shards=3", "name:generation=2,shards=32 is needed"),
        ("episode:generation=2,shards=x", "name:generation=2,shards=32 is needed"),
        ("episode:generation=0,shards=3", "name:generation=2,shards=32 is needed"),
        ("episode:generation=2,shards=4097", "at most 4,096 shards"),
    ],
)
def test_a_sharding_that_does_not_exist_has_no_permissions(wanted: str, words: str) -> None:
    with pytest.raises(permissions.RoleError, match=words):
        permissions.block(sources.parse(SMITH, "subjects.toml"), "worker", shardings=[wanted])


# ---- what breaks


def changes(old: str, new: str) -> list[str]:
    specs = [sources.parse(text, "bank.toml") for text in (old, new)]
    for one in specs:
        checks.check(one)
    return [f"{change.kind} {change.key}: {change.deploy}" for change in compare(*specs)]


SECTION = BANK[BANK.index("[sharding.ledger]") : BANK.index("[profiles.dev]")]


@pytest.mark.parametrize(
    ("edit", "there", "back"),
    [
        (
            ("shards = 6", "shards = 8"),
            ["wire sharding.ledger.shards: side by side"],
            ["wire sharding.ledger.shards: side by side"],
        ),
        (
            ("shards = 6", "shards = 8\ngeneration = 2"),
            ["wire sharding.ledger.generation: side by side"],
            ["wire sharding.ledger.generation: side by side"],
        ),
        (
            ('["branch", "account_id"]', '"account_id"'),
            ["wire sharding.ledger.key: side by side"],
            ["wire sharding.ledger.key: side by side"],
        ),
        (
            ("streams = 2", "streams = 3"),
            ["wire sharding.ledger.streams: side by side"],
            ["wire sharding.ledger.streams: side by side"],
        ),
        (('"account_id"]', '"id"]'), ["wire sharding.ledger.key: side by side"], ["wire sharding.ledger.key: side by side"]),
        (
            ('"bank.old.', '"bank.older.'),
            ["wire sharding.ledger.reads.entries_old: publishers first"],
            ["wire sharding.ledger.reads.entries_old: publishers first"],
        ),
        ((SECTION, ""), ["wire sharding.ledger: publishers first"], ["wire sharding.ledger: readers first"]),
        (("sharding.ledger", "sharding.book"), ["wire sharding.ledger: side by side"], ["wire sharding.book: side by side"]),
        (('pin_timeout = "3s"', 'pin_timeout = "30s"'), [], []),
        (("max_ack_pending = 64", "max_ack_pending = 65\nprefetch = 3"), [], []),
        (
            ("max_ack_pending = 64", "max_ack_pending = 64\nmax_attempts = 7"),
            [],
            ["consumer sharding.ledger.max_attempts: on apply"],
        ),
        (('key = ["branch", "account_id"]\nstreams = 2', 'streams = 2\nkey = ["branch", "account_id"]'), [], []),
    ],
)
def test_what_breaks(edit: tuple[str, str], there: list[str], back: list[str]) -> None:
    changed = BANK.replace(*edit)
    assert changed != BANK
    assert changes(BANK, changed) == there
    assert changes(changed, BANK) == back


def test_a_key_of_a_family_is_looked_up_in_each_variant() -> None:
    key = '["metadata.project", "metadata.episode_id"]'
    assert key in SMITH
    found = problems(SMITH.replace(key, '"params.path"'))
    assert "http.fetch.v1 has no field path" in found["sharding.episode.key"]
    assert problems(SMITH.replace(key, '"domain"')) == {}
