"""Drafts of specs from AsyncAPI documents: our own, those of others, and hostile ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from smith_codegen import checks, sources
from smith_codegen.cli import main
from smith_codegen.documents.files import files_of
from smith_codegen.importing.asyncapi import draft
from smith_codegen.importing.document import DocumentError, load
from smith_codegen.importing.toml import text_of
from smith_codegen.spec import Spec

HERE = Path(__file__).parent
SPECS = [
    HERE.parents[1] / "subjects.toml",
    *(HERE / f"{name}.toml" for name in ("acme", "bank", "shop", "brew", "every", "orders", "patterns")),
]

OTHERS = """\
asyncapi: 3.0.0
info: {title: Street Lights, version: 2.1.0, description: Lamps.}
servers: {prod: {host: "example.com", protocol: mqtt}}
defaultContentType: application/json
channels:
  measured:
    address: city/lights/{streetlightId}/event/measured
    messages: {measured: {$ref: "#/components/messages/measured"}}
    parameters: {streetlightId: {description: The lamp.}}
  commands:
    address: city/lights/{zone}/commands
    messages:
      on: {$ref: "#/components/messages/on"}
      off: {$ref: "#/components/messages/off"}
    parameters: {zone: {enum: [north, south]}}
  odd:
    address: city/li ghts/odd
    messages: {}
components:
  messages:
    measured:
      headers: {type: object, properties: {trace: {type: string}}}
      payload: {$ref: "#/components/schemas/measuredPayload"}
    on: {payload: {type: object, properties: {kind: {const: on}, level: {type: integer, minimum: 0, maximum: 100}}, required: [kind]}}
    off: {payload: {type: object, properties: {kind: {const: off}}, required: [kind]}}
  schemas:
    measuredPayload:
      type: object
      additionalProperties: false
      required: [lumens, sentAt, from]
      properties:
        lumens: {type: number, exclusiveMinimum: 0, description: Light.}
        sentAt: {$ref: "#/components/schemas/sentAt"}
        from: {type: string, pattern: "^[a-z]+$", maxLength: 9}
        tags: {type: array, items: {type: string}}
        place: {type: object, properties: {street: {type: [string, "null"]}}}
        state: {$ref: "#/components/schemas/State"}
        next: {$ref: "#/components/schemas/measuredPayload"}
        other: {$ref: "https://example.com/schema.json"}
        either: {oneOf: [{type: string}, {type: integer}]}
        all: {allOf: [{$ref: "#/components/schemas/Base"}, {type: object, properties: {b: {type: integer}}, required: [b]}]}
    sentAt: {type: string, format: date-time}
    State: {type: string, enum: [on, "off|dim"]}
    Base: {type: object, properties: {a: {type: string, format: uuid}}, required: [a]}
"""


def drafted(tmp_path: Path, text: str, name: str = "asyncapi.yaml") -> tuple[Spec, tuple[str, ...]]:
    path = tmp_path / name
    path.write_text(text)
    found = draft(load(path), package="drafted_bus")
    spec = sources.parse(text_of(found.sections), "subjects.toml")
    checks.check(spec)
    return spec, found.notes


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_our_own_document_gives_the_spec_back(path: Path) -> None:
    spec = sources.load(path)
    found = draft(json.loads(files_of(spec)["asyncapi.json"]))
    again = sources.parse(text_of(found.sections), "subjects.toml")
    assert again.canonical == spec.canonical
    assert [note for note in found.notes if "[streams]" not in note] == []


def test_a_document_of_others_becomes_a_spec_and_what_is_lost_is_listed(tmp_path: Path) -> None:
    spec, notes = drafted(tmp_path, OTHERS)
    assert spec.spec.root == "city"
    assert {name: decl.pattern for name, decl in spec.subjects.items()} == {
        "measured": "city.lights.{streetlight_id}.event.measured",
        "commands": "city.lights.{zone}.commands",
    }
    assert spec.tokens["zone"].enum == ("north", "south")
    assert spec.tokens["streetlight_id"].doc == "The lamp."
    measured = spec.messages[spec.subjects["measured"].message]
    assert measured.forbid_unknown
    assert measured.rename == "camel"
    assert {name: decl.type for name, decl in measured.fields.items()} == {
        "lumens": "float",
        "sent_at": "datetime",
        "from": "str",
        "tags": "list[str]?",
        "place": "MeasuredPayloadPlace?",
        "state": "State?",
        "next": "MeasuredPayload?",
        "other": "any?",
        "either": "any?",
        "all": "MeasuredPayloadAll?",
    }
    assert measured.fields["from"].max_length == 9
    assert set(spec.messages["MeasuredPayloadAll"].fields) == {"a", "b"}
    assert spec.enums["State"].values == ("on", "off|dim")
    headers = spec.messages[str(spec.subjects["measured"].headers)]
    assert {decl.name or name: decl.type for name, decl in headers.fields.items()} == {"trace": "str?"}
    said = "\n".join(notes)
    for lost in (
        "servers: ",
        "channels/odd: 'li ghts'",
        "lumens: exclusiveMinimum",
        "https://example.com/schema.json is not fetched",
        "either: no tag tells the alternatives apart",
        "channels/commands: one of On, Off: declare [unions.X]",
        "slashes",
        "[streams]",
    ):
        assert lost in said, lost


def test_version_2_has_its_messages_in_publish_and_subscribe(tmp_path: Path) -> None:
    document = {
        "asyncapi": "2.6.0",
        "info": {"title": "Users", "version": "1.0.0"},
        "channels": {
            "users.{userId}.signedUp": {
                "parameters": {"userId": {"schema": {"type": "string"}}},
                "subscribe": {
                    "message": {
                        "name": "UserSignedUp",
                        "payload": {"type": "object", "properties": {"email": {"type": "string"}}},
                    }
                },
            },
            "users.kinds": {
                "publish": {"message": {"name": "Kinds", "payload": {"$ref": "#/components/schemas/Kinds"}}},
            },
        },
        "components": {
            "schemas": {
                "Kinds": {
                    "oneOf": [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}],
                    "discriminator": "petType",
                },
                "Cat": {
                    "type": "object",
                    "properties": {"petType": {"const": "cat"}, "lives": {"type": "integer", "default": 9}},
                },
                "Dog": {"type": "object", "properties": {"petType": {"const": "dog"}}},
            }
        },
    }
    spec, _ = drafted(tmp_path, json.dumps(document), "asyncapi.json")
    assert spec.subjects["kinds_subject"].message == "Kinds"
    assert spec.subjects["signed_up"].pattern == "users.{user_id}.signedUp"
    assert spec.messages["UserSignedUp"].fields["email"].type == "str?"
    assert spec.unions["Kinds"].tag == "petType"
    assert spec.unions["Kinds"].tags == {"cat": "Cat", "dog": "Dog"}
    assert spec.messages["Cat"].fields["lives"].default == 9


def schema(payload: Any, **more: Any) -> str:
    channel = {"address": "a.b", "messages": {"m": {"payload": payload}}}
    return json.dumps({"asyncapi": "3.0.0", "info": {"title": "x", "version": "1"}, "channels": {"c": channel}, **more})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not an object"),
        ("[1]", "is not an object but list"),
        ("{", "cannot be read"),
        ("a: [", "is not valid YAML"),
        ("a: &a [1]\nb: *a", "line 2: YAML aliases are not read"),
        ("a: !!python/object/apply:os.system [id]", "is not valid YAML"),
        ("1: x", "has the key 1"),
        ("asyncapi: 1.2.0", "asyncapi is '1.2.0': write 2.x or 3.0"),
        ("info: {}", "has no version"),
        ("[" * 200 + "]" * 200, "levels"),
        ("[" * 3000, "cannot be read|levels"),
        (schema({"$ref": "#/components/schemas/No"}), "#/components/schemas/No leads nowhere"),
        (
            schema({"$ref": "#/components/a"}, components={"a": {"$ref": "#/components/b"}, "b": {"$ref": "#/components/a"}}),
            "form a circle",
        ),
    ],
)
def test_a_hostile_document_is_a_clear_error(tmp_path: Path, text: str, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "document.yaml"
    path.write_text(text)
    assert main(["import", "asyncapi", str(path)]) == 2
    said = capsys.readouterr().err
    assert any(one in said for one in problem.split("|")), said
    assert len(said) < 1000


@pytest.mark.parametrize(
    "payload",
    [
        True,
        [],
        "text",
        {"type": "strange"},
        {
            "type": "object",
            "properties": {"a": None, "b": 7, "class": {"type": "null"}, "": {}, "ü": {"enum": [1, 2]}, "🙂": {"enum": []}},
        },
        {"allOf": [{"allOf": 3}, 7]},
        {"oneOf": [{"properties": 3}]},
        {"type": "array"},
        {"type": ["string", "integer"]},
        {"properties": {"a": {"const": None}, "a_": {"default": {"x": 1}}, "A": {"type": "string", "pattern": 3}}},
        {"title": '"]\n[spec]', "type": "object", "description": 'x"""\n\x00\x7f'},
    ],
)
def test_odd_schemas_never_crash_the_import(tmp_path: Path, payload: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "document.json"
    path.write_text(schema(payload))
    assert main(["import", "asyncapi", str(path), "--out", str(tmp_path / "subjects.toml")]) in (0, 1, 2)
    said = capsys.readouterr().err
    assert "Traceback" not in said


def test_a_self_containing_schema_is_a_message_that_contains_itself(tmp_path: Path) -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    spec, _ = drafted(tmp_path, schema({"$ref": "#/components/schemas/Node"}, components={"schemas": {"Node": node}}), "a.json")
    assert spec.messages["Node"].fields["next"].type == "Node?"


def test_the_command_writes_a_draft_and_names_what_must_be_completed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document, out = tmp_path / "asyncapi.yaml", tmp_path / "subjects.toml"
    document.write_text(OTHERS)
    assert main(["import", "asyncapi", str(document), "--out", str(out), "--package", "lights"]) == 0
    assert "not said: servers" in capsys.readouterr().err
    assert sources.load(out).spec.package == "lights"
    assert main(["import", "asyncapi", str(document), "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err
    document.write_text(OTHERS.replace("{zone}/commands", "{zone}/event/measured"))  # two patterns that one subject matches
    assert main(["import", "asyncapi", str(document)]) == 1
    assert "complete: subjects.toml:" in capsys.readouterr().err


def test_a_document_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smith_codegen.importing.document._LARGEST", 10)
    path = tmp_path / "a.json"
    path.write_text(schema({}))
    with pytest.raises(DocumentError, match="larger than 10 bytes"):
        load(path)
