"""`smith export`: Grafana's own types take the dashboard, a parser of PromQL every expression, and
the scalers have the fields of KEDA's definition."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import promql_parser
import pytest
import yaml
from cli import Smith
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from smith_sdk._core.exports.grafana import dashboard
from smith_sdk._core.exports.keda import Scaling, kubernetes_name, scaled_objects
from smith_sdk._core.exports.prometheus_rules import rules
from smith_sdk._core.exports.promql import quoted
from smith_sdk._core.exports.yaml import dump
from smith_sdk._core.monitoring.alerts import default_rules
from smith_sdk._core.monitoring.metric_names import METRICS
from smith_sdk.contract import Contract
from smith_sdk.topology import CONTRACT, consumers

KNOWN: Final = {
    f"{metric.name}{suffix}": metric
    for metric in METRICS
    for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
}
ODD: Final = replace(CONTRACT, name="acme.odd name", consumers=(), dead_letters=None)
SCALING: Final = Scaling(
    endpoint="nats:8222",
    account="$G",
    https=False,
    deployment="{consumer}",
    namespace=None,
    lag=100,
    activation_lag=5,
    least=0,
    most=10,
)


@pytest.fixture
def smith(capsys: pytest.CaptureFixture[str]) -> Smith:
    return Smith(capsys)


# ---- PromQL


def selectors(expression: Any) -> Iterator[Any]:
    """The selectors of a parsed expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    elif isinstance(expression, promql_parser.MatrixSelector):
        yield expression.vector_selector
    for name in ("expr", "lhs", "rhs"):
        if (inner := getattr(expression, name, None)) is not None:
            yield from selectors(inner)
    for argument in getattr(expression, "args", None) or ():
        yield from selectors(argument)


def check_expression(expression: str, *, more_labels: frozenset[str] = frozenset()) -> set[str]:
    """The metrics that it asks for: known, and with the labels that they have."""
    found = list(selectors(promql_parser.parse(expression.replace("$__rate_interval", "5m"))))
    assert found
    for selector in found:
        labels = set(KNOWN[selector.name].labels) | more_labels
        assert {one.name for one in selector.matchers.matchers} <= labels, expression
    # What it groups by is there as well.
    grouped = {label for names in re.findall(r"\bby \(([^)]*)\)", expression) for label in names.split(", ")}
    known = {label for selector in found for label in KNOWN[selector.name].labels}
    assert grouped <= known | {"le", "instance"}, expression
    return {KNOWN[selector.name].name for selector in found}


def test_texts_in_expressions_are_quoted() -> None:
    for text in ('a"b', "a\\b", "a\nb", "é{}"):
        (found,) = selectors(promql_parser.parse(f"x{{a={quoted(text)}}}"))
        assert found.matchers.matchers[0].value == text


# ---- Grafana


@pytest.mark.parametrize("contract", [CONTRACT, ODD], ids=["smith", "odd"])
def test_grafana_has_a_type_for_every_key_of_the_dashboard(contract: Contract) -> None:
    register_default_plugins()
    made = dashboard(contract)
    again = json.loads(json.dumps(Dashboard.from_json(made), cls=JSONEncoder))
    assert lost(made, again) == []
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", made["uid"])
    assert dashboard(contract) == made


def lost(made: Any, again: Any, path: str = "") -> list[str]:
    """What Grafana's types have dropped or changed."""
    if isinstance(made, dict):
        missing = [f"{path}/{key}" for key in made if key not in again]
        return missing + [one for key in made if key in again for one in lost(made[key], again[key], f"{path}/{key}")]
    if isinstance(made, list):
        assert len(made) == len(again), path
        return [one for number, pair in enumerate(zip(made, again, strict=True)) for one in lost(*pair, f"{path}/{number}")]
    return [] if made == again else [path]


def test_the_panels_have_rows_and_do_not_overlap() -> None:
    panels = dashboard(CONTRACT)["panels"]
    rows = [one["title"] for one in panels if one["type"] == "row"]
    assert rows == ["Pipeline", "Consumers", "Workers", "Publishing", "Dead letters", "Alerts"]
    assert len({one["id"] for one in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    made = dashboard(CONTRACT)
    shown: set[str] = set()
    for panel in made["panels"]:
        for target in panel.get("targets", ()):
            shown |= check_expression(target["expr"])
            legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            named = re.search(r"\bby \(([^)]*)\)", target["expr"])
            assert legend - {"instance"} <= (set(named[1].split(", ")) if named else set()), target
    assert shown == {metric.name for metric in METRICS}
    variables = {one["name"]: one for one in made["templating"]["list"]}
    assert list(variables) == ["datasource", "stream", "consumer"]
    assert variables["stream"]["query"].split(",") == [one.name for one in CONTRACT.streams]
    asked = re.fullmatch(r"label_values\((.*), consumer\)", variables["consumer"]["query"]["query"])
    assert asked
    check_expression(asked[1])


# ---- Prometheus

_TEXT: Final = {"type": "string", "minLength": 1}
_DURATION: Final = {"type": "string", "pattern": r"^([0-9]+(ms|[smhdwy]))+$"}
_TEXTS: Final = {"type": "object", "additionalProperties": _TEXT, "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"}}
RULES_FILE: Final = {
    # "Recording rules" and "Alerting rules" in the documentation of Prometheus 3
    "type": "object",
    "additionalProperties": False,
    "required": ["groups"],
    "properties": {
        "groups": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "rules"],
                "properties": {
                    "name": _TEXT,
                    "interval": _DURATION,
                    "rules": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["alert", "expr"],
                            "properties": {
                                "alert": _TEXT,
                                "expr": _TEXT,
                                "for": _DURATION,
                                "keep_firing_for": _DURATION,
                                "labels": _TEXTS,
                                "annotations": _TEXTS,
                            },
                        },
                    },
                },
            },
        }
    },
}


@pytest.mark.parametrize("contract", [CONTRACT, ODD], ids=["smith", "odd"])
def test_the_rules_of_prometheus_are_those_by_default(contract: Contract) -> None:
    made = yaml.safe_load(dump(rules(contract)))
    assert made == rules(contract)
    jsonschema.validate(made, RULES_FILE)
    groups = made["groups"]
    assert len({one["name"] for one in groups}) == len(groups) == 2
    assert [one["labels"]["rule"] for one in groups[0]["rules"]] == [one.name for one in default_rules(contract)]
    for rule in (rule for group in groups for rule in group["rules"]):
        check_expression(rule["expr"])
        assert rule["labels"]["severity"] in ("warning", "critical")
        for text in rule["annotations"].values():
            assert set(re.findall(r"\{\{(.*?)\}\}", text)) <= {
                " $labels.instance ",
                " $labels.stream ",
                " $labels.circuit ",
            }
    # Two alerts of a name are told apart by their labels.
    told = [(rule["alert"], rule["labels"].get("rule")) for group in groups for rule in group["rules"]]
    assert len(set(told)) == len(told)


def test_a_rule_of_two_conditions_joins_what_has_the_same_labels() -> None:
    (rule,) = [
        one
        for one in rules(CONTRACT)["groups"][0]["rules"]
        if one["labels"]["rule"] == f"redelivery-rate-{consumers.executor_fs_read.name}"
    ]
    found = promql_parser.parse(rule["expr"])
    assert isinstance(found, promql_parser.BinaryExpr)
    assert f"{found.op}" == "and"
    assert rule["for"] == "60s"


# ---- KEDA

_NAME: Final = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 54}
_NUMBER: Final = {"type": "string", "pattern": "^[0-9]+$"}
SCALED_OBJECT: Final = {
    # keda.sh_scaledobjects.yaml of KEDA, with what its scaler nats-jetstream reads
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "keda.sh/v1alpha1"},
        "kind": {"const": "ScaledObject"},
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name"],
            "properties": {"name": _NAME, "namespace": _NAME},
        },
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["scaleTargetRef", "triggers"],
            "properties": {
                "scaleTargetRef": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["name"],
                    "properties": {"apiVersion": _TEXT, "kind": _TEXT, "name": _TEXT, "envSourceContainerName": _TEXT},
                },
                "pollingInterval": {"type": "integer"},
                "cooldownPeriod": {"type": "integer"},
                "minReplicaCount": {"type": "integer", "minimum": 0},
                "maxReplicaCount": {"type": "integer", "minimum": 1},
                "triggers": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["type", "metadata"],
                        "properties": {
                            "type": {"const": "nats-jetstream"},
                            "name": _TEXT,
                            "metadata": {
                                "type": "object",
                                "additionalProperties": False,
                                "required": ["natsServerMonitoringEndpoint", "account", "stream", "consumer", "lagThreshold"],
                                "properties": {
                                    "natsServerMonitoringEndpoint": {"type": "string", "pattern": "^[^:/]+:[0-9]+$"},
                                    "account": _TEXT,
                                    "stream": _TEXT,
                                    "consumer": _TEXT,
                                    "lagThreshold": _NUMBER,
                                    "activationLagThreshold": _NUMBER,
                                    "useHttps": {"enum": ["true", "false"]},
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def test_each_consumer_has_a_scaled_object() -> None:
    found = scaled_objects(CONTRACT.consumers, SCALING)
    for one in found:
        jsonschema.validate(one, SCALED_OBJECT)
    triggers = [one["spec"]["triggers"][0]["metadata"] for one in found]
    assert {(one["stream"], one["consumer"]) for one in triggers} == {(one.stream, one.name) for one in CONTRACT.consumers}
    assert len({one["metadata"]["name"] for one in found}) == len(found)
    assert scaled_objects(reversed(CONTRACT.consumers), SCALING) == found


def test_replicas_that_could_get_no_message_are_not_started() -> None:
    spec = consumers.executor_fs_read
    limits = {
        most: scaled_objects([replace(spec, max_ack_pending=most)], SCALING)[0]["spec"]["maxReplicaCount"]
        for most in (1, 3, 50, -1)
    }
    assert limits == {1: 1, 3: 3, 50: 10, -1: 10}


def test_names_are_those_that_kubernetes_takes() -> None:
    assert kubernetes_name("executor-fs-read") == "executor-fs-read"
    assert kubernetes_name("executor_fs_read") == "executor-fs-read"
    others = {kubernetes_name(text) for text in ("Émile", "a--b", "-a", "A.B", "a" * 60, "a" * 61, "___")}
    assert len(others) == 7
    assert all(re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", one) and len(one) <= 54 for one in others)
    spec = consumers.executor_fs_read
    named = scaled_objects([spec, replace(spec, stream="OTHER")], SCALING)
    assert [one["metadata"]["name"] for one in named] == [f"atoms-vetted-{spec.name}", f"other-{spec.name}"]


# ---- YAML

_VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("ab-: #'\"\n", min_size=1, max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(_VALUES)
def test_what_is_written_as_yaml_is_read_again(value: Any) -> None:
    assert yaml.safe_load(dump(value)) == value


@pytest.mark.parametrize(
    "text", ["yes", "No", "on", "1", "0x1", "1e3", "~", "null", "", " a", "a: b", "a #b", "'", '"', "2026-01-01", "@a", "\u2028"]
)
def test_texts_stay_texts(text: str) -> None:
    assert yaml.safe_load(dump({"a": [text]})) == {"a": [text]}


# ---- the command


def test_each_export_is_written_the_same_way_each_time(smith: Smith, tmp_path: Path) -> None:
    first = ""
    for number, arguments in enumerate((("grafana",), ("prometheus-rules",), ("keda", "executor-fs-read", "admission"))):
        first = smith("export", *arguments).out
        assert smith.status == 0
        file = tmp_path / str(number)
        assert smith("export", *arguments, "-o", str(file)).out == ""
        assert smith.err == f"wrote {file}\n"
        assert file.read_text() == first
    assert [one["metadata"]["name"] for one in yaml.safe_load_all(first)] == ["executor-fs-read", "admission"]
    assert smith("export", "grafana", "-o", str(tmp_path)).status == 1
    assert "cannot be written: Is a directory" in smith.err


def test_options_of_keda_reach_the_scaler(smith: Smith) -> None:
    options = "--endpoint [::1]:8222 --account A --https --lag 5 --activation-lag 2 --min 1 --max 3 --namespace jobs"
    smith("export", "keda", "executor-fs-read", *options.split(), "--deployment", "worker-{consumer}")
    assert smith.status == 0
    found = yaml.safe_load(smith.out)
    assert found["metadata"] == {"name": "executor-fs-read", "namespace": "jobs"}
    assert found["spec"]["scaleTargetRef"] == {"name": "worker-executor-fs-read"}
    assert (found["spec"]["minReplicaCount"], found["spec"]["maxReplicaCount"]) == (1, 3)
    assert found["spec"]["triggers"][0]["metadata"] == {
        "natsServerMonitoringEndpoint": "[::1]:8222",
        "account": "A",
        "stream": "ATOMS_VETTED",
        "consumer": "executor-fs-read",
        "lagThreshold": "5",
        "activationLagThreshold": "2",
        "useHttps": "true",
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("keda nobody", "consumer 'nobody' is not declared in contract 'smith', which has "),
        ("keda --endpoint http://nats:8222", "--endpoint http://nats:8222: must be a host and a port"),
        ("keda --min 5 --max 2", "--min 5: must be at most --max 2"),
        ("keda --deployment Worker", "--deployment Worker: must be small letters"),
        ("keda --namespace a/b", "--namespace a/b: must be small letters"),
        ("keda --lag 0", "--lag"),
        ("grafana --contract no_such_package", "--contract no_such_package"),
    ],
)
def test_invalid_options_are_refused(smith: Smith, arguments: str, says: str) -> None:
    smith("export", *arguments.split())
    assert smith.status in (1, 2)
    assert says in smith.err
    assert smith.err.count("\n") == 1
