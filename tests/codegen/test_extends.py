# ruff: noqa: E501 - one case on one line
"""A spec that extends Smith's: it uses what is there, emits only its own, and may not change a
thing for Smith's own users."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from generated import folder_of, generated

import smith_sdk.protocol
from smith_codegen import sources
from smith_codegen.cli import main
from smith_codegen.compile import compile_spec
from smith_codegen.errors import SpecErrors
from smith_sdk import subjects as smith_subjects
from smith_sdk.aio.answers import has_intents
from smith_sdk.errors import InvalidToken, SubjectMismatch
from smith_sdk.protocol import Domain, FsReadV1Intent, FsReadV1Params, IntentId
from smith_sdk.topology import CONTRACT as SMITH

BREW_FILE = Path(__file__).with_name("brew.toml")
BREW = BREW_FILE.read_text()


@pytest.fixture(scope="module")
def brew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    with generated(BREW_FILE, "brew_bus", tmp_path_factory.mktemp("brew")) as package:
        yield package


def test_only_its_own_is_emitted(brew: ModuleType) -> None:
    assert brew.protocol.__all__ == ["Batch", "Brewed", "Kettle", "Stage"]
    assert brew.subjects.__all__ == ["RestartsMsg", "batches", "parse", "restarts"]
    assert [name for name in vars(brew.topology.consumers) if not name.startswith("_")] == ["cellar", "asked", "results"]
    assert sorted(brew.topology.CONTRACT.spec["subjects"]) == ["batches.asked", "batches.brewed", "batches.notes", "restarts"]


def test_what_it_uses_is_smiths_own(brew: ModuleType) -> None:
    assert brew.subjects.batches.notes(stage="mash", kettle=3).message_type is smith_sdk.protocol.LogEntry
    intent = FsReadV1Intent.new(domain="d", params=FsReadV1Params(path="/"))
    asked = brew.subjects.batches.asked.of(intent, kettle=10)
    assert (str(asked), asked.message_type) == ("brew.asked.fs.read.v1.0a", FsReadV1Intent)


def test_its_contract_contains_smiths(brew: ModuleType) -> None:
    contract = brew.topology.CONTRACT
    result = smith_subjects.results(intent_id=IntentId("abc"))
    assert contract.parse("smith.results.abc") == brew.subjects.parse("smith.results.abc") == result
    assert contract.parse("brew.batches.d.7") == brew.subjects.batches.brewed(domain=Domain("d"), batch="7")
    assert [stream.name for stream in contract.streams] == [*(stream.name for stream in SMITH.streams), "BREW"]
    assert contract.consumers[: len(SMITH.consumers)] == SMITH.consumers
    assert [profile.name for profile in contract.profiles] == ["dev", "prod", "test"]
    assert contract.dead_letters == SMITH.dead_letters
    contract.require(result)
    contract.require(brew.subjects.restarts(kettle=1))
    with pytest.raises(SubjectMismatch):
        SMITH.require(brew.subjects.restarts(kettle=1))


def test_workers_answer_for_smiths_intents_on_its_own_subjects(brew: ModuleType, tmp_path: Path) -> None:
    contract = brew.topology.CONTRACT
    found = {spec.name: has_intents(contract, spec) for spec in contract.consumers}
    assert {name for name, answered in found.items() if answered} == {
        "asked",
        "admission",
        *(spec.name for spec in SMITH.consumers if spec.name.startswith(("executor-", "episode-"))),
    }
    with generated(BREW_FILE.with_name("acme.toml"), "acme_bus", tmp_path) as acme:
        assert not any(has_intents(acme.topology.CONTRACT, spec) for spec in acme.topology.CONTRACT.consumers)
        assert not any(has_intents(acme.topology.CONTRACT, spec) for spec in SMITH.consumers)


def test_an_int_token_is_written_in_its_format(brew: ModuleType) -> None:
    notes = brew.subjects.batches.notes
    assert str(notes(stage="boil", kettle=10)) == "brew.notes.boil.0a"
    assert str(notes.filter(kettle=10)) == "brew.notes.*.0a"
    assert brew.subjects.parse("brew.notes.boil.0a") == notes(stage="boil", kettle=10)
    for text in ("a", "0A", "00a", "10a", "20", "xy", "-1", "0x", "1_", ""):
        with pytest.raises(InvalidToken, match="kettle"):
            brew.subjects.parse(f"brew.notes.boil.{text}")


def test_a_package_that_extends_both_inherits_each_once(brew: ModuleType, tmp_path: Path) -> None:
    text = """
    [spec]
    name = "pub"
    version = 1
    root = "pub"
    package = "pub_bus"
    extends = ["brew_bus", "smith_sdk"]
    [subjects]
    "poured" = { pattern = "pub.poured.{batch}.{domain}", message = "Brewed" }
    """
    (tmp_path / "pub.toml").write_text(text)
    assert main([str(tmp_path / "pub.toml"), str(tmp_path / "pub_bus")]) == 0
    script = """
import json, sys
import pub_bus.topology, pub_bus.subjects
contract = pub_bus.topology.CONTRACT
streams = [stream.name for stream in contract.streams]
parsed = [str(contract.parse(text)) for text in ("pub.poured.b.d", "brew.notes.mash.01", "smith.results.x")]
json.dump([streams, sorted(contract.inherits), parsed, len(contract.consumers)], sys.stdout)
"""
    paths = [str(tmp_path), str(folder_of(brew).parent), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(paths), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    streams, inherits, parsed, consumers = json.loads(done.stdout)
    assert sorted(streams) == sorted(stream.name for stream in brew.topology.CONTRACT.streams)
    assert inherits == ["brew_bus.topology:CONTRACT", "smith_sdk.topology:CONTRACT"]
    assert parsed == ["pub.poured.b.d", "brew.notes.mash.01", "smith.results.x"]
    assert consumers == len(brew.topology.CONTRACT.consumers)


def test_a_package_is_found_without_being_imported() -> None:
    script = "import sys; from smith_codegen import sources; sources.load_package('smith_sdk'); print('smith_sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True).stdout == "False\n"


def test_the_spec_of_the_package_is_the_one_in_its_file() -> None:
    spec = sources.load_package("smith_sdk")
    assert (spec.hash, spec.spec.package, spec.inherited) == (SMITH.spec_hash, "smith_sdk", ())


NOTES = '"batches.notes" = { pattern = "brew.notes.{stage}.{kettle}", message = "LogEntry" }'
CELLAR = "[consumers.cellar]"
CASES = {
    "no such package": ('extends = ["smith_sdk"]', 'extends = ["nothing_here"] # !', "spec.extends.0", "not installed"),
    "no contract in it": ('extends = ["smith_sdk"]', 'extends = ["pytest"] # !', "spec.extends.0", "holds no spec.json"),
    "a module": ('extends = ["smith_sdk"]', 'extends = ["this"] # !', "spec.extends.0", "is a module"),
    "no module inside": ('extends = ["smith_sdk"]', 'extends = ["smith_sdk.nothing"] # !', "spec.extends.0", "not installed"),
    "itself": ('extends = ["smith_sdk"]', 'extends = ["brew_bus"] # !', "spec.extends.0", "brew_bus is listed already"),
    "twice": ('["smith_sdk"]', '["smith_sdk", "smith_sdk"] # !', "spec.extends.1", "smith_sdk is listed already"),
    "a token of Smith's": ("[tokens]", '[tokens]\nlevel = { enum = ["a"] } # !', "tokens.level", "smith_sdk declares it already"),
    "a subject of Smith's": (NOTES, NOTES.replace('"batches.notes"', "results") + " # !", "subjects.results", "declares it already"),
    "a type of Smith's": ("[tokens]", '[tokens]\nidx = { newtype = "IntentId" } # !', "tokens.idx", "second type called IntentId"),
    "outside of every root": (NOTES, NOTES.replace("brew.notes", "ale.notes") + " # !", 'subjects."batches.notes".pattern', "brew or smith"),
    "a subject that Smith's pattern matches": (
        NOTES,
        NOTES.replace("brew.notes.{stage}.{kettle}", "smith.logs.{stage}.{level}") + " # !",
        'subjects."batches.notes".pattern',
        "a message on smith.logs.mash.trace could be this subject or logs.service",
    ),
    "a subject that Smith's filter receives": (
        NOTES,
        NOTES.replace("brew.notes.{stage}", "smith.intents.raw.{stage}.x").replace('" }', '", stream = "SDLC_RAW" }') + " # !",
        'subjects."batches.notes".pattern',
        "smith.intents.raw.*.*.*, the filter of intents.raw, would receive it",
    ),
    "a subject that Smith's consumer receives": (
        NOTES,
        NOTES.replace("brew.notes", "smith.audit.brew").replace('" }', '", stream = "AUDIT_SECURITY" }') + " # !",
        'subjects."batches.notes".pattern',
        "consumer audit-collector of smith_sdk would receive it",
    ),
    "a stream that captures Smith's subjects": (
        'subjects = ["brew.batches.>", "brew.asked.>"]',
        'subjects = ["brew.batches.>", "brew.asked.>", "smith.gitlab.>"] # !',
        "streams.BREW.subjects",
        "captures gitlab.event_mr of smith_sdk",
    ),
    "a stream that overlaps with Smith's": (
        'subjects = ["brew.batches.>", "brew.asked.>"]',
        'subjects = ["brew.batches.>", "brew.asked.>", "smith.results.*.x", "smith.audit.>"] # !',
        "streams.BREW.subjects",
        "smith.audit.> is also captured by AUDIT_SECURITY",
    ),
    "work that Smith's consumer takes": (
        CELLAR,
        '[consumers.other] # !\nstream = "SDLC_RAW"\nack_wait = "1s"\nmax_attempts = 1\nmax_ack_pending = 1\nprefetch = 1\n\n' + CELLAR,
        "consumers.other",
        "its filter overlaps that of admission on SDLC_RAW",
    ),
    "format of a str": ('{ newtype = "Batch" }', '{ newtype = "Batch", format = "02x" } # !', "tokens.batch.format", "is not an int format"),
    "no format": ('format = "02x"', 'format = "2x}"', "tokens.kettle.format", "is not an int format"),
    "publishes to nothing": (CELLAR, CELLAR + '\npublishes = ["reslts"] # !', "consumers.cellar.publishes.0", "did you mean results?"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refused_at_its_own_key_and_line(case: str) -> None:
    old, new, key, words = CASES[case]
    assert BREW.count(old) == 1
    text = BREW.replace(old, new)
    with pytest.raises(SpecErrors) as caught:
        compile_spec(text, "brew.toml")
    found = next((error for error in caught.value.errors if error.key == key and words in str(error)), None)
    assert found is not None, f"not there: {key}: {words}\n{caught.value}"
    assert all(error.own for error in caught.value.errors), str(caught.value)
    marked = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# !")]
    assert not marked or found.line in marked, str(found)
