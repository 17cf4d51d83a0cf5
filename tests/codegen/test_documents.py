"""The documents of a spec: they are right, complete, safe to open, and the same every time."""

from __future__ import annotations

import base64
import copy
import hashlib
import importlib
import json
import os
import random
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from generated import generated

import smith_sdk.protocol
from smith_codegen import checks, fieldtypes, resolve, sources, spec
from smith_codegen.cli import main
from smith_codegen.documents import files, usage
from smith_codegen.documents.layers import layout
from smith_codegen.documents.message_schemas import MessageSchemas
from smith_codegen.documents.samples import Samples, matching
from smith_codegen.documents.validity import problems
from smith_codegen.importing.asyncapi import draft
from smith_codegen.message_spec import EnumDecl, FieldDecl, MessageDecl, UnionDecl
from smith_codegen.model import Enum
from smith_codegen.subject_spec import ErrorDecl, SubjectDecl, TokenDecl
from smith_sdk._core import codec
from smith_sdk.errors import PayloadDecodeError

HERE = Path(__file__).parent
SMITH = HERE.parents[1] / "subjects.toml"
EVERY = HERE / "every.toml"
SPECS = [
    SMITH,
    *(path for path in sorted(HERE.glob("*.toml")) if path.stem != "reference"),  # which is not valid, on purpose
    *sorted((HERE / "ports").glob("*.toml")),
]
PARSER = os.environ.get("ASYNCAPI_NODE_MODULES", "")
"""The node_modules directory that @asyncapi/parser is installed in."""
HOSTILE = "</script><img src=x onerror=alert(1)>\"'`<!--{{ 7 * 7 }}"


@cache
def documents(path: Path) -> dict[str, str]:
    found = sources.load(path)
    checks.check(found)
    return files.files_of(found)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with generated(EVERY, "every_bus", tmp_path_factory.mktemp("every")):
        yield importlib.import_module("every_bus.protocol")


# ---- schemas of payloads


def refusal(cls: Any, value: Any) -> str:
    """Why `value` cannot be decoded; "" if it can."""
    try:
        codec.decode(cls, json.dumps(value).encode(), "some.subject")
    except PayloadDecodeError as error:
        return str(error)
    return ""


def mutants(example: Any, count: int, chance: random.Random) -> Iterator[Any]:
    """Copies of a payload in which one place is changed."""
    for _ in range(count):
        made = copy.deepcopy(example)
        at: Any = made
        while at:
            key = chance.choice(list(at) if isinstance(at, dict) else range(len(at)))
            if not isinstance(at[key], dict | list) or not at[key] or chance.random() < 0.3:
                change = chance.randrange(4)
                if change == 0:
                    del at[key]
                elif change == 1 and isinstance(at, dict):
                    at["unknown"] = 1
                else:
                    values = [
                        None,
                        True,
                        0,
                        -1,
                        11,
                        1.5,
                        "",
                        "word",
                        "a.b",
                        "new",
                        "RED",
                        "red",
                        "done",
                        "YQ==",
                        "Y",
                        [],
                        {},
                        [1],
                        {"a": 1},
                    ]
                    at[key] = chance.choice(values)
                break
            at = at[key]
        yield made


def compare(path: Path, protocol: Any, count: int) -> set[bool]:
    verdicts = set()
    chance = random.Random(7)
    model = resolve.build(sources.load(path))
    schemas = MessageSchemas(model)
    examples = Samples(model, {})
    for name, decl in schemas.declared.items():
        if decl.home or isinstance(decl, Enum):
            continue
        validator = jsonschema.Draft202012Validator(schemas.whole(name))
        defs = {other: schemas.of(other) for other in schemas.declared}
        (example,) = examples.of(name)
        for value in (example, *mutants(example, count, chance)):
            refused = refusal(getattr(protocol, name), value)
            decoded = refused == ""
            verdicts.add(decoded)
            assert validator.is_valid(value) is decoded, (refused, value)
            assert (not any(problems(schemas.of(name), value, defs))) is decoded, (name, value)
    return verdicts


@pytest.mark.filterwarnings("ignore:.*Circle is deprecated")
def test_a_schema_accepts_what_the_decoder_accepts(everything: Any) -> None:
    assert compare(EVERY, everything, 250) == {True, False}


def test_the_schemas_of_smiths_payloads_accept_what_the_decoders_accept() -> None:
    assert compare(SMITH, smith_sdk.protocol, 15) == {True, False}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_schema_is_valid_and_stands_alone(path: Path) -> None:
    model = resolve.build(sources.load(path))
    examples = Samples(model, {})
    found = {name: json.loads(text) for name, text in documents(path).items() if name.startswith("schemas/")}
    assert found
    for name, schema in found.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        for reference in re.findall(r'"\$ref": "([^"]*)"', json.dumps(schema)):
            assert reference.startswith("#/$defs/")
            assert reference.removeprefix("#/$defs/") in schema["$defs"]
        made = list(examples.of(name.removeprefix("schemas/").removesuffix(".json")))
        assert made, name
        for example in made:
            jsonschema.validate(example, schema)


def test_every_kind_of_type_has_a_schema_and_an_example() -> None:
    model = resolve.build(sources.load(EVERY))
    order = next(message for message in model.messages if message.name == "Order")
    used: set[str] = set()
    waiting = [fieldtypes.parse(field.decl.type) for field in order.fields]
    while waiting:
        kind = waiting.pop()
        used.add(kind.kind)
        waiting += [kind.item] if kind.item else []
    assert used == {*fieldtypes.SCALARS, "list", "map", "enum", "ref"}, "add a field of the new kind to every.toml"


def test_declared_examples_are_shown_and_must_be_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "subjects.toml"
    plain = EVERY.read_text()
    declared = 'examples = [{ kind = "Circle", radius = 1.5 }]'
    path.write_text(plain.replace(declared, "examples = [{ kind = 'Circle', radius = 2.75 }]"))
    assert sources.load(path).hash == sources.load(EVERY).hash
    found = documents(path)
    assert json.loads(found["asyncapi.json"])["components"]["messages"]["Circle"]["examples"] == [
        {"payload": {"kind": "Circle", "radius": 2.75}}
    ]
    assert "2.75" in Page(found["index.html"]).text
    path.write_text(plain.replace(declared, "examples = [{ kind = 'Circle', radius = 'big' }, {}]"))
    assert main(["docs", str(path), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "messages.Circle.examples.0: radius is not of type number" in said
    assert "messages.Circle.examples.1: it has no" in said


def test_an_imported_class_says_that_it_has_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "subjects.toml"
    head = EVERY.read_text().partition("[tokens]")[0]
    path.write_text(
        f"""{head}
        [messages.Own]
        import = "some.module:Own"
        [messages.Around]
        fields = {{ own = "Own" }}
        [subjects]
        "owns" = {{ pattern = "every.own", message = "Own" }}
        "arounds" = {{ pattern = "every.around", message = "Around" }}
        """
    )
    found = documents(path)
    assert json.loads(found["schemas/Own.json"])["x-smith"] == {"import": "some.module:Own"}
    assert "some.module:Own" in Page(found["index.html"]).text
    draft_of = draft(json.loads(found["asyncapi.json"]))
    assert draft_of.sections["messages"]["Own"] == {"import": "some.module:Own"}


def test_every_key_of_a_payload_or_subject_is_in_a_spec_that_is_tried_here() -> None:
    found: set[tuple[type, str]] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            value = tuple(value.values())
        if isinstance(value, tuple):
            for inner in value:
                walk(inner)
        elif isinstance(value, msgspec.Struct):
            for field in msgspec.structs.fields(value):
                inner = getattr(value, field.name)
                if inner != (field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()):
                    found.add((type(value), field.name))
                    walk(inner)

    for path in SPECS:
        text = sources.load(path)
        for section in ("tokens", "enums", "messages", "subjects", "unions"):
            walk(getattr(text, section))
    kinds = (FieldDecl, MessageDecl, EnumDecl, UnionDecl, TokenDecl, SubjectDecl, ErrorDecl)
    written_out = {(FieldDecl, "fields"), (MessageDecl, "mixins"), (MessageDecl, "import_")}  # the last has a test of its own
    every = {(kind, field.name) for kind in kinds for field in msgspec.structs.fields(kind)} - written_out
    missing = sorted(f"{kind.__name__}.{name}" for kind, name in every - found)
    assert not missing, f"add {', '.join(missing)} to every.toml, and to the documents"


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[A-Z]{2}[0-9]+$",
        "^(a|b)c?$",
        "^[^a-z ]{3}-x*$",
        "^v[0-9]+([.][0-9]+){2}$",
        "^.{4,}$",
        "^(?:[A-F0-9]{2}:){5}[A-F0-9]{2}$",
    ],
)
def test_an_example_matches_its_pattern(pattern: str) -> None:
    assert re.fullmatch(pattern, matching(pattern))
    assert re.fullmatch(pattern, matching(pattern, 3))


# ---- AsyncAPI


def test_the_document_has_every_section_of_a_spec() -> None:
    elsewhere = {"spec", "enums", "messages", "subjects", "unions"}  # info, components, channels
    assert {*usage.SECTIONS} | elsewhere == {*spec.SECTIONS}, "a new section: show it in asyncapi.py and catalogue.py"


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_reference_in_the_document_leads_somewhere(path: Path) -> None:
    document = json.loads(documents(path)["asyncapi.json"])
    for reference in re.findall(r'"\$ref": "#/([^"]*)"', json.dumps(document)):
        at = document
        for part in reference.split("/"):
            at = at[part]
    for channel in document["channels"].values():
        if channel["address"] is not None:
            assert set(re.findall(r"\{(\w+)\}", channel["address"])) == set(channel.get("parameters", ()))


def test_a_request_has_its_reply_and_errors() -> None:
    document = json.loads(documents(EVERY)["asyncapi.json"])
    reply = document["operations"]["send.ask"]["reply"]
    assert reply["messages"] == [{"$ref": "#/channels/ask.reply/messages/Order"}]
    assert reply["x-smith"] == {"errors": {"NOT_FOUND": {"code": "NOT_FOUND", "doc": "No such order."}}}
    assert document["channels"]["ask.reply"]["address"] is None


@pytest.mark.skipif(not PARSER, reason="ASYNCAPI_NODE_MODULES does not name the node_modules with @asyncapi/parser")
def test_the_official_parser_finds_nothing(tmp_path: Path) -> None:
    script = f"""
        const {{ createRequire }} = require("node:module");
        const {{ Parser }} = createRequire({json.dumps(str(Path(PARSER).resolve()) + "/")})("@asyncapi/parser");
        const {{ readFileSync }} = require("node:fs");
        (async () => {{
          for (const file of process.argv.slice(1)) {{
            const {{ document, diagnostics }} = await new Parser().parse(readFileSync(file, "utf8"));
            for (const found of diagnostics) if (found.severity < 2) console.log(file, found.path.join("/"), found.message);
            if (!document) console.log(file, "is not valid");
          }}
        }})();
    """
    named = []
    for path in SPECS:
        named.append(tmp_path / f"{path.parent.name}-{path.stem}.json")
        named[-1].write_text(documents(path)["asyncapi.json"])
    done = subprocess.run(["node", "-e", script, *map(str, named)], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == ""


# ---- the catalogue


class Page(HTMLParser):
    """What is on a page: elements, attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in self.inside and self.cdata_elem:
            self.inside[self.tags[-1]][-1] += data
        else:
            self.text += data

    def named(self, attribute: str) -> list[str]:
        return [value or "" for name, value in self.attributes if name == attribute]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_link_of_the_catalogue_leads_to_a_place_on_it(path: Path) -> None:
    page = Page(documents(path)["index.html"])
    ids = page.named("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in page.named("href")} <= set(ids)
    entries = json.loads(page.inside["script"][0])
    assert {entry[3] for entry in entries} <= set(ids)


def test_the_catalogue_loads_nothing_and_its_policy_names_its_own_script_and_style() -> None:
    page = Page(documents(SMITH)["index.html"])
    assert not {"src", "srcset", "style", "action"} & {name for name, _ in page.attributes}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "link" not in page.tags
    assert "url(" not in page.inside["style"][0]
    policy = next(value for value in page.named("content") if value.startswith("default-src 'none'"))
    for text, key in ((page.inside["style"][0], "style-src"), (page.inside["script"][1], "script-src")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{key} 'sha256-{digest}'" in policy


def test_nothing_in_a_doc_text_becomes_markup(tmp_path: Path) -> None:
    quoted = json.dumps(HOSTILE)
    hostile = re.sub(r'doc = "[^"]*"', lambda _: f"doc = {quoted}", SMITH.read_text())
    hostile = hostile.replace('default = ""', f"default = {quoted}").replace("[spec]", f"[spec]\ndoc = {quoted}")
    path = tmp_path / "subjects.toml"
    path.write_text(hostile)
    plain, made = Page(documents(SMITH)["index.html"]), Page(documents(path)["index.html"])
    assert "img" not in made.tags
    assert not [name for name, _ in made.attributes if name.startswith("on")]
    assert "{{ 7 * 7 }}" in made.text
    assert made.tags.count("script") == plain.tags.count("script")
    assert made.inside["script"][1] == plain.inside["script"][1]
    assert [entry[1] for entry in json.loads(made.inside["script"][0])] == [
        entry[1] for entry in json.loads(plain.inside["script"][0])
    ]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_catalogue_shows_what_is_declared(path: Path) -> None:
    text = " ".join(Page(documents(path)["index.html"]).text.split())
    found = sources.load(path)
    for section in spec.SECTIONS[1:]:
        for name in usage.declared(found, section):
            decl = getattr(found, section)[name]
            assert name in text
            assert " ".join(decl.doc.replace("`", "").split()) in text


# ---- the flow picture


def test_boxes_do_not_overlap_and_edges_lead_to_the_right() -> None:
    chance = random.Random(3)
    for size in (1, 2, 5, 12, 30):
        names = [str(index) for index in range(size)]
        sizes = {name: (chance.uniform(40, 200), chance.uniform(20, 120)) for name in names}
        edges = [(a, b) for a in names for b in names if a != b and chance.random() < 2 / size]
        found = layout(sizes, edges)
        boxes = list(found.boxes.values())
        for index, one in enumerate(boxes):
            assert 0 <= one.x <= one.x + one.width <= found.width + 0.01
            assert -0.01 <= one.y <= one.y + one.height <= found.height + 0.01
            for other in boxes[:index]:
                apart_x = one.x + one.width <= other.x or other.x + other.width <= one.x
                apart_y = one.y + one.height <= other.y + 0.01 or other.y + other.height <= one.y + 0.01
                assert apart_x or apart_y
        assert set(found.paths) == set(edges)
        for (a, b), points in found.paths.items():
            ends = (
                (found.boxes[a].x + found.boxes[a].width, found.boxes[b].x),
                (found.boxes[a].x, found.boxes[b].x + found.boxes[b].width),
            )
            assert any(abs(points[0][0] - left) < 0.01 and abs(points[-1][0] - right) < 0.01 for left, right in ends)


def test_the_layout_puts_a_box_one_column_after_what_leads_to_it() -> None:
    found = layout(dict.fromkeys("abcd", (10.0, 10.0)), [("a", "b"), ("b", "c"), ("a", "c"), ("d", "c"), ("c", "b")])
    left = {name: box.x for name, box in found.boxes.items()}
    assert left["a"] < left["b"] < left["c"]
    assert left["d"] == left["b"]


# ---- the command


def test_the_command_writes_compares_and_removes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bus"
    command = ["docs", str(HERE / "shop.toml"), str(out)]
    assert main([*command, "--check"]) == 1
    assert main(command) == 0
    assert main([*command, "--check"]) == 0
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == set(documents(HERE / "shop.toml"))
    old = out / "schemas" / "Old.json"
    old.write_text((out / "schemas" / "Order.json").read_text())
    (out / "notes.txt").write_text("mine")
    capsys.readouterr()
    assert main([*command, "--check"]) == 1
    assert capsys.readouterr().out == f"extra: {old}\n"
    assert main(command) == 0
    assert not old.exists()
    assert (out / "notes.txt").read_text() == "mine"
    (out / "index.html").write_text("my own page")
    assert main(command) == 2
    assert "index.html" in capsys.readouterr().err


def test_an_invalid_spec_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "subjects.toml"
    path.write_text((HERE / "shop.toml").read_text().replace('message = "Order"', 'message = "Oder"'))
    assert main(["docs", str(path), str(tmp_path / "out")]) == 2
    assert "did you mean Order" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_msgspec_structs_are_not_in_the_documents() -> None:
    for text in documents(SMITH).values():
        assert "Decl(" not in text
        assert not re.search(r"<class|object at 0x|UNSET", text)
