"""Where `smith` connects, and as whom: options, variables, and contexts of the nats command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from buses import Account
from cli import Smith
from identities import Authority, NKey, Operator

CLOSED = "nats://127.0.0.1:1"
LIST = ("streams", "ls", "--json")


@pytest.fixture
def smith(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Smith:
    """`smith` for a user without any variable and context."""
    for name in [name for name in os.environ if "NATS" in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return Smith(capsys)


def write_context(tmp_path: Path, name: str, *, select: bool = False, **settings: Any) -> Path:
    file = tmp_path / "nats" / "context" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    empty = dict.fromkeys(("description", "token", "user", "password", "creds", "nkey", "ca", "socks_proxy", "inbox_prefix"), "")
    file.write_text(json.dumps({**empty, "tls_first": False, **settings}))  # as the nats command writes them
    if select:
        (tmp_path / "nats" / "context.txt").write_text(f"{name}\n")
    return file


def test_the_selected_context_is_used(smith: Smith, account: Account, tmp_path: Path) -> None:
    assert smith(*LIST).status == 1
    assert "nats://127.0.0.1:4222" in smith.err
    assert "`smith dev` starts a server" in smith.err
    write_context(tmp_path, "near", url=account.url, select=True)
    assert (smith(*LIST).status, smith.json, smith.err) == (0, [], "")
    write_context(tmp_path, "far", url=CLOSED)
    assert smith(*LIST, "--context", "far").status == 1
    assert f"no NATS server at {CLOSED}" in smith.err
    assert "(from context far)" in smith.err
    write_context(tmp_path, "near", url=CLOSED, select=True)
    assert smith(*LIST).status == 1
    assert "(from the selected context near)" in smith.err


def test_the_first_place_that_names_a_server_counts(
    smith: Smith, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_context(tmp_path, "far", url=CLOSED, password="hidden", user="me", select=True)
    assert smith(*LIST, "--url", account.url).status == 0
    monkeypatch.setenv("NATS_URL", account.url)
    assert (smith(*LIST).status, smith.err) == (0, ""), "the selected context is about another server"
    assert smith(*LIST, "--context", "far").status == 0
    assert "warning: NATS_URL is set, so the url of context far is not used" in smith.err
    monkeypatch.setenv("SMITH_NATS_URL", CLOSED)
    assert smith(*LIST).status == 1
    assert "(from SMITH_NATS_URL)" in smith.err
    assert smith(*LIST, "--url", f"{CLOSED}1").status == 1
    assert "(from --url)" in smith.err
    monkeypatch.delenv("SMITH_NATS_URL")
    monkeypatch.delenv("NATS_URL")
    monkeypatch.setenv("NATS_CONTEXT", "near")
    write_context(tmp_path, "near", url=account.url)
    assert smith(*LIST).status == 0
    assert "hidden" not in smith.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no {file}; `nats context ls` lists the contexts"),
        ("{", "{file} cannot be read: it is not JSON"),
        ('["hidden"]', "{file} does not contain a JSON object"),
        ('{"url": "nats://a", "password": 12345, "user": "hidden"}', "password in {file} is not a string"),
        ('{"token": "hidden", "creds": "/hidden.creds"}', "context odd: Auth: give one way to sign in, not token and creds"),
        ('{"jetstream_domain": "h.b"}', "context odd: jetstream_domain='h.b': must be one token"),
        ('{"tls_first": "yes"}', "tls_first in {file} is not true or false"),
    ],
)
def test_a_context_that_cannot_be_used_is_one_line(smith: Smith, tmp_path: Path, text: str | None, said: str) -> None:
    file = write_context(tmp_path, "odd", select=True)
    file.unlink() if text is None else file.write_text(text)
    for arguments in ((), ("--context", "odd")):
        assert (smith(*LIST, *arguments).status, smith.out) == (1, "")
        (line,) = smith.err.splitlines()
        assert said.format(file=file) in line
        assert not {"hidden", "12345"} & set(line.split())


def test_a_selection_that_cannot_be_read_is_one_line(smith: Smith, tmp_path: Path) -> None:
    (tmp_path / "nats" / "context.txt").mkdir(parents=True)
    assert smith(*LIST).status == 1
    assert f"{tmp_path}/nats/context.txt, which names the selected context, cannot be read: Is a directory" in smith.err
    assert smith(*LIST, "--context", "../up").status == 1
    assert "expected the name of a context" in smith.err


def test_what_a_context_has_and_is_not_supported_is_named(smith: Smith, account: Account, tmp_path: Path) -> None:
    file = write_context(tmp_path, "odd", url=account.url, user_jwt="hidden", nsc="nsc://hidden", later="x", select=True)
    assert smith(*LIST).status == 0
    assert smith.err == f"smith: warning: context odd: nsc, user_jwt, later in {file} is not supported, and not used\n"


def test_credentials_are_options_of_every_command(smith: Smith, make_server: Any, tmp_path: Path) -> None:
    operator, authority, user = Operator(), Authority(tmp_path, "ours"), NKey("U")
    creds, seed = tmp_path / "user.creds", tmp_path / "user.nk"
    creds.write_text(operator.creds(operator.user))
    seed.write_text(user.seed)
    cert, key = authority.certificate("server")
    mine, my_key = authority.certificate("client")
    tls = f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{authority.ca}", verify: true }}'
    nkeys = f"authorization {{ users: [ {{ nkey: {user.public} }} ] }}"
    # None of the servers has JetStream: a command that gets that far has signed in.
    for config, options in (
        (operator.config, ("--creds", str(creds))),
        (nkeys, ("--nkey", str(seed))),
        (tls, ("--tlsca", authority.ca, "--tlscert", mine, "--tlskey", my_key)),
    ):
        url = make_server(config=config, jetstream=False).url
        for command in (LIST, ("dlq", "ls"), ("consumers", "ls"), ("execute", "fs.read.v1", "path=/x")):
            assert smith(*command, "--url", url).status == 1
            assert "refused the credentials" in smith.err or "TLS" in smith.err or "certificate" in smith.err, smith.err
            assert "(from --url)" in smith.err
            assert smith(*command, "--url", url, *options, *(("--timeout", "30") if command[0] == "execute" else ())).status == 1
            assert "JetStream" in smith.err, smith.err
    assert smith(*LIST, "--creds", str(creds), "--nkey", str(seed)).err == (
        "smith: --creds and --nkey exclude each other: pass one of them\n"
    )
    assert smith(*LIST, "--tlscert", mine).err == "smith: --tlscert and --tlskey go together: pass both\n"
    assert smith(*LIST, "--creds", "/no/such.creds", "--url", CLOSED).status == 1
    assert "/no/such.creds cannot be read: No such file or directory" in smith.err


def test_what_is_wrong_with_the_server_is_one_line_with_a_remedy(smith: Smith, make_server: Any) -> None:
    without = make_server(jetstream=False)
    assert smith(*LIST, "--url", without.url).status == 1
    warning, line = smith.err.splitlines()
    assert warning.startswith("smith: warning: a password in --url shows in the process list")
    assert line.endswith(": start nats-server with -js, or enable it for the account")
    assert line.count("-js") == 1
    permissions = 'permissions: { publish: { deny: ["$JS.API.>"] } }'
    denied = make_server(config=f"authorization {{ users: [ {{ user: a, password: b, {permissions} }} ] }}")
    url = denied.url.replace("//", "//a:b@")
    assert smith(*LIST, "--url", url).status == 1
    _, line = smith.err.splitlines()
    assert "$JS.API.STREAM" in line
    assert "use credentials that may (--creds, --nkey or --context)" in line
    for wrong, said in (("nats://", "(from --url)"), ("http://x:1", "(from --url)")):
        assert smith(*LIST, "--url", wrong).status == 1
        assert said in smith.err, smith.err
        assert len(smith.err.splitlines()) == 1
