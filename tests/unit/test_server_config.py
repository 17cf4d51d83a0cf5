"""What the configuration of an embedded server says about logins."""

from __future__ import annotations

from pathlib import Path

import pytest

from smith_sdk.embedded.config import has_login, secrets_in


@pytest.mark.parametrize(
    "config",
    [
        "authorization { user: u, password: p }",
        "authorization: { token: t }",
        "authorization = {token: t}",
        "Authorization{token: t}",
        '"authorization" { token: t }',
        "port: 4222\naccounts {\n  A: { users: [] }\n}",
        "http: 8222, accounts { A: {} }",
        "jetstream { max_mem: 1G } accounts { A: {} }",
        "operator: /etc/nats/op.jwt",
        "trusted_keys: [OA]",
        "no_auth_user: me",
        "# a comment\n// another\naccounts { }",
        "server_name: here # accounts\nauthorization { token: t }",
    ],
)
def test_a_login_of_the_callers(config: str) -> None:
    assert has_login(config)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "max_payload: 4096",
        "# authorization { token: t }",
        "// accounts { A: {} }",
        "server_name: accounts",
        "server_name accounts",
        'server_name: "x" // authorization { }',
        "server_tags: [\"authorization { token: t }\", 'accounts {']",
        "cluster { name: c, authorization { user: u, password: p }, routes: [nats://127.0.0.1:1] }",
        "leafnodes {\n  listen: 127.0.0.1:-1\n  authorization { user: u, password: p }\n}",
        "websocket { port: -1, no_tls: true, no_auth_user: me }",
        "routes = [\n nats://a:b@127.0.0.1:1\n nats://127.0.0.1:2\n]",
        "include /nowhere/at/all.conf",
    ],
)
def test_none_of_the_callers(config: str) -> None:
    assert not has_login(config)


def test_included_files_count(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner.conf", tmp_path / "outer.conf"
    inner.write_text("accounts { A: { users: [{ user: u, password: p }] } }")
    outer.write_text(f"max_payload: 4096\ninclude '{inner}'\n")
    assert has_login(f'include "{outer}"')
    inner.write_text("max_connections: 10")
    assert not has_login(f"include {outer}")
    inner.write_text(f"include {outer}")  # without end
    assert not has_login(f"include {outer}")


def test_the_longest_secret_is_replaced_first() -> None:
    config = "authorization { users: [{ user: u, password: abc }, { user: v, pass = 'abcdef' }], token: \"t\" }\nremotes: nats://x:yz@h"
    assert secrets_in(config) == ["abcdef", "x:yz", "abc", "t"]
