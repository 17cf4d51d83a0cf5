# ruff: noqa: E501 - one case on one line
"""`smith-codegen lint` finds subjects as text, says what to use instead, and leaves everything else
alone."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import smith_sdk
from smith_codegen import sources
from smith_codegen.cli import main
from smith_codegen.lint import data_files
from smith_codegen.lint.advice import Advisor
from smith_codegen.lint.findings import Finding, NotPython, find
from smith_sdk import subjects

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "subjects.toml"
ACME = Path(__file__).with_name("acme.toml")
LOADED = sources.load(SPEC)
SMITH = Advisor(LOADED)


def lint(code: str, advisor: Advisor = SMITH) -> list[Finding]:
    return find(code.encode(), "a.py", advisor)


def said(code: str, advisor: Advisor = SMITH) -> list[tuple[int, str]]:
    """Line and call of each finding, the imports left out."""
    return [(one.line, one.use.partition(", with ")[0]) for one in lint(code, advisor)]


# ---- what is found

ANY_RESULT = "subjects.results(intent_id=...)"
FS_READ = "capability=capability.fs_read_v1"

FOUND = {
    # how a text is written
    'x = "smith.results.abc"': 'subjects.results(intent_id=IntentId("abc"))',
    'x = "smith.results" ".abc"': 'subjects.results(intent_id=IntentId("abc"))',
    'x = """smith.results.abc"""': 'subjects.results(intent_id=IntentId("abc"))',
    'x = f"smith.results.{a}"': ANY_RESULT,
    'x = f"smith.results.{a!r:>5}"': ANY_RESULT,
    'x = f"smith.results.run-{a}"': ANY_RESULT,
    'x = "smith.results." f"{a}"': ANY_RESULT,
    """x = f"smith.results.{'abc'}" """: 'subjects.results(intent_id=IntentId("abc"))',
    'x = "smith.results." + a': ANY_RESULT,
    'x = "smith" + "." + "results" + "." + a.b(c)': ANY_RESULT,
    'x = "smith.results.{}".format(a)': ANY_RESULT,
    'x = "smith.{}.{a}".format("results", a=b)': ANY_RESULT,
    'x = "smith.{1}.{0}".format(a, "results")': ANY_RESULT,
    'x = "smith.results.{}".format(*a)': ANY_RESULT,
    'x = "smith.results.%s" % a': ANY_RESULT,
    'x = "smith.results.%05d" % a': ANY_RESULT,
    'x = "smith.%s.%s" % ("results", a)': ANY_RESULT,
    'x = "smith.%(kind)s.%(id)s" % {"kind": "results", "id": a}': ANY_RESULT,
    'x = ".".join(("smith", "results", a))': ANY_RESULT,
    'x = ".".join(["smith", "results", "abc"])': 'subjects.results(intent_id=IntentId("abc"))',
    'x = "".join(["smith.results.", a])': ANY_RESULT,
    'x = str("smith.results.abc")': 'subjects.results(intent_id=IntentId("abc"))',
    'TEMPLATE = "smith.results.{intent_id}"': ANY_RESULT,
    'TEMPLATE = "smith.results.%s"': ANY_RESULT,
    'TEMPLATE = "smith.results.$intent_id"': ANY_RESULT,
    'ROOT = "smith"\n\nx = f"{ROOT}.results.{a}"': (3, ANY_RESULT),
    'ROOT: Final = "smith"\nBASE = ROOT + ".results"\ndef f(a): return f"{BASE}.{a}"': (3, ANY_RESULT),
    r"""x = r"^smith\.results\.(\w+)$" """: ANY_RESULT,
    r"""x = re.compile(r"smith\.orchestrator\.audit")""": "subjects.orchestrator.audit()",
    # where it stands
    'def f(subject="smith.results.abc"): ...': 'subjects.results(intent_id=IntentId("abc"))',
    'x = {"smith.orchestrator.audit": 1}': "subjects.orchestrator.audit()",
    'x = y["smith.orchestrator.audit"]': "subjects.orchestrator.audit()",
    'if m.subject == "smith.orchestrator.audit": ...': "subjects.orchestrator.audit()",
    'match m.subject:\n    case "smith.orchestrator.audit": ...': (2, "subjects.orchestrator.audit()"),
    """x = f"{f('smith.orchestrator.audit')} {a}" """: "subjects.orchestrator.audit()",
    'log.info("to %s", "smith.orchestrator.audit")': "subjects.orchestrator.audit()",
    '"%s %s" % ("smith.orchestrator.audit", n)': "subjects.orchestrator.audit()",
    '@on("smith.orchestrator.audit")\nclass A(B, topic=1): ...': "subjects.orchestrator.audit()",
    'span.set_attribute("destination", "smith.orchestrator.audit")': "subjects.orchestrator.audit()",
    'cast("str", "smith.orchestrator.audit")': "subjects.orchestrator.audit()",
    'x: str = "smith.orchestrator.audit"': "subjects.orchestrator.audit()",
    # which subject it is
    'x = "smith.intents.raw.fs.read.v1"': f"subjects.intents.raw({FS_READ})",
    'x = f"smith.intents.raw.{a}"': "subjects.intents.raw(capability=...)",
    'x = f"smith.intents.raw.fs.{a}.v1"': "subjects.intents.raw(capability=...)",
    'x = f"smith.intents.vetted.{a}.{b}"': "subjects.intents.vetted(capability=..., domain=...)",
    'x = f"smith.intents.vetted.fs.read.v1.{b}"': f"subjects.intents.vetted({FS_READ}, domain=...)",
    'x = f"smith.intents.vetted.{a}.here"': 'subjects.intents.vetted(capability=..., domain=Domain("here"))',
    'x = "smith.logs.api.error"': 'subjects.logs.service(log_service=LogService("api"), level="error")',
    'x = "smith.logs.errors.error"': 'subjects.logs.errors(service=Service("error"))',
    'x = f"smith.logs.{a}.{b}"': "subjects.logs.service(log_service=..., level=...)",
    'x = f"smith.logs.{a}.error"': 'subjects.logs.service(log_service=..., level="error")',
    'x = "smith.dlq.A.b.17"': 'subjects.dlq(stream=StreamName("A"), consumer=ConsumerName("b"), seq=StreamSeq(17))',
    'x = f"smith.audit.{a}.abc"': 'subjects.audit.execution(intent_id=IntentId("abc")) or subjects.audit.policy(intent_id=IntentId("abc"))'
    ' or subjects.audit.security(event_type=EventType("abc"))',
    'x = f"smith.benchmark.{a}"': "subjects.benchmark.runs(run_id=...) or subjects.benchmark.steps(run_id=..., step_id=...)"
    " or subjects.benchmark.tools(run_id=..., tool_name=...) and 5 more",
    # several at once
    'x = "smith.results.*"': "subjects.results.filter()",
    'x = "smith.results.>"': "subjects.results.filter()",
    'x = m.startswith("smith.results.")': "subjects.results.filter()",
    'x = f"smith.intents.vetted.{a}.*"': "subjects.intents.vetted.filter(capability=...)",
    'x = "smith.intents.vetted.fs.read.v1.*"': f"subjects.intents.vetted.filter({FS_READ})",
    'x = "smith.intents.vetted.*.*.*.here"': 'subjects.intents.vetted.filter(domain=Domain("here"))',
    'x = "smith.logs.*.error"': 'subjects.logs.service.filter(level="error")',
    'x = "smith.intents.>"': "subjects.intents.raw.filter() | subjects.intents.vetted.filter() | subjects.intents.quarantine.filter()"
    " and 2 more",
    'x = "smith.audit."': "subjects.audit.execution.filter() | subjects.audit.policy.filter() | subjects.audit.security.filter()",
    'x = "smith.>"': "subjects.results.filter() | subjects.dlq.filter() | subjects.logs.service.filter() and 29 more",
    # calls that take a subject
    'x = "smith.intents.vetted.fs.read.v1.d.shard.0e"': "subjects.intents.vetted_sharded(capability=capability.fs_read_v1, "
    'domain=Domain("d"), shard=Shard(14))',
    'x = "smith.intents.vetted.fs.read.v1.shard.0e"': "subjects.intents.vetted_crates(capability=capability.fs_read_v1, "
    "shard=Shard(14))",
    'nc.publish("smith.intents.vetted.fs.read.v1.d.shard.0e", b)': "bus.publish(subjects.intents.vetted_sharded.of(payload), payload)",
    'nc.publish("smith.intents.vetted.fs.read.v1.shard.0e", b)': "bus.publish(subjects.intents.vetted_sharded.of(payload), payload)",
    'await nc.publish("smith.results.abc", data)': 'bus.publish(subjects.results(intent_id=IntentId("abc")), payload)',
    'nc.publish(subject=f"smith.results.{a}", payload=data)': f"bus.publish({ANY_RESULT}, payload)",
    'self._publish("smith.logs.errors.api", data)': 'bus.emit(subjects.logs.errors(service=Service("api")), payload)',
    'js.publish_async(f"smith.results.{a}", data)': f"bus.submit({ANY_RESULT}, payload)",
    'nc.request(f"smith.results.{a}", data)': f"bus.publish({ANY_RESULT}, payload)",
    'bus.emit(f"smith.results.{a}", data)': f"bus.publish({ANY_RESULT}, payload)",
    'nc.publish(x := f"smith.results.{a}", data)': f"bus.publish({ANY_RESULT}, payload)",
    'nc.publish(a or f"smith.results.{a}", data)': f"bus.publish({ANY_RESULT}, payload)",
    'nc.publish("smith.results.json", data)': 'bus.publish(subjects.results(intent_id=IntentId("json")), payload)',
    'nc.publish(f"smith.{a}", data)': f"bus.publish({ANY_RESULT}, payload) or bus.publish(subjects.dlq(stream=..., consumer=..., seq=...), payload)"
    " or bus.emit(subjects.logs.service(log_service=..., level=...), payload)",
    'nc.publish("smith.results.*", data)': f"bus.publish({ANY_RESULT}, payload)",
    'nc.subscribe("smith.results.abc")': 'bus.subscribe(subjects.results(intent_id=IntentId("abc")))',
    'nc.subscribe("smith.results.*", cb=f)': "bus.subscribe(subjects.results.filter())",
    'js.pull_subscribe("smith.intents.raw.>", "d")': "subjects.intents.raw.filter()",
    'nc.publish("smith", data)': "bus.emit(subjects.gitlab.event_mr(), payload)",
    """nc.publish(f"{os.environ['ROOT']}.results.{a}", data)""": f"bus.publish({ANY_RESULT}, payload)",
    # of no subject of the spec
    'nc.publish("smith.result.abc", data)': f"bus.publish({ANY_RESULT}, payload)",
    'nc.publish("smith.intents.raw.fs.read.v2", data)': "bus.publish(subjects.intents.raw(capability=...), payload)",
    'nc.publish("smith.logs.errors", data)': "bus.emit(subjects.logs.errors(service=...), payload)",
    'nc.subscribe("smith.result.>")': "bus.subscribe(subjects.results.filter())",
    'S = "smith.intents.raw.fs.read.v2"\nnc.publish(S, data)': (2, "bus.publish(subjects.intents.raw(capability=...), payload)"),
    # typed subjects made text
    "from smith_sdk import subjects\nnc.publish(str(subjects.results.of(r)), data)": (
        2,
        "bus.publish(subjects.results.of(r), payload)",
    ),
    'from smith_sdk import subjects as s\nnc.publish(f"{s.logs.errors(service=x)}", data)': (
        2,
        "bus.emit(s.logs.errors(service=x), payload)",
    ),
    "import smith_sdk\nnc.publish(str(smith_sdk.subjects.results.of(r)), data)": (
        2,
        "bus.publish(smith_sdk.subjects.results.of(r), payload)",
    ),
    "from smith_sdk.subjects.intents import raw\njs.publish_async(str(raw.of(i)), data)": (2, "bus.submit(raw.of(i), payload)"),
    "from smith_sdk import subjects\nto = subjects.results.of(r)\ntext = str(to)\nnc.publish(text, data)": (
        4,
        "bus.publish(to, payload)",
    ),
    "from smith_sdk import subjects\nnc.publish(str(subjects.parse(s)), data)": (2, "bus.publish(subjects.parse(s), payload)"),
}


FOLLOWED = {
    'C = {"subject": "smith.logs.errors.a", "n": 1}\nnc.publish(C["subject"], data)': "C at a.py:1",
    'C = dict(subject="smith.logs.errors.a")\nnc.publish(C.get("subject", "x"), data)': "C at a.py:1",
    'S = ["x", "smith.logs.errors.a"]\nnc.publish(S[1], data)': "S at a.py:1",
    'for s in ("smith.logs.errors.a", "b"):\n nc.publish(s, data)': "s at a.py:1",
    'class S(StrEnum):\n A = "smith.logs.errors.a"\nnc.publish(S.A, data)': "S.A at a.py:2",
    'class S(str, Enum):\n A = "smith.logs.errors.a"\nnc.publish(S.A.value, data)': "S.A at a.py:2",
    'class S(Enum):\n N = 1\n A = "smith.logs.errors.a"\ndef f(s: S): nc.publish(s.value, data)': "S.A at a.py:3",
    'class S(StrEnum):\n A = "smith.logs.errors.a"\nfor s in S: nc.publish(s, data)': "s at a.py:3, S.A at a.py:2",
    'class S(StrEnum):\n A = "smith.logs.errors.a"\nnc.publish(S["A"], data)': "S.A at a.py:2",
    'class S:\n class T:\n  A = "smith.logs.errors.a"\nnc.publish(S.T.A, data)': "T.A at a.py:3",
    'class S:\n A = "smith.logs.errors.a"\nclass T(S):\n def f(self): nc.publish(self.A, data)': "S.A at a.py:2",
    'class S:\n A = "smith.logs.errors.a"\n @classmethod\n def f(cls): nc.publish(cls.A, data)': "S.A at a.py:2",
    'class S:\n def __init__(self): self.a = "smith.logs.errors.a"\n def f(self): nc.publish(self.a, data)': "S.a at a.py:2",
    'class S:\n def __init__(self, a="smith.logs.errors.a"): self.a = a\nnc.publish(S().a, data)': "",
    'class S:\n def __init__(self, a): self.a = a\ns = S("smith.logs.errors.a")\nnc.publish(s.a, data)': "",
    '@dataclass\nclass S:\n a: str = "smith.logs.errors.a"\nnc.publish(S().a, data)': "S.a at a.py:3",
    '@dataclass\nclass S:\n a: str = field(default="smith.logs.errors.a")\ndef f(s: S): nc.publish(s.a, data)': "S.a at a.py:3",
    'class S(BaseSettings):\n a: str = Field("smith.logs.errors.a")\nnc.publish(S().a, data)': "S.a at a.py:2",
    'class S:\n @property\n def a(self): return "smith.logs.errors.a"\nnc.publish(S().a, data)': "a at a.py:3",
    'def s(a): return f"smith.logs.errors.{a}"\nnc.publish(s("a"), data)': "s at a.py:1",
    'def s(kind, *rest, root="smith"): return ".".join([root, kind, *rest])\nnc.publish(s("logs", "errors", "a"), data)': "s at a.py:1",
    's = lambda a: "smith.logs.errors." + a\nnc.publish(s("a"), data)': "",
    'A = os.environ.get("A", "smith.logs.errors.a")\nnc.publish(A, data)': "A at a.py:1",
    'A = os.getenv("A", "smith.logs.errors.a")\nnc.publish(A, data)': "A at a.py:1",
    'P = ("smith", "logs", "errors")\nnc.publish(".".join([*P, "a"]), data)': "P at a.py:1",
    'P = ("smith", "logs", "errors", "a")\nnc.publish(".".join(P), data)': "P at a.py:1",
    'T = Template("smith.logs.errors.${a}")\nnc.publish(T.substitute(a="a"), data)': "T at a.py:1",
    'T = string.Template("smith.logs.errors.$a")\nnc.publish(T.safe_substitute({"a": "a"}), data)': "T at a.py:1",
    'T = "smith.logs.{k}.{a}"\nnc.publish(T.format_map({"k": "errors", "a": "a"}), data)': "T at a.py:1",
    'T = "smith.logs.%(k)s.a"\nnc.publish(T % dict(k="errors"), data)': "T at a.py:1",
    'A = os.environ.get("A") or "smith.logs.errors.a"\nnc.publish(A, data)': "A at a.py:1",
    'A = "smith.logs.errors.a" if b else "x"\nnc.publish(A, data)': "A at a.py:1",
    'A = "smith.logs.errors."\nnc.publish(A.rstrip(".") + ".a", data)': "A at a.py:1",
    'class S:\n A = "smith.logs.errors.a"\nnc.publish(getattr(S, "A"), data)': "S.A at a.py:2",
    'async def s(a):\n if a: return "smith.logs.errors.a"\n return a\nnc.publish(await s(b), data)': "s at a.py:2",
    'def f(s="smith.logs.errors.a"): nc.publish(s, data)': "s at a.py:1",
}


@pytest.mark.parametrize("code", FOLLOWED)
def test_names_are_followed_and_the_place_of_their_definition_is_said(code: str) -> None:
    (found,) = [one for one in lint(code) if "published to" in one.problem]
    assert (found.subject, found.defined) == ("smith.logs.errors.a", FOLLOWED[code])
    assert found.use.startswith('bus.emit(subjects.logs.errors(service=Service("a")), payload)')


MODULES = {
    "app/__init__.py": "from .names import BASE as ROOM\n",
    "app/names.py": 'BASE = "smith.logs"\nclass S:\n    BATCH = BASE\n    def errors(self, a): return f"{self.BATCH}.errors.{a}"\n',
    "app/deep/er.py": "from ..names import BASE\nfrom .. import names, ROOM\nfrom app.names import S as T\nimport app.names\nimport app.names as n\n"
    'nc.publish(f"{BASE}.errors.a", data)\nnc.publish(names.BASE + ".errors.a", data)\nnc.publish(f"{ROOM}.errors.a", data)\n'
    'nc.publish(T().errors("a"), data)\nnc.publish(f"{app.names.BASE}.errors.a", data)\nnc.publish(n.S.BATCH + ".errors.a", data)\n',
    "tools/star.py": 'from app.names import *\nnc.publish(f"{BASE}.errors.a", data)\n',
    "src/lib/kinds.py": 'KIND = "errors"\n',
    "tools/run.py": 'from lib.kinds import KIND\nfrom app.names import BASE\nfrom elsewhere import X\nimport round\nnc.publish(f"{BASE}.{KIND}.a", data)\nnc.publish(X + ".x", data)\n',
    "tools/round.py": "import run, round\nfrom round import A as B\nfrom round import B as A\nnc.publish(A + round.A + run.A, data)\n",
    "tools/broken.py": "(",
    "tools/other.py": 'from broken import A\nnc.publish(f"{A}.errors.a", data)\n',
}


def test_names_are_followed_into_other_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in MODULES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    assert main(["lint", "app", "tools", "--json"]) == 2  # for tools/broken.py
    found = json.loads(capsys.readouterr().out)
    base, batch = "BASE at app/names.py:1", "S.BATCH at app/names.py:3"
    assert [(one["file"], one["line"], one["defined"]) for one in found if one["subject"] == "smith.logs.errors.a"] == [
        ("app/deep/er.py", 6, base),
        ("app/deep/er.py", 7, base),
        ("app/deep/er.py", 8, base),
        ("app/deep/er.py", 9, f"errors at app/names.py:4, {batch}, {base}"),
        ("app/deep/er.py", 10, base),
        ("app/deep/er.py", 11, f"{batch}, {base}"),
        ("tools/run.py", 5, f"{base}, KIND at src/lib/kinds.py:1"),
        ("tools/star.py", 2, base),
    ]
    assert main(["lint", "tools/run.py"]) == 1
    assert (
        "tools/run.py:5:12: 'smith.logs.errors.a' (BASE at app/names.py:1, KIND at src/lib/kinds.py:1) is published to"
        in capsys.readouterr().out
    )


DATA = {
    "conf.toml": ('name = "smith.orchestrator.audit"\nlogger = "smith.orchestrator.audit"\n[a]\nb = [\n  "x",\n  "smith.results.>",\n]\n'
        '"smith.orchestrator.audit" = 1\nold = "smith.results.a"  # smith: raw-subject\nfile = "smith.results.toml"\n', [(1, 9), (6, 4)]),
    "conf.yaml": ("# smith.results.a\nsubject: smith.results.*  # all\nloggers: [smith.orchestrator.audit]\nenv:\n- A=smith.results.a\n- --to=smith.results.b\n"
        "smith.orchestrator.audit: 1\ntext: to smith.results.a\nold: smith.results.a  # smith: raw-subject\n--- !custom\na: &x ['smith.results.c']\nb: *x\n",
        [(2, 10), (5, 5), (6, 8), (11, 9)]),
    "chart.yml": ("a: {{ .Values.a }}\n{{- if .b }}\nsubject: {{ .x }}\nto: \"smith.results.>\"\nhost: smith.results.a\n# smith.results.b\n", [(4, 6)]),
    "subjects.toml": ('[spec]\nroot = "smith"\n[subjects]\na = "smith.results.a"\n', []),
    "other.yaml": ("a: [", []),
    "loop.yaml": ("a: &x [*x, smith.results.a]\n", [(1, 12)]),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_values_of_toml_and_yaml_files(name: str) -> None:
    text, places = DATA[name]
    found = data_files.find(text.encode(), name, SMITH)
    assert [(one.line, one.column) for one in found] == places
    assert {one.problem for one in found} <= {"is a subject in a file that no checker reads"}


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.toml", b'a = 1\nb = "smith.results\n', "a.toml:2: invalid TOML: "),
        ("a.yaml", b"a: smith.x\nb: \xff\n", "a.yaml:2: not utf-8 (invalid start byte)"),
    ],
)
def test_a_data_file_that_cannot_be_read(name: str, data: bytes, problem: str) -> None:
    with pytest.raises(NotPython) as error:
        data_files.find(data, name, SMITH)
    assert str(error.value).startswith(problem)


def test_a_constant_that_subjects_begin_with_is_found_where_it_is_used_for_one() -> None:
    code = 'A = "smith.results"\nB = "smith.results"  # smith: raw-subject\nC = "smith.results"\nD = "smith"\n'
    uses = 'nc.publish(f"{A}.{x}", data)\nnc.publish(f"{B}.{x}", data)\nnc.publish(f"{D}.results.{x}", data)\n'
    found = lint(code + uses)
    assert [one.line for one in found] == [1, 5, 6, 7]
    assert (found[0].problem, found[0].defined) == ("is the start of a subject as text", "A, used at line 5")
    assert found[0].use.startswith("subjects.results.filter()")


def test_the_tokens_of_a_subject_in_a_match() -> None:
    code = 'match m.subject.split("."):\n    case ["smith", "results", x]: ...\n    case ["smith", "other", x]: ...\n    case _: ...\n'
    assert said(code) == [(2, ANY_RESULT)]
    assert lint(code.replace('.split(".")', ".split()")) == []


@pytest.mark.parametrize("code", FOUND)
def test_found(code: str) -> None:
    expected = FOUND[code]
    assert said(code) == [expected if isinstance(expected, tuple) else (1, expected)]


def test_each_of_several_texts_is_found_once_in_order() -> None:
    code = 'A = "smith.results.", f"smith.results.{a}"\nB = A + "smith.orchestrator.audit", "smith." + "results." + (b + ".c")\nA[b] + "x"\n'
    assert [(one.line, one.column) for one in lint(code)] == [(1, 5), (1, 23)]
    code = '("smith.orchestrator.audit" if a else\n "smith.orchestrator.status")\n'
    assert [(one.line, one.column) for one in lint(code)] == [(1, 2), (2, 2)]


def test_a_constant_and_the_raw_publish_to_it_are_two_findings() -> None:
    code = 'SUBJECT = "smith.results.abc"\nlog.info(SUBJECT)\nlog.info(f"{SUBJECT}")\nprint(str(SUBJECT))\nnc.publish(SUBJECT, data)\n'
    call = 'subjects.results(intent_id=IntentId("abc"))'
    assert said(code) == [(1, call), (5, f"bus.publish({call}, payload)")]


def test_columns_count_characters_and_lines_are_those_of_the_file() -> None:
    code = "é = 'é', 'smith.orchestrator.audit'\r\nx = (\r\n  'smith.orchestrator.'\r\n  'audit')\r\n"
    assert [(one.line, one.column) for one in lint(code)] == [(1, 10), (3, 3)]


def test_what_is_said_names_the_subject_the_problem_and_the_imports() -> None:
    assert lint('nc.publish(f"smith.intents.vetted.fs.read.v1.{a}", b"")') == [
        Finding(
            file="a.py",
            line=1,
            column=12,
            subject="smith.intents.vetted.fs.read.v1.{}",
            problem="is published to as text, so nothing checks the payload",
            use=f"bus.publish(subjects.intents.vetted({FS_READ}, domain=...), payload), with from smith_sdk import subjects; from smith_sdk.subjects import capability",
        )
    ]
    (one,) = lint('x = "smith.dlq.A.b.1"')
    assert one.problem == "is a subject as text"
    assert one.use.endswith(
        ", with from smith_sdk import subjects; from smith_sdk.protocol import StreamName, ConsumerName, StreamSeq"
    )
    (one,) = lint('nc.publish("smith.result.abc")')
    assert one.problem == "is not a subject of the spec; the closest is smith.results.{intent_id}"
    (one,) = lint('nc.publish("smith.results.*")')
    assert one.problem == "is a wildcard or a prefix, which cannot be published to"
    (one,) = lint('nc.subscribe("smith.results.*")')
    assert one.problem == "is subscribed to as text, so messages have no type"
    (one,) = lint("from smith_sdk import subjects\nnc.publish(str(subjects.results.of(r)))")
    assert (one.subject, one.problem) == ("subjects.results.of(r)", "is a typed subject made text, so nothing checks the payload")


def test_every_concrete_suggestion_is_code_that_makes_that_very_subject() -> None:
    texts = [
        "smith.intents.raw.fs.read.v1",
        "smith.logs.api.error",
        "smith.dlq.A.b.17",
        "smith.orchestrator.audit",
        "smith.results.a'b\"c\\d",
    ]
    for text in texts:
        (one,) = lint(f"x = {text!r}")
        call, _, imports = one.use.partition(", with ")
        room: dict[str, object] = {}
        exec(imports, room)
        made = eval(call, room)
        assert (str(made), type(made)) == (text, type(subjects.parse(text)))


# ---- what is left alone

LEFT = [
    # no subjects
    'x = "smith", "smith.", "smith.worker", "smithy.results.x", "blacksmith.results.x", "Smith.results.x", "results.abc"',
    'x = "smith.toml", "smith.sock", "smith.results", "smith.results.json", "smith.audit.execution.log", "/run/smith.results.x"',
    'x = "smith.*", "*.results.abc", "smith.results.ab*", "smith..results", "smith.results..", "smith.>.results"',
    'x = "nats://smith.results.x/", "https://smith.dev/results.x", "user@smith.results.dev", ".smith.results.x", "smith.results.x.y"',
    'x = "smith.results.abc is done", "to smith.results.abc", "smith.results.abc\\n", "smith.results.\\x00"',
    'x = "smith.intents.raw.fs.read.v2", "smith.dlq.A.b.c", "smith.dlq.A.b.0", "smith.dlq.A.b.01", "smith.logs.api.loud"',
    'x = f"smith.{a}", f"smith.{a}.{b}", f"smith-{a}.results.b", f"{a}.results.{b}", f"{a}smith.results.b", f"smith{a}.results.b"',
    'x = f"smith.results.{a} failed", f"see smith.results.{a}", f"smith.results.{a}/b c", "smith.results." + a + " failed"',
    'x = a + "smith.results.x", a + b, 1 + 2, 7 % 3, "%d%%" % 3, "{".format(a), "{} {}".format(a), ",".join(["a"])',
    'x = b"smith.results.abc", 1, None, ...',
    # names of something else
    'logging.getLogger("smith.orchestrator.audit"); getLogger(name="smith.results.x"); getLogger(f"smith.results.{a}")',
    'import_module("smith.gitlab.event.mr"); monkeypatch.setattr("smith.results.fetch", f); mock.patch("smith.results." + a)',
    'x = Path("smith.results.abc"), directory / "smith.results.abc", directory / f"smith.results.{a}", open("smith.results.dat")',
    'meter.create_counter("smith.results.count"); tracer.start_as_current_span("smith.results.fetch")',
    # no code
    '"""smith.results.abc"""\n"smith.results.b"\nf"smith.results.{a}"',
    'def f():\n    """smith.results.abc"""',
    'class A:\n    """smith.results.abc"""\n    a: int\n    """smith.results.abc"""',
    "# smith.results.abc",
    '__all__ = ["smith.results.abc"]\n__all__ += ["smith.results.abc"]\n__all__: list[str] = ["smith.results.abc"]',
    'def f(a: "smith.results.A", *b: Literal["smith.results.abc"]) -> "smith.results.B": ...',
    'x: "smith.results.A"\ny: "smith.results.A" = 1\nz: TypeAlias = "smith.results.A"',
    'T = Literal["smith.results.abc"]\nU = typing.Optional["smith.results.A"]\nV = cast("smith.results.A", x)\nW = TypeVar("W", bound="smith.results.A")',
    # names that are bound twice, or elsewhere
    'ROOT = "smith"\nROOT = "other"\nx = f"{ROOT}.results.{a}"',
    'ROOT = "smith"\ndef f(ROOT): return f"{ROOT}.results.{a}"',
    'from a import ROOT\nx = f"{ROOT}.results.{a}"',
    'x = "smith." + x\ny = y + "a"',
    # names that cannot be followed, or lead elsewhere
    'from a import S\nnc.publish(S.A, data); nc.publish(S().a(b), data); nc.publish(S["a"], data); nc.publish(f"{S.A}.x", data)',
    'C = {"subject": "other.x"}\nnc.publish(C["subject"], data); nc.publish(C["x"], data); nc.publish(C[d], data); nc.publish(C.get("x"), data)',
    "def f(a): return f(a)\nnc.publish(f(b), data)\nA = B\nB = A\nnc.publish(A.b, data)\nclass C(C): ...\nnc.publish(C.a, data)",
    "class A:\n def __init__(self, a): self.a = a\n def f(self): nc.publish(self.a, data)\n def g(self): nc.publish(self.b, data)",
    # calls that are right, or of something else
    "from smith_sdk import subjects\nbus.publish(subjects.results.of(r), r)\nlog.info(str(subjects.results.of(r)))\nstr(subjects.results.of(r))",
    "from smith_sdk import subjects\nto = subjects.results.of(r)\nbus.publish(to, r)\nbus.subscribe(subjects.results.filter())",
    "from other import subjects\nnc.publish(str(subjects.results.of(r)), data)",
    "def f(subjects): nc.publish(str(subjects.results.of(r)), data)",
    'nc.publish("other.results.x"); nc.publish(a); nc.publish(*a); nc.publish(); nc.publish(f"{a}.x")',
    'pool.submit(work, 1); requests.request("GET", "https://smith.dev"); handler.emit(record); nc.publish(data, "smith.worker")',
]


@pytest.mark.parametrize("code", LEFT)
def test_left_alone(code: str) -> None:
    assert lint(code) == []


# ---- silence


def test_a_comment_on_any_line_of_the_expression_silences_that_one() -> None:
    assert lint('x = "smith.results.a"  # smith: raw-subject') == []
    assert lint('x = "smith.results.a"  # noqa: E501 # smith:raw-subject, since the other side is old') == []
    assert lint('x = ("smith."\n     "results."  # smith: raw-subject\n     "a")') == []
    assert lint('nc.publish(  # smith: raw-subject\n    "smith.results.a",\n    data)') == []
    assert lint("from smith_sdk import subjects\nnc.publish(str(subjects.results.of(r)), data)  # smith: raw-subject") == []


def test_it_silences_nothing_else() -> None:
    code = 'x = "smith.results.a"  # smith: raw-subject\nx = "smith.results.b"\n# smith: raw-subject\nx = "smith.results.c"\n'
    assert [one.line for one in lint(code)] == [2, 4]
    assert [one.line for one in lint('nc.publish("smith.results.a",\n  data)  # smith: raw-subject')] == [1]
    assert len(lint('x = "smith.results.a"; y = "# smith: raw-subject"')) == 1
    assert len(lint('x = "smith.results.a"  # smith: raw-subjects')) == 1


# ---- any subject


def token(exclude: list[str] | None = None) -> st.SearchStrategy[str]:
    """Whatever NATS can carry as one token."""
    letters = st.characters(exclude_characters=".*>", exclude_categories=["Cs", "Cc", "Z"])
    return st.text(letters, min_size=1, max_size=12).filter(lambda text: text not in (exclude or []))


@st.composite
def subject_texts(draw: st.DrawFn) -> str:
    spec = LOADED
    decl = spec.subjects[draw(st.sampled_from(sorted(spec.subjects)))]

    def value(match: re.Match[str]) -> str:
        kind = spec.token(decl, match[1])
        if kind.format is not None:
            return format(draw(st.integers(kind.min or 0, kind.max or 10**12)), kind.format)
        if kind.enum is not None:
            return draw(st.sampled_from(kind.enum))
        return str(draw(st.integers(1, 10**12))) if kind.base == "int" else draw(token(list(kind.exclude)))

    return re.sub(r"\{(\w+)\}", value, decl.pattern)


@settings(deadline=None, max_examples=200)
@given(subject_texts())
def test_any_subject_is_found_as_a_literal_and_its_silenced_twin_is_not(text: str) -> None:
    assert str(subjects.parse(text)) == text
    assume("\\" not in text)  # on line 3 it would be a regular expression
    # would be a file's name on line 3
    assume(text.rpartition(".")[2] not in ("db", "js", "md", "py", "rst", "sh", "so", "txt"))
    call, other = f"nc.publish({text!r}, data)", f"x = [{text!r}]"
    code = f"{call}\n{call}  # smith: raw-subject\n{other}\n{other}  # smith: raw-subject\n"
    assert [(one.line, one.subject) for one in lint(code)] == [(1, text), (3, text)]


# ---- specs of one's own


def test_every_kind_of_token_of_another_spec() -> None:
    acme = Advisor(sources.load(ACME))
    code = 'x = "acme.orders.buy.v1.a", "acme.notes.all.7", "acme.notes.here.low", "acme.paint.red", "acme.tick", "smith.results.a", "acme.*"\n'
    assert [call for _, call in said(code, acme)] == [
        'subjects.orders.placed(kind=kind.buy_v1, order_id=OrderId("a"))',
        "subjects.notes.all(number=Number(7))",
        'subjects.notes.level(place=Place("here"), level="low")',
        'subjects.paint.colour(colour="red")',
        "subjects.tick()",
    ]
    assert lint(code, acme)[0].use.endswith(
        ", with from acme_bus import subjects; from acme_bus.subjects import kind; from acme_bus.protocol import OrderId"
    )


def test_a_spec_that_extends_smiths_finds_both_and_imports_each_from_its_home(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[spec]\nname = "own"\nversion = 1\nroot = "own"\npackage = "own_bus"\nextends = ["smith_sdk"]\n'
        '[tokens]\nshard = { newtype = "Shard", base = "int", format = "02x", min = 0, max = 15 }\n'
        '[subjects]\n"done" = { pattern = "own.done.{shard}.{intent_id}", message = "IntentResult" }\n'
    )
    advisor = Advisor(sources.load(own))
    assert [one.use for one in lint('x = "smith.results.a", "own.done.0a.b", "own.done.a.b", "own.done.10.b"', advisor)] == [
        'subjects.results(intent_id=IntentId("a")), with from smith_sdk import subjects; from smith_sdk.protocol import IntentId',
        'subjects.done(shard=Shard(10), intent_id=IntentId("b")), with from own_bus import subjects; from own_bus.protocol import Shard; from smith_sdk.protocol import IntentId',
    ]


# ---- the command

FAULTS = {
    "app/conf.yaml": "subject: smith.orchestrator.audit\n",
    "app/main.py": 'A = "smith.results.a"\nB = 1\nnc.publish(f"smith.results.{a}", b"")\n',
    "app/deep/er/tool.py": '\n\nx = "smith.orchestrator.audit"\n',
    "script": 'x = "smith.orchestrator.audit"\n',
}
RIGHT = {
    "app/clean.py": 'x = "smith.toml"\n',
    "app/notes.txt": 'x = "smith.orchestrator.audit"\n',
    "app/generated.py": '# generated from subjects.toml by smith-codegen; do not edit\nx = "smith.orchestrator.audit"\n',
    ".hidden/a.py": 'x = "smith.orchestrator.audit"\n',
    "app/.#main.py": 'x = "smith.orchestrator.audit"\n',
    "app/__pycache__/a.py": 'x = "smith.orchestrator.audit"\n',
    "node_modules/a.py": 'x = "smith.orchestrator.audit"\n',
    "env/pyvenv.cfg": "home = /usr/bin\n",
    "env/lib/a.py": 'x = "smith.orchestrator.audit"\n',
    "unparsed/no-python.txt": "(",
    "app/conf.toml": 'other = "x"\n',
}


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with planted faults, which is the current directory."""
    for name, text in (FAULTS | RIGHT).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "app/dangling.py").symlink_to("nothing-stands-here")
    (tmp_path / "app/loop").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


PLANTED = [("app/conf.yaml", 1, 10), ("app/deep/er/tool.py", 3, 5), ("app/main.py", 1, 5), ("app/main.py", 3, 12)]


def test_the_command_finds_what_is_planted_and_nothing_else(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", ".", "app", "app/main.py", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert sorted((one["file"], one["line"], one["column"]) for one in found) == PLANTED
    assert set(found[0]) == {"file", "line", "column", "subject", "problem", "use"}
    assert main(["lint", "."]) == 1
    out, err = capsys.readouterr()
    places = [tuple(line.split(" ")[0].rstrip(":").split(":")) for line in out.splitlines()]
    assert sorted(places) == [(file, str(line), str(column)) for file, line, column in PLANTED]
    assert (
        "app/main.py:3:12: 'smith.results.{}' is published to as text, so nothing checks the payload: "
        "use bus.publish(subjects.results(intent_id=...), payload), with from smith_sdk import subjects"
    ) in out.splitlines()
    assert err == "found: 4; the comment `# smith: raw-subject` on its line keeps one as it is\n"


def test_a_file_that_is_given_is_read_whatever_its_name(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "script", ".hidden/a.py", "env"]) == 1
    files = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert files == ["script", ".hidden/a.py", "env/lib/a.py"]


def test_nothing_found(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "app/clean.py", "app/generated.py"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["lint", "app/clean.py", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"x = 1\ny = (\n", "bad.py:2: invalid Python: '(' was never closed"),
        (b"x = 1\n\ny = '\xff'\n", "bad.py:3: invalid Python: not utf-8 (invalid start byte)"),
        (b"# coding: klingon\n", "bad.py:1: invalid Python: unknown encoding: klingon"),
        (b"x = 1\nx = '\0'\n", "invalid Python: "),
        (b"x = " + b"-" * 100_000 + b"1\n", "bad.py:1: "),
    ],
    ids=["syntax", "bytes", "encoding", "null", "deep"],
)
def test_what_is_no_python_is_named_with_its_line_and_the_rest_is_linted(
    repo: Path, capsys: pytest.CaptureFixture[str], data: bytes, problem: str
) -> None:
    (repo / "app/bad.py").write_bytes(data)
    assert main(["lint", "app/bad.py", "app/deep"]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("app/deep/er/tool.py:3:5: ")
    assert problem in err


def test_operands_that_cannot_be_read(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(repo / "pipe")
    for operand, problem in (
        ("missing.py", "missing.py: no such file or directory\n"),
        ("app/dangling.py", "app/dangling.py: no such file or directory\n"),
        ("pipe", "pipe: is not a file\n"),
    ):
        assert main(["lint", operand]) == 2
        assert capsys.readouterr() == ("", problem)


def test_encodings_are_those_of_python(repo: Path) -> None:
    text = "# -*- coding: latin-1 -*-\nx = 'é', 'smith.orchestrator.audit'\n"
    assert [(one.line, one.column) for one in find(text.encode("latin-1"), "a.py", SMITH)] == [(2, 10)]
    assert [one.line for one in find(b"\xef\xbb\xbfx = 'smith.orchestrator.audit'\n", "a.py", SMITH)] == [1]
    with pytest.raises(NotPython, match=r"^a\.py:2: invalid Python: not utf-8"):
        find(text.partition("\n")[2].encode() + "'é'".encode("latin-1"), "a.py", SMITH)


def test_odd_code_warns_nobody_and_a_long_sum_is_read(recwarn: pytest.WarningsRecorder) -> None:
    assert len(lint('x = "\\d", 1 is 1, "smith.orchestrator.audit"')) == 1
    assert len(lint('x = "smith.results." + ' + " + ".join(["a"] * 300))) == 1
    assert not recwarn.list


def test_which_spec_counts(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repo / "code.py").write_text('x = "acme.tick"\n')
    assert main(["lint", "code.py"]) == 0  # that of smith_sdk
    assert main(["lint", "code.py", "--spec", str(ACME)]) == 1
    assert "subjects.tick(), with from acme_bus import subjects" in capsys.readouterr().out
    (repo / "subjects.toml").write_text(ACME.read_text())
    assert main(["lint", "code.py"]) == 1
    capsys.readouterr()
    (repo / "subjects.toml").write_text(ACME.read_text().replace('message = "bytes"', 'message = "Nothing"', 1))
    assert main(["lint", "code.py"]) == 2
    assert "subjects.tick.message" in capsys.readouterr().err
    assert main(["lint", "code.py", "--spec", "missing.toml"]) == 2
    assert "missing.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", [Path(smith_sdk.__file__).parent, ROOT / "examples", ROOT / "codegen"], ids=lambda path: path.name
)
def test_this_project_is_clean(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(path), "--spec", str(SPEC)]) == 0, capsys.readouterr().out
