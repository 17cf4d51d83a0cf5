"""What is generated: the same every time, checked against what stands there, put into place whole,
and right."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from generated import folder_of, generated

import smith_codegen.render
import smith_sdk
from smith_codegen import reader
from smith_codegen.cli import main
from smith_codegen.compile import compile_spec
from smith_codegen.errors import SpecErrors
from smith_codegen.topology_checks import too_small
from smith_sdk.contract import RUNTIME_ABI, AnySubject
from smith_sdk.errors import ContractVersionError, InvalidToken, PayloadMismatch, UnknownSubject

ACME_FILE = Path(__file__).with_name("acme.toml")
ACME = ACME_FILE.read_text()
SMITH_FILE = Path(__file__).parents[2] / "subjects.toml"


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package that `acme.toml` makes, generated and imported."""
    with generated(ACME_FILE, "acme_bus", tmp_path_factory.mktemp("acme")) as package:
        yield package


# ---- the same every time


def test_what_is_committed_is_what_the_spec_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(SMITH_FILE), str(Path(smith_sdk.__file__).parent), "--check"]) == 0, capsys.readouterr().out


def test_the_same_bytes_in_another_process_with_another_hash_seed_and_directory(tmp_path: Path) -> None:
    # a user's configuration does not matter
    (tmp_path / "ruff.toml").write_text("line-length = 40\n")
    script = "import sys, json, smith_codegen.compile as c; json.dump(c.compile_spec(open(sys.argv[1]).read()), sys.stdout)"
    found = [
        subprocess.run(
            [sys.executable, "-c", script, str(ACME_FILE)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": "/usr/bin:/bin"},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]
    assert json.loads(found[0]) == compile_spec(ACME)


def test_every_file_says_where_it_comes_from() -> None:
    files = compile_spec(ACME)
    assert files.pop("py.typed") == ""
    for name, text in files.items():
        first = '{\n "//": "{}",\n' if name.endswith(".json") else "# {}\n"
        assert text.startswith(first.replace("{}", "generated from subjects.toml by smith-codegen; do not edit")), name


def test_the_hash_is_of_what_the_spec_means() -> None:
    plain = reader.read(ACME).hash
    rewritten = ACME.replace('order_id = { newtype = "OrderId" }', '"order_id" = { newtype = "OrderId", doc = "words" }')
    rewritten = rewritten.replace('"buy.v1" = { size = "int" }', '"buy.v1".size = { type = "int" } # words')
    assert rewritten != ACME
    assert reader.read(rewritten).hash == plain
    assert reader.read(ACME.replace('max_age = "1h"', 'max_age = "60m"').replace('"10MiB"', str(10 * 2**20))).hash == plain
    assert reader.read(ACME.replace("[consumers.buyer]", "[consumers.buyer]\npublishes = []")).hash == plain
    assert reader.read(ACME.replace("default = 5", "default = 6")).hash != plain
    assert reader.read(ACME.replace('size = "int"', 'size = "int?"')).hash != plain


def test_the_canonical_spec_means_the_same_and_is_found_at_run_time(acme: ModuleType) -> None:
    read = reader.read(ACME)
    again = reader.read_canonical(read.canonical, "spec.json")
    assert again.canonical == read.canonical
    assert compile_spec(again.canonical, "spec.json")["spec.json"] == read.canonical
    contract = acme.topology.CONTRACT
    assert contract.spec_hash == read.hash == hashlib.sha256((folder_of(acme) / "spec.json").read_bytes()).hexdigest()
    assert contract.spec["streams"]["ORDERS"]["max_age"] == "3600s"
    with pytest.raises(ContractVersionError, match="not the spec that acme_bus was generated from"):
        _ = msgspec.structs.replace(contract, spec_hash="0" * 64).spec


@pytest.mark.parametrize("text", ["", "[]", '{"spec": 3}', '{"spec": {"name": "x"}}'])
def test_what_is_no_canonical_spec_is_refused(text: str) -> None:
    with pytest.raises(SpecErrors, match=r"spec\.json"):
        reader.read_canonical(text, "spec.json")


def test_hash_prints_what_the_contract_says(acme: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hash", str(ACME_FILE)]) == 0
    assert capsys.readouterr().out.strip() == acme.topology.CONTRACT.spec_hash


def test_generator_and_runtime_agree_on_the_abi(acme: ModuleType) -> None:
    assert smith_codegen.render.ABI == RUNTIME_ABI
    with pytest.raises(ContractVersionError, match="regenerate it"):
        msgspec.structs.replace(acme.topology.CONTRACT, abi=RUNTIME_ABI + 1)


def test_the_generator_imports_nothing_of_the_sdk() -> None:
    script = "import sys, smith_codegen.cli, smith_codegen.compile; print([name for name in sys.modules if name.startswith('smith_sdk')])"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- what a spec's names bring


def test_a_family_lists_the_values_of_its_token(acme: ModuleType) -> None:
    kind = importlib.import_module(f"{acme.__name__}.subjects.kind")
    assert kind.all() == (kind.buy_v1, kind.sell_v1) == ("buy.v1", "sell.v1")


def test_a_payload_with_a_time_to_live_can_expire(tmp_path: Path) -> None:
    file = tmp_path / "acme.toml"
    fields = '\ncreated_at_ns = { type = "int", new = "now_ns" }\nttl_ms = { type = "int", min = 0, default = 1000 }'
    text = ACME.replace('name = "acme"', 'name = "mortal"').replace('"acme_bus"', '"mortal_bus"')
    file.write_text(text.replace('level = "Level?"', 'level = "Level?"' + fields))
    with generated(file, "mortal_bus", tmp_path) as package:
        done = package.protocol.Done.new(order_id="o", number=1)
        assert not done.is_expired
        assert msgspec.structs.replace(done, ttl_ms=0, created_at_ns=time.time_ns() - 1).is_expired
        assert not hasattr(package.protocol.BuyV1Order, "is_expired")
    file.write_text(
        file.read_text()
        .replace('ttl_ms = { type = "int"', 'ttl_ms = { type = "int?"')
        .replace("min = 0, default = 1000", "doc = 'x'")
    )
    assert "is_expired" not in "".join(compile_spec(file.read_text()).values())


# ---- --check, and writing


def test_check_finds_changed_missing_and_extra_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "acme_bus"
    command = [str(ACME_FILE), str(out)]
    assert main([*command, "--check"]) == 1
    assert not out.exists()
    assert main(command) == 0
    assert main([*command, "--check"]) == 0
    changed, missing, extra = out / "topology.py", out / "subjects" / "orders" / "__init__.py", out / "protocol" / "_old.py"
    text = changed.read_text()
    changed.write_text(text.replace("ack_wait=30.0", "ack_wait=31.0"))
    missing.unlink()
    extra.write_text(smith_codegen.render.HEADER)
    capsys.readouterr()
    assert main([*command, "--check"]) == 1
    said = capsys.readouterr().out
    for line in (f"changed: {changed}", f"missing: {missing}", f"extra: {extra}"):
        assert line in said.splitlines()
    assert "-        ack_wait=31.0," in said
    assert "+        ack_wait=30.0," in said
    assert "31.0" in changed.read_text()
    assert extra.exists()
    assert not missing.exists()
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == [f"wrote: {changed}", f"wrote: {missing}", f"removed: {extra}"]
    assert changed.read_text() == text
    assert missing.exists()
    assert not extra.exists()


def test_writing_touches_only_what_differs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "acme_bus"
    main([str(ACME_FILE), str(out)])
    before = {path: path.stat().st_ino for path in out.rglob("*") if path.is_file()}
    (out / "topology.py").write_text(smith_codegen.render.HEADER)
    main([str(ACME_FILE), str(out)])
    after = {path: path.stat().st_ino for path in out.rglob("*") if path.is_file()}
    assert {path.name for path in after if before.get(path) != after[path]} == {"topology.py"}
    assert set(before) == set(after)
    assert sorted(path.name for path in out.iterdir()) == [
        "__init__.py",
        "protocol",
        "py.typed",
        "spec.json",
        "subjects",
        "topology.py",
    ]


def test_a_namespace_that_is_no_longer_declared_cannot_be_imported(tmp_path: Path) -> None:
    spec_file, out = tmp_path / "acme.toml", tmp_path / "acme_bus"
    spec_file.write_text(ACME.replace('"tick" =', '"far.away.tick" ='))
    assert main([str(spec_file), str(out)]) == 0
    (out / "subjects" / "far" / "away" / "__pycache__").mkdir()
    (out / "subjects" / "far" / "away" / "__pycache__" / "_tick.cpython-311.pyc").touch()
    assert main([str(ACME_FILE), str(out)]) == 0
    assert not (out / "subjects" / "far").exists()


def test_a_hand_written_file_in_the_way_is_neither_overwritten_nor_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "acme_bus"
    (out / "subjects").mkdir(parents=True)
    mine = out / "subjects" / "mine.py"
    mine.write_text("x = 1\n")
    assert main([str(ACME_FILE), str(out)]) == 2
    assert "subjects/mine.py" in capsys.readouterr().err
    assert mine.read_text() == "x = 1\n"
    assert not (out / "topology.py").exists()


def test_a_wrong_spec_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(ACME.replace("max_attempts = 3", "max_atempts = 3"))
    assert main([str(wrong), str(tmp_path / "acme_bus")]) == 2
    assert f"{wrong}:" in capsys.readouterr().err
    assert not (tmp_path / "acme_bus").exists()
    assert main([str(tmp_path / "none.toml"), str(tmp_path / "acme_bus")]) == 2


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    script = "import sys; sys.modules['jinja2'] = None; from smith_codegen.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(ACME_FILE), str(tmp_path / "acme_bus")], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "the generator needs jinja2: pip install 'smith-sdk[codegen]'\n"


@pytest.mark.parametrize(
    "rest",
    [
        "",
        '[subjects]\n"tick" = { pattern = "small.tick", message = "bytes" }',
        '[subjects]\n"a.tick" = { pattern = "small.tick", message = "bytes" }',
        '[messages.Note]\nfields = { text = "str" }',
        '[tokens]\nplace = { newtype = "Place" }\n[subjects]\n"at.tick" = { pattern = "small.{place}", message = "bytes" }',
        '[tokens]\nplace = { enum = ["a", "b"] }',
    ],
)
def test_a_small_spec_is_a_spec_too(tmp_path: Path, rest: str) -> None:
    spec_file = tmp_path / "small.toml"
    spec_file.write_text(f'[spec]\nname = "small"\nversion = 1\nroot = "small"\npackage = "small_bus"\n{rest}\n')
    assert main([str(spec_file), str(tmp_path / "small_bus")]) == 0
    script = (
        "import small_bus.protocol, small_bus.subjects as s, small_bus.topology as t\n"
        "for name in s.__all__: getattr(s, name)\n"
        "for name in small_bus.protocol.__all__: getattr(small_bus.protocol, name)\n"
        "print(t.CONTRACT.name)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "small\n"


# ---- what was generated works


def test_payloads(acme: ModuleType) -> None:
    protocol = acme.protocol
    order = protocol.BuyV1Order.new(place="here", params=protocol.BuyV1Params(size=3))
    assert order.at > 10**18
    assert len(order.id) == 36
    assert (order.tags, order.weight, order.kind) == ([], 5, "buy.v1")
    assert protocol.BuyV1Order.new(id="x", at=1, place="p", tags=["t"], weight=1, params=order.params).tags == ["t"]
    assert msgspec.json.decode(msgspec.json.encode(order), type=protocol.Order) == order
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(order).replace(b'"weight":5', b'"weight":1001'), type=protocol.Order)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(order), type=protocol.SellV1Order)
    done = protocol.Done.new(order_id="x", number=5)
    assert (done.outcome, done.steps, done.level) == ("good", [], None)
    assert '"quoted" and with a \\ in it' in protocol.BuyV1Order.__doc__


def test_subjects(acme: ModuleType) -> None:
    protocol, subjects = acme.protocol, acme.subjects
    order = protocol.SellV1Order.new(place="here", params=protocol.SellV1Params())
    # the payload's id is not called order_id, so this token is not read from it
    with pytest.raises(AttributeError):
        _ = order.order_id
    placed = subjects.orders.placed.of(order, order_id=order.id)
    assert str(placed) == f"acme.orders.sell.v1.{order.id}"
    assert placed.message_type is protocol.SellV1Order
    assert str(subjects.tick()) == "acme.tick"
    assert subjects.tick().message_type is bytes
    done = protocol.Done.new(order_id="o1", number=7)
    assert str(subjects.finished.of(done)) == "acme.done.o1"
    assert str(subjects.notes.all.of(done)) == "acme.notes.all.7"
    with pytest.raises(PayloadMismatch):
        subjects.finished.of(order)
    with pytest.raises(InvalidToken, match="any token but all"):
        subjects.notes.level(place="all", level="low")
    with pytest.raises(InvalidToken, match="from 1 to 99"):
        subjects.notes.all(number=100)
    with pytest.raises(InvalidToken):
        subjects.notes.all(number=True)
    with pytest.raises(InvalidToken, match=r"allowed: buy\.v1, sell\.v1"):
        subjects.orders.placed(kind=["buy.v1"], order_id="x")


def test_parse(acme: ModuleType) -> None:
    def name(text: str) -> str:
        found: AnySubject = acme.subjects.parse(text)
        assert str(found) == text
        return found.NAME

    assert name("acme.notes.all.7") == "notes.all"
    assert name("acme.notes.hall.low") == "notes.level"
    assert name("acme.paint.red") == "paint.colour"
    assert name("acme.paint.flat") == "paint.shape"
    assert name("acme.orders.buy.v1.x") == "orders.placed"
    assert name("acme.tick") == "tick"
    for unknown in ("acme", "acme.tick.x", "acme.paint.green", "acme.orders.buy.v1", "", "x", "acme..tick"):
        with pytest.raises(UnknownSubject):
            acme.subjects.parse(unknown)
    for bad in (
        "acme.notes.all.07",
        "acme.notes.all.0",
        "acme.orders.rent.v1.x",
        "acme.orders.*.*.x",
        "acme.done.*",
        "acme.done.",
    ):
        with pytest.raises(InvalidToken):
            acme.subjects.parse(bad)


def test_filters(acme: ModuleType) -> None:
    subjects = acme.subjects
    assert subjects.orders.placed.filter() == acme.topology.CONTRACT.filter("acme.orders.*.*.*")
    assert subjects.orders.placed.filter(kind=subjects.kind.buy_v1, order_id="x") == acme.topology.CONTRACT.filter(
        "acme.orders.buy.v1.x"
    )
    assert subjects.notes.level.filter(level="low") == acme.topology.CONTRACT.filter("acme.notes.*.low")
    with pytest.raises(InvalidToken):
        subjects.orders.placed.filter(order_id="*")
    with pytest.raises(InvalidToken):
        subjects.notes.all.filter(number=0)


def test_topology(acme: ModuleType) -> None:
    contract, consumers = acme.topology.CONTRACT, acme.topology.consumers
    assert contract.dead_letters == "acme.dead"
    assert contract.origin == acme.subjects.finished.ORIGIN == "acme_bus.topology:CONTRACT"
    assert [stream.name for stream in contract.streams] == ["ORDERS", "DONE", "DEAD", "OTHERS"]
    orders = contract.stream("ORDERS")
    assert (orders.retention, orders.max_age, orders.duplicate_window, orders.max_bytes) == ("workqueue", 3600.0, 90.0, None)
    assert consumers.buyer.filters == ("acme.orders.buy.v1.*",)
    assert (consumers.seller_one.name, consumers.seller_one.ack_wait, consumers.seller_one.max_attempts) == (
        "seller-one",
        1.5,
        -1,
    )
    assert contract.consumers == (consumers.buyer, consumers.seller_one)
    assert [stream.max_bytes for stream in contract.profile("dev") if stream.max_bytes] == [10 * 2**20]


# ---- warnings


@pytest.mark.parametrize(
    ("attempts", "publishes", "said"),
    [
        (3, '["finished"]', ""),  # 90 s, remembered for 120 s
        (5, '["finished"]', "up to 150 s later (ack_wait x max_attempts), and DONE forgets message ids after 120 s"),
        (4, '["finished", "orders.placed"]', "what it publishes to orders.placed could be stored twice"),
        (-1, '["finished"]', "may run again at any later time"),
        (-1, '["tick"]', ""),  # core NATS stores nothing
    ],
)
def test_retries_that_outlive_the_memory_of_ids_are_warned_of(
    attempts: int, publishes: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ACME.replace("max_attempts = 3", f"max_attempts = {attempts}\npublishes = {publishes}")
    (tmp_path / "acme.toml").write_text(text)
    assert main([str(tmp_path / "acme.toml"), str(tmp_path / "acme_bus")]) == 0
    err = capsys.readouterr().err
    assert said in err
    assert err.count("warning: ") == bool(said)
    if said:
        line = next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith("publishes"))
        assert f"acme.toml:{line}: consumers.buyer.publishes." in err


KEPT = """
[messages.Kept]
fields = { order = "bytes", reason = "str" }

[streams.KEPT]
subjects = ["acme.kept"]
max_msg_size = "%s"
"""


@pytest.mark.parametrize(
    ("largest", "letters", "kept", "said"),
    [
        ("3MiB", "4MiB", "5MiB", []),
        ("3MiB", "", "5MiB", []),
        ("3MiB", "3MiB", "5MiB", ["consumers.buyer.stream", "DEAD, which is to keep a dead letter of it, takes 3MiB"]),
        ("3MiB", "4MiB", "4MiB", ["consumers.buyer.publishes.0", "KEPT, which is to keep a Kept that holds it in base64"]),
        ("", "4MiB", "5MiB", []),
    ],
)
def test_streams_too_small_for_what_they_are_to_keep_are_warned_of(
    largest: str, letters: str, kept: str, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ACME.replace("max_attempts = 3", 'max_attempts = 3\npublishes = ["keep"]') + KEPT % kept
    text = text.replace('"tick" =', '"keep" = { pattern = "acme.kept", message = "Kept", stream = "KEPT" }\n"tick" =')
    for stream, size in (("ORDERS", largest), ("DEAD", letters)):
        if size:
            text = text.replace(f"[streams.{stream}]", f'[streams.{stream}]\nmax_msg_size = "{size}"')
    (tmp_path / "acme.toml").write_text(text)
    assert main([str(tmp_path / "acme.toml"), str(tmp_path / "acme_bus")]) == 0
    err = capsys.readouterr().err
    assert all(words in err for words in said), err
    assert ("which is to keep" in err) == bool(said)


def test_the_streams_of_smith_hold_what_they_are_to_keep() -> None:
    assert list(too_small(reader.read(SMITH_FILE.read_text()))) == []
