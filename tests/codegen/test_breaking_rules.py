"""The table of rules of `breaking`, and 54 edits that were classified by hand first."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import msgspec
import pytest
from breaking_edits import BREW, EDITS, SHAPE_EDITS, SHAPES, Edit

from smith_codegen import checks, reader
from smith_codegen.breaking import keys, rule, table
from smith_codegen.breaking.change import Change, effect_of, rule_key
from smith_codegen.breaking.compat import compare
from smith_codegen.breaking.rules import RULES
from smith_codegen.cli import main
from smith_codegen.spec import ShardedDecl, Spec
from smith_codegen.topology_spec import Strict


def edited(edits: tuple[tuple[str, str], ...], text: str = BREW) -> str:
    for was, now in edits:
        assert was in text
        text = text.replace(was, now)
    return text


def valid(text: str) -> Spec:
    read = reader.read(text)
    checks.check(read)
    return read


@pytest.mark.parametrize("edit", [*EDITS, *SHAPE_EDITS], ids=lambda edit: edit.name)
def test_an_edit_breaks_what_was_said_by_hand(edit: Edit) -> None:
    base = SHAPES if edit in SHAPE_EDITS else BREW
    found = compare(valid(base), valid(edited(edit.edits, base)))
    assert sorted(f"{one.kind} {one.key} ({one.deploy})" for one in found) == sorted(words for words, _ in edit.finds)
    remedies = {f"{one.kind} {one.key} ({one.deploy})": one.remedy for one in found}
    for words, remedy in edit.finds:
        assert remedy in remedies[words]
    for one in found:
        assert effect_of(one.path, one.kind, one.deploy) is not None, f"the table says nothing of {one}"


# ---- the table


def declarations(kind: type[Strict] = Strict) -> Iterator[type[Strict]]:
    """Every struct that a spec is made of."""
    for one in kind.__subclasses__():
        yield one
        yield from declarations(one)


DECLARATIONS = {one.__name__: one for one in declarations() if one is not ShardedDecl}


def test_every_key_has_a_rule_and_every_rule_a_key() -> None:
    keys = {
        f"{name}.{field.encode_name}"
        for name, kind in DECLARATIONS.items()
        for field in msgspec.structs.fields(kind)
        if field.name != "doc"
    }
    assert sorted(keys - set(RULES)) == [], "say in breaking/payload_rules.py or topology_rules.py what a change of it breaks"
    assert sorted(key for key in set(RULES) - keys if key not in DECLARATIONS) == []


def test_an_effect_says_what_breaks_and_what_to_do() -> None:
    for key, one in RULES.items():
        assert one.effects, key
        for effect in one.effects:
            assert (effect.kind is None) == (effect.deploy is None), key
            assert effect.why if effect.kind or one.how == "nothing" else True, key
            assert effect.advice if effect.kind else True, key
        assert len({effect.when for effect in one.effects}) == len(one.effects), f"{key}: two effects of the same change"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (("streams", "A"), "StreamDecl"),
        (("streams", "A", "consumer_limits", "max_ack_pending"), "ConsumerLimitsDecl.max_ack_pending"),
        (("messages", "A", "fields", "b", "max"), "FieldDecl.max"),
        (("messages", "A", "params", "x.v1", "b"), "FieldDecl"),
        (("messages", "A", "fields", "b", "reads", "old"), "FieldDecl.reads"),
        (("profiles", "dev", "streams", "A", "max_age"), "OverrideDecl.max_age"),
        (("tokens", "a", "aliases", "b"), "TokenDecl.aliases"),
        (("sharding", "a", "reads", "b"), "ReadDecl"),
        (("domains",), "DomainsDecl"),
        (("spec", "root"), "SpecDecl.root"),
    ],
)
def test_a_path_has_the_rule_of_its_key(path: tuple[str, ...], key: str) -> None:
    assert rule_key(path) == key


def test_the_documentation_has_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "breaking.md").read_text()
    _, _, rest = page.partition("<!-- rules: python -m smith_codegen.breaking.table -->\n")
    found, _, _ = rest.partition("<!-- end of rules -->")
    assert found == f"\n{table.markdown()}\n", "write there what `python -m smith_codegen.breaking.table` prints"
    listed = {name for names in table.SECTIONS.values() for name in names}
    parts = {key.split(".")[0] for key, one in RULES.items() if one.how != "part"} - {"BreakingDecl", "IgnoreDecl"}
    assert parts - listed - {"PlacementDecl"} == set(), "give these a section in breaking/table.py"


LIMITS = [(key, one) for key, one in RULES.items() if one.how == "limit"]


@pytest.mark.parametrize(("key", "one"), LIMITS, ids=[key for key, _ in LIMITS])
def test_a_limit_breaks_something_when_it_is_lowered_and_not_when_it_is_raised(key: str, one: rule.Rule) -> None:
    name, field = key.split(".")
    less, more = {"str": ("1s", "2s"), "int": (1, 2), "float": (1.0, 2.0)}[_type_of(DECLARATIONS[name], field)]
    assert [found.kind for found in keys.value((field,), one, more, less)] == [one.effect("lowered").kind]
    assert list(keys.value((field,), one, less, more)) == []
    if one.usual == math.inf:
        assert [found.kind for found in keys.value((field,), one, None, less)] == [one.effect("lowered").kind]
        assert list(keys.value((field,), one, more, None)) == []


def _type_of(kind: type[Strict], field: str) -> str:
    hint = next(one.type for one in msgspec.structs.fields(kind) if one.name == field)
    names = [one.__name__ for one in (get_args(hint) or (hint,)) if one is not type(None)]
    return "int" if "int" in names else names[0]


def test_what_a_profile_overrides_is_compared_with_what_its_stream_has() -> None:
    text = BREW + '[profiles.dev]\nfit = "1GiB"\nages = 0.5\n[profiles.dev.streams.GRADED]\nmax_age = "2d"\nmax_msgs = 20000\n'

    def found(was: str, now: str) -> list[str]:
        return [f"{one.kind} {one.key}" for one in compare(valid(text), valid(text.replace(was, now)))]

    assert found('"1GiB"', '"1MiB"') == ["consumer profiles.dev.fit"]
    assert found("ages = 0.5", "ages = 0.25") == ["consumer profiles.dev.ages"]
    assert found('max_age = "2d"\n', "") == []  # seven days, as the stream says
    assert found('max_age = "2d"\n', 'max_age = "1d"\n') == ["consumer profiles.dev.streams.GRADED.max_age"]
    assert found("max_msgs = 20000\n", "") == ["consumer profiles.dev.streams.GRADED.max_msgs"]


def test_a_signature_covers_what_is_inside_of_a_signed_payload() -> None:
    text = BREW.replace('fields.body = "str"', 'fields.body = "list[Malt]"')
    found = compare(valid(text), valid(text.replace('{ name = "str"', '{ colour = "str?", name = "str"')))
    assert [(one.key, one.deploy) for one in found] == [("messages.Malt.fields.colour", "readers first")]
    found = compare(valid(text), valid(text.replace('{ name = "str"', '{ colour = "str", name = "str"')))
    assert [(one.key, one.deploy) for one in found] == [("messages.Malt.fields.colour", "side by side")]


def test_a_field_is_renamed_only_where_there_is_no_doubt() -> None:
    two = BREW.replace('{ name = "str", share', '{ name = "str", place = "str", share')
    found = compare(valid(two), valid(two.replace("place =", "site =").replace("{ name =", "{ title =")))
    assert {one.key for one in found} == {f"messages.Malt.fields.{name}" for name in ("name", "place", "site", "title")}


# ---- the command


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with old.toml, and new.toml in which one change of each kind was made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.toml").write_text(BREW)
    edits = (("enum:open|shut", "enum:open|shut|lost"), ('"batches" =', '"all" ='), ('"02x"', '"03d"'))
    (tmp_path / "new.toml").write_text(edited(edits))
    return tmp_path


def ignoring(path: Path, *pairs: tuple[str, str]) -> None:
    entries = ", ".join(f"{{ key = {json.dumps(key)}, reason = {json.dumps(reason)} }}" for key, reason in pairs)
    path.write_text(path.read_text().replace("[tokens]", f"[spec.breaking]\nignore = [{entries}]\n[tokens]", 1))


WIRE, CONSUMER, SOURCE = "tokens.shelf.format", "messages.Batch.fields.state", "subjects.batches"


def test_the_least_kind_that_fails_is_chosen(specs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["breaking", "old.toml", "new.toml", "--fail-on", "wire"]) == 1
    ignoring(specs / "new.toml", (WIRE, "no shelf is in use"))
    assert main(["breaking", "old.toml", "new.toml", "--fail-on", "wire"]) == 0
    assert main(["breaking", "old.toml", "new.toml"]) == 1
    text = (specs / "new.toml").read_text()
    (specs / "new.toml").write_text(text.replace("|lost", ""))
    assert main(["breaking", "old.toml", "new.toml"]) == 0
    assert main(["breaking", "old.toml", "new.toml", "--fail-on", "source"]) == 1
    capsys.readouterr()


def test_a_change_that_is_ignored_is_shown_with_its_reason(specs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = ((WIRE, "no shelf is in use"), (CONSUMER, "readers are deployed"), ("messages.Gone", "long ago"))
    ignoring(specs / "new.toml", *every)
    assert main(["breaking", "old.toml", "new.toml"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "source    subjects.batches: is now called all (any order)",
        "          change the code before it is deployed",
        "ignored   tokens.shelf.format: is written 03d instead of 02x (no shelf is in use)",
        "ignored   messages.Batch.fields.state: lost added: older readers do not know it (readers are deployed)",
        "unused    spec.breaking.ignore: messages.Gone is not reported: remove it",
        "0 wire, 0 consumer, 1 source",
        "any order: only code that is checked against the new version fails",
    ]
    assert main(["breaking", "old.toml", "new.toml", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["key"], one["reason"]) for one in found["ignored"]] == list(every[:2])
    assert found["unused"] == ["messages.Gone"]
    assert found["source"] == len(found["changes"]) == 1


def test_a_list_of_ignored_changes_has_no_effect_on_the_hash() -> None:
    text = BREW.replace("[tokens]", '[spec.breaking]\nignore = [{ key = "streams.BREW", reason = "x" }]\n[tokens]', 1)
    assert valid(text).hash == valid(BREW).hash


def test_an_ignored_change_needs_a_reason(specs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ignoring(specs / "new.toml", (WIRE, " "), (WIRE, "really"))
    assert main(["breaking", "old.toml", "new.toml"]) == 2
    said = capsys.readouterr().err
    assert "spec.breaking.ignore.0.reason: is empty" in said
    assert f"spec.breaking.ignore.1.key: {WIRE} is listed twice" in said


def test_github_shows_a_change_at_its_line(specs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ignoring(specs / "new.toml", ("messages.Gone", "long ago"))
    assert main(["breaking", "old.toml", "new.toml", "--format", "github"]) == 1
    found = capsys.readouterr().out.splitlines()
    lines = (specs / "new.toml").read_text().splitlines()
    assert [line.split("::")[1].split(",title")[0] for line in found] == [
        f"error file=new.toml,line={1 + lines.index(next(one for one in lines if one.startswith('shelf')))}",
        f"error file=new.toml,line={1 + lines.index(next(one for one in lines if one.startswith('fields.state')))}",
        f"warning file=new.toml,line={1 + lines.index('[subjects]')}",
        f"notice file=new.toml,line={1 + lines.index('[spec.breaking]')}",
    ]
    assert found[0].endswith(
        "::tokens.shelf.format: is written 03d instead of 02x (side by side): "
        "add the new beside the old, move programs over, then remove the old"
    )


def test_a_line_end_does_not_break_out_of_an_annotation(specs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "new,1:%.toml"
    (specs / name).write_text((specs / "new.toml").read_text())
    ignoring(specs / name, ("x\n::error::y", "long ago"))
    assert main(["breaking", "old.toml", name, "--format", "github"]) == 1
    found = capsys.readouterr().out
    assert "file=new%2C1%3A%25.toml,line=" in found
    assert "\n::error::y" not in found
    assert "x%0A::error::y" in found


def test_junit_has_a_case_for_each_change(specs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ignoring(specs / "new.toml", (CONSUMER, "readers are deployed"))
    assert main(["breaking", "old.toml", "new.toml", "--format", "junit"]) == 1
    suite = ElementTree.fromstring(capsys.readouterr().out)
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")} == {
        WIRE: ["failure"],
        CONSUMER: ["skipped"],
        SOURCE: ["system-out"],
    }
    assert main(["breaking", "old.toml", "old.toml", "--format", "junit"]) == 0
    suite = ElementTree.fromstring(capsys.readouterr().out)
    assert (suite.get("tests"), suite.get("failures"), len(suite)) == ("1", "0", 1)


def test_every_change_has_the_table_s_remedy() -> None:
    found: list[Change] = [one for edit in EDITS for one in compare(valid(BREW), valid(edited(edit.edits)))]
    assert len(found) > 40
    for one in found:
        effects = [
            effect for effect in RULES[rule_key(one.path)].effects if (effect.kind, effect.deploy) == (one.kind, one.deploy)
        ]
        assert one.remedy in [effect.advice for effect in effects]
