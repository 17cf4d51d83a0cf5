"""`smith-codegen permissions`: what is emitted for each role. tests/server/test_roles.py runs a
server with it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smith_codegen import permissions, sources
from smith_codegen.cli import main

HERE = Path(__file__).parent
SMITH = sources.load_package("smith_sdk")
ACME = sources.load(HERE / "acme.toml")
SHOP = sources.load(HERE / "shop.toml")


def emitted(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["permissions", *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["permissions", *arguments]) == 2
    out, err = capsys.readouterr()
    assert not out
    return err


def test_the_block_of_a_publisher(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ("intents.raw:capability=fs.read.v1", "intents.vetted", "logs.errors")
    assert emitted(capsys, "smith_sdk", "--role", "publisher", "--subjects", *chosen) == (
        "# publisher: connect with inbox_prefix='_INBOX_publisher'\n"
        "permissions: {\n"
        "  publish: { allow: [\n"
        '    "smith.intents.raw.fs.read.v1"\n'
        '    "smith.intents.vetted.*.*.*.*"\n'
        '    "$JS.API.CONSUMER.LIST.ATOMS_VETTED"\n'  # an interest stream drops what no consumer takes
        '    "smith.logs.errors.*"\n'
        "  ] }\n"
        "  subscribe: { allow: [\n"
        '    "_INBOX_publisher.>"\n'
        "  ] }\n"
        "}\n"
    )


def test_a_publisher_may_ask_whether_a_stream_takes_batches() -> None:
    assert "$JS.API.STREAM.INFO.ORDERS" in permissions.block(SHOP, "publisher", subjects=["orders"]).publish
    assert not [one for one in permissions.block(SHOP, "publisher", subjects=["late"]).publish if "INFO" in one]


def test_the_command_of_nsc_is_one_for_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    text = emitted(capsys, "smith_sdk", "--role", "executer", "--format", "nsc", "--inbox-prefix", "_INBOX_web")
    comment, command = text.split("\n", 1)
    assert comment == "# executer: connect with inbox_prefix='_INBOX_web'"
    assert shlex.split(command.replace("\\\n", "")) == [
        *("nsc", "add", "user", "--name", "executer"),
        *("--allow-pub", "smith.intents.raw.*.*.*", "--allow-pub", "$JS.API.STREAM.MSG.GET.ATOMS_RESULTS"),
        *("--allow-sub", "smith.results.*", "--allow-sub", "_INBOX_web.>"),
    ]


def test_json_has_what_the_server_has(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(emitted(capsys, str(HERE / "acme.toml"), "--role", "publisher", "--subjects", "tick", "--format", "json"))
    assert found == {
        "role": "publisher",
        "inbox_prefix": "_INBOX_publisher",
        "permissions": {"publish": {"allow": ["acme.tick"]}, "subscribe": {"allow": ["_INBOX_publisher.>"]}},
    }


def test_a_worker_may_reply_and_no_other_role_may() -> None:
    worker = permissions.block(SMITH, "worker", consumers=["executor-fs-read"])
    assert '  allow_responses: { max: 1, expires: "2s" }\n' in permissions.as_conf(worker)
    assert json.loads(permissions.as_json(worker))["permissions"]["allow_responses"] == {"max": 1, "expires": "2s"}
    assert shlex.split(permissions.as_nsc(worker).replace("\\\n", ""))[-3:] == ["--allow-pub-response=1", "--response-ttl", "2s"]
    assert permissions.block(SMITH, "admission").may_reply
    for role in ("executer", "health", "operator", "dlq-operator"):
        block = permissions.block(SMITH, role)
        assert not block.may_reply
        assert "allow_responses" not in permissions.as_conf(block) + permissions.as_json(block)


def test_another_api_stands_in_every_request(capsys: pytest.CaptureFixture[str]) -> None:
    found = emitted(capsys, "smith_sdk", "--role", "admission", "--trust", "--api-prefix=other.API")
    assert "$JS.API" not in found
    assert "other.API.CONSUMER.MSG.NEXT.SDLC_RAW.admission" in found
    assert "other.API.$KV.SMITH_NONCES.>" in found  # keys of another account are reached through its API
    assert "$JS.ACK.SDLC_RAW.admission.>" in found


def test_the_api_of_a_domain_is_allowed_as_its_own_server_maps_it_too() -> None:
    api, own = (
        permissions.block(SMITH, "admission", replay_protection=True, api_prefix=prefix) for prefix in ("$JS.hub.API", "$JS.API")
    )
    requests = {one for one in own.publish if one.startswith("$JS.API.")}
    mapped = {one.replace("$JS.API.", "$JS.hub.API.") for one in requests}
    assert set(api.publish) == {*own.publish, *mapped, "$JS.hub.API.$KV.SMITH_NONCES.>"}


def test_admission_has_its_bucket_with_replay_protection_alone() -> None:
    plain, protected = (permissions.block(SMITH, "admission", replay_protection=on) for on in (False, True))
    assert set(protected.publish) - set(plain.publish) == {
        "$KV.SMITH_NONCES.>",
        "$JS.API.STREAM.INFO.KV_SMITH_NONCES",
        "$JS.API.STREAM.MSG.GET.KV_SMITH_NONCES",
    }


def test_a_worker_has_the_keys_of_its_own_consumer_alone_in_the_bucket_of_its_once() -> None:
    plain, once = (permissions.block(SMITH, "worker", consumers=["executor-fs-read"], once=name) for name in ("", "SMITH_NONCES"))
    assert set(once.publish) - set(plain.publish) == {
        "$KV.SMITH_NONCES.ATOMS_VETTED.executor-fs-read.*",
        "$JS.API.STREAM.INFO.KV_SMITH_NONCES",
        "$JS.API.STREAM.MSG.GET.KV_SMITH_NONCES",
    }


def test_a_worker_of_another_contract_has_its_own_subjects() -> None:
    (name, decl), *_ = ACME.consumers.items()
    found = permissions.block(ACME, "worker", consumers=[name])
    where = f"{decl.stream}.{name}"
    asked = ("$SRV.*", f"$SRV.*.{name}", f"$SRV.*.{name}.*")  # by `nats micro`
    assert (found.name, found.inbox_prefix, found.subscribe) == (name, f"_INBOX_{name}", (*asked, f"_INBOX_{name}.>"))
    assert {
        f"$JS.API.CONSUMER.INFO.{where}",
        f"$JS.API.CONSUMER.MSG.NEXT.{where}",
        f"$JS.ACK.{where}.>",
        f"acme.dead.{where}.*",
    } <= set(found.publish)
    assert not [one for one in found.publish if one.startswith("smith.")]


def test_a_worker_of_a_contract_that_extends_smiths_answers_callers_of_its_intents() -> None:
    brew = sources.load(HERE / "brew.toml")
    asked, cellar = (set(permissions.block(brew, "worker", consumers=[name]).publish) for name in ("asked", "cellar"))
    assert {"smith.dlq.BREW.asked.*", "smith.results.*", "$JS.API.CONSUMER.MSG.NEXT.BREW.asked"} <= asked
    assert "smith.dlq.BREW.cellar.*" in cellar
    assert "smith.results.*" not in cellar  # it has no intents
    chosen = permissions.block(brew, "publisher", subjects=["batches.asked:capability=fs.read.v1,kettle=0a", "restarts"])
    assert chosen.publish == ("brew.asked.fs.read.v1.0a", "smith.events.brew.*")


@pytest.mark.parametrize("spec", [SMITH, ACME, SHOP], ids=["smith", "acme", "shop"])
@pytest.mark.parametrize("role", permissions.ROLES)
def test_every_role_of_every_contract_is_emitted_or_refused_with_what_exists(spec: Any, role: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "publisher": {"subjects": list(spec.subjects)},
        "worker": {"consumers": list(spec.consumers)},
        "reader": {"streams": list(spec.streams)},
    }
    lacking = {"executer", "admission", "auditor", "back-pressure", "quarantine-operator"} if spec is not SMITH else set()
    if role in lacking or (role == "dlq-operator" and not any(one.dead_letters for one in spec.subjects.values())):
        with pytest.raises(permissions.RoleError, match="declares no"):
            permissions.block(spec, role)
        return
    found = permissions.block(spec, role, **options.get(role, {}))
    for allowed in (found.publish, found.subscribe):
        assert len(set(allowed)) == len(allowed)
    if role != "operator":  # the only one that may change streams, or read them all
        assert not [one for one in found.publish if one in (">", "$JS.>", "$JS.API.>") or ".STREAM.UPDATE." in one]
    assert ">" not in found.subscribe


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "a role is needed, one of publisher, executer, worker"),
        (("--role", "boss"), "'boss' is not a role: a role is needed, one of publisher"),
        (("--role", "publisher"), "name its subjects with --subjects: "),
        (("--role", "publisher", "--subjects", "raw"), "declares no subject raw: ai_sdlc.action_request, "),
        (("--role", "publisher", "--subjects", "intents.raw:domain=x"), "with a token of smith.intents.raw.{capability}"),
        (("--role", "publisher", "--subjects", "intents.raw:capability=fs"), "capability is one of fs.read.v1, fs.write.v1"),
        (("--role", "publisher", "--subjects", "results:intent_id=a b"), "'a b' is not a valid token"),
        (("--role", "executer", "--subjects", "results"), "results carries IntentResult, not intents"),
        (("--role", "worker"), "name its consumer with --consumer: admission, audit-collector, "),
        (("--consumer", "executor"), "declares no consumer executor: admission, audit-collector, "),
        (("--role", "reader"), "name what it reads with --streams or --subjects"),
        (("--role", "reader", "--streams", "RAW"), "declares no stream RAW: ATOMS_RESULTS, "),
        (("--role", "health", "--consumer", "admission"), "role health does not take --consumer"),
        (("--role", "worker", "--consumer", "admission", "--trust"), "does not take --replay-protection: it takes --consumer"),
        (("--role", "health", "--once", "SMITH_NONCES"), "role health does not take --once"),
        (("--consumer", "admission", "--once", "NO"), "declares no stream KV_NO, the bucket of once=Once(...): "),
        (("--role", "health", "--inbox-prefix", "a.>"), "the inbox prefix 'a.>' is not a valid subject"),
        (("--role", "health", "--inbox-prefix", "smith"), "the inbox prefix 'smith' holds subject "),
        (("--role", "health", "--inbox-prefix", "smith.results"), "holds subject results of the spec: take one that no"),
        (("--role", "health", "--js-domain", ""), "'' is not a valid JetStream domain: one token"),
        (("--role", "health", "--js-domain", "*"), "'*' is not a valid JetStream domain"),
        (("--role", "health", "--js-domain", "a.b"), "'a.b' is not a valid JetStream domain"),
        (("--role", "health", "--js-domain", "a b"), "'a b' is not a valid JetStream domain"),
        (("--role", "health", "--api-prefix", ""), "the API prefix '' is not a valid subject"),
        (("--role", "health", "--api-prefix", ">"), "the API prefix '>' is not a valid subject"),
        (("--role", "health", "--api-prefix", "a..b"), "the API prefix 'a..b' is not a valid subject"),
        (("--role", "health", "--api-prefix", 'a"] } } b'), "is not a valid subject: tokens joined by dots"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert words in refused(capsys, "smith_sdk", *arguments)


def test_a_dot_at_the_end_of_an_api_prefix_is_left_out_as_the_bus_does() -> None:
    assert permissions.block(SMITH, "health", api_prefix="imported.api.") == permissions.block(
        SMITH, "health", api_prefix="imported.api"
    )


def test_users_stand_in_one_block_with_their_permissions() -> None:
    health = permissions.Permissions(
        role="health", name="h", inbox_prefix="_INBOX_h", publish=("a.*",), subscribe=("_INBOX_h.>",)
    )
    users = [permissions.User(name="all", password="p"), permissions.User(nkey="UABC", permissions=health)]
    assert permissions.authorization(users).splitlines() == [
        "authorization {",
        "  users: [",
        '    { user: "all", password: "p"',
        "    }",
        '    { nkey: "UABC"',
        "      permissions: {",
        "        publish: { allow: [",
        '          "a.*"',
        "        ] }",
        "        subscribe: { allow: [",
        '          "_INBOX_h.>"',
        "        ] }",
        "      }",
        "    }",
        "  ]",
        "}",
    ]


def test_a_spec_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "subjects2.toml" in refused(capsys, "subjects2.toml", "--role", "health")
    assert "package smith_sdk2 is not installed" in refused(capsys, "smith_sdk2", "--role", "health")


def test_it_needs_neither_the_sdk_nor_jinja2() -> None:
    code = (
        "import sys, smith_codegen.permissions, smith_codegen.sources; print({'jinja2', 'smith_sdk', 'nats'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
