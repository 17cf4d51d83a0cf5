"""Policies in files: what rules match, and each mistake in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from buses import read_intent

from smith_sdk import Allow, Deny, Quarantine, policy
from smith_sdk.errors import OptionsError
from smith_sdk.protocol import (
    BenchReportV1Intent,
    BenchReportV1Params,
    FsReadV1Intent,
    FsReadV1Params,
    HttpFetchV1Intent,
    HttpFetchV1Params,
    ShellExecV1Intent,
    ShellExecV1Params,
)
from smith_sdk.signing import sign

SIGNER = sign(read_intent(), bytes(32)).signer


def made(directory: Path, text: str) -> policy.FilePolicy:
    path = directory / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return policy.load(path)


def reading(path: str, **params: Any) -> FsReadV1Intent:
    return FsReadV1Intent.new(domain="default", params=FsReadV1Params(path=path, **params))


def fetching(url: str, **params: Any) -> HttpFetchV1Intent:
    return HttpFetchV1Intent.new(domain="default", params=HttpFetchV1Params(url=url, **params))


def shell(command: str) -> ShellExecV1Intent:
    return ShellExecV1Intent.new(domain="default", params=ShellExecV1Params(command=command))


def test_the_first_rule_that_matches_decides_and_the_rest_is_denied(tmp_path: Path) -> None:
    decide = made(
        tmp_path,
        """
        [[rule]]
        name = "no secrets"
        effect = "deny"
        params.path = "**/secret/**"
        reason = "nobody reads secrets"

        [[rule]]
        effect = "allow"
        capability = "fs.*"
        params.path = ["/srv/**", "/etc/hostname"]

        [[rule]]
        name = "shells"
        effect = "quarantine"
        capability = ["shell.exec.v1", "git.*"]
        """,
    )
    assert decide(reading("/srv/a/b")) == Allow("allowed by rule rule-2", "rule-2")
    assert decide(reading("/etc/hostname")) == Allow("allowed by rule rule-2", "rule-2")
    assert decide(reading("/srv/secret/b")) == Deny("nobody reads secrets", "no secrets")
    assert decide(shell("true")) == Quarantine("quarantined by rule shells", "shells")
    for other in (reading("/etc/passwd"), reading("srv/a"), fetching("/srv/a")):
        assert decide(other) == Deny("no rule of the policy allows it", "default")
    assert str(tmp_path) in repr(decide)


@pytest.mark.parametrize(
    ("glob", "value", "matches"),
    [
        ("/srv/*", "/srv/a", True),
        ("/srv/*", "/srv/", True),
        ("/srv/*", "/srv/a/b", False),
        ("/srv/**", "/srv/a/b", True),
        ("/srv/*/c", "/srv/a/c", True),
        ("/srv/*/c", "/srv/a/b/c", False),
        ("/srv/*", "/srv/a\nb", True),
        ("/srv/*", "x/srv/a", False),
        ("/srv/**", "/srv/../etc/shadow", False),
        ("/srv/**", "/srv/a/..", False),
        ("/srv/**", "/srv/..\\etc", False),
        ("**", "../x", False),
        ("**", "a..b/...", True),
        ("/a.b", "/axb", False),
        ("/a[b]?", "/a[b]?", True),
        ("/srv/../x", "/srv/../x", True),
    ],
)
def test_globs_of_paths(tmp_path: Path, glob: str, value: str, matches: bool) -> None:
    decide = made(tmp_path, f"[[rule]]\neffect = 'allow'\nparams.path = '{glob}'\n")
    assert isinstance(decide(reading(value)), Allow) is matches


@pytest.mark.parametrize(
    ("url", "matches"),
    [
        ("https://a.example.com/x", True),
        ("https://a.b.example.com/x/y?z", True),
        ("https://evil.com/.example.com/", False),
        ("https://evil.com?.example.com/", False),
        ("https://evil.com#.example.com/", False),
        ("https://evil.com\\.example.com/", False),
        ("http://a.example.com/x", False),
        ("https://a.example.com/../x", False),
        ("https://a.example.com/%2E%2e/x", False),
        ("https://a.example.com/y/.%2e%2Fx", False),
        ("https://a.example.com/y/..?x", False),
        ("https://a.example.com/y/..;/x", False),
        ("https://a.example.com/y...?x", True),
    ],
)
def test_a_star_stays_within_the_host_of_a_url(tmp_path: Path, url: str, matches: bool) -> None:
    decide = made(tmp_path, "[[rule]]\neffect = 'allow'\nparams.url = 'https://*.example.com/**'\n")
    assert isinstance(decide(fetching(url)), Allow) is matches


def test_a_path_that_climbs_is_denied_by_what_would_deny_it_as_written(tmp_path: Path) -> None:
    decide = made(tmp_path, "[[rule]]\neffect = 'deny'\nparams.path = '/srv/**'\nreason = 'no'\n[[rule]]\neffect = 'allow'\n")
    assert decide(reading("/srv/../etc")) == Deny("no", "rule-1")


def test_numbers_and_booleans(tmp_path: Path) -> None:
    decide = made(
        tmp_path,
        """
        [[rule]]
        effect = "allow"
        capability = "fs.read.v1"
        params.max_bytes = { min = 1, max = 100 }
        params.follow_symlinks = false

        [[rule]]
        effect = "allow"
        capability = "http.fetch.v1"
        params.timeout_ms = 30
        params.method = "GET"
        """,
    )

    def allows(intent: Any) -> bool:
        return isinstance(decide(intent), Allow)

    assert [allows(reading("/x", max_bytes=count, follow_symlinks=False)) for count in (0, 1, 100, 101)] == [
        False,
        True,
        True,
        False,
    ]
    assert not allows(reading("/x", max_bytes=1, follow_symlinks=True))
    assert not allows(reading("/x", max_bytes=1)), "absent is no value"
    assert not allows(reading("/x", follow_symlinks=False)), "absent is no limit"
    assert allows(fetching("x", timeout_ms=30, method="GET"))
    assert not allows(fetching("x", timeout_ms=31, method="GET"))
    assert not allows(fetching("x", timeout_ms=30, method="get"))


def test_domains_and_signers(tmp_path: Path) -> None:
    decide = made(
        tmp_path,
        f"[[rule]]\neffect = 'allow'\ndomain = ['default', 'build-*']\nsigner = ['{SIGNER}', 'AAAA*']\n",
    )
    signed = sign(reading("/x"), bytes(32))
    assert isinstance(decide(signed), Allow)
    assert isinstance(decide(sign(reading("/x"), bytes(range(32)))), Deny)
    assert isinstance(decide(sign(FsReadV1Intent.new(domain="build-7", params=FsReadV1Params(path="x")), bytes(32))), Allow)
    assert isinstance(decide(sign(FsReadV1Intent.new(domain="other", params=FsReadV1Params(path="x")), bytes(32))), Deny)
    # Without a signature anybody can name any signer.
    assert isinstance(decide(FsReadV1Intent.new(domain="default", signer=SIGNER, params=FsReadV1Params(path="x"))), Deny)
    with pytest.raises(OptionsError, match="rule 1: signer: without a Trust"):
        policy.load(tmp_path / "policy.toml", signers=False)


def test_a_parameter_that_several_capabilities_have(tmp_path: Path) -> None:
    decide = made(tmp_path, "[[rule]]\neffect = 'allow'\ncapability = '*'\nparams.path = '/x'\n")
    assert isinstance(decide(reading("/x")), Allow)
    assert isinstance(decide(shell("/x")), Deny)
    report = BenchReportV1Intent.new(domain="d", params=BenchReportV1Params(benchmark_name="/x", metrics={}))
    assert isinstance(decide(report), Deny)


RULE = "[[rule]]\neffect = 'allow'\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no rule"),
        ("rule = []", "has no rule"),
        ("rule = 1", "has no rule"),
        ("[rule]\neffect = 'allow'", r"has no rule.*\[\[rule\]\]"),
        ("[[rules]]\neffect = 'allow'", "unknown key 'rules'"),
        (RULE + "[other]\n", "unknown key 'other'"),
        ("[[rule]]\neffect =", "is not valid TOML: "),
        ("[[rule]]\n", "rule 1: effect: missing; one of allow, deny, quarantine"),
        (RULE + "[[rule]]\neffect = 'Allow'", "rule 2: effect: 'Allow'"),
        ("[[rule]]\neffect = true", "rule 1: effect: True"),
        (RULE + "capabilty = 'fs.*'", "rule 1: 'capabilty': unknown key"),
        (RULE + "capability = 'fs.raed.v1'", "rule 1: capability: 'fs.raed.v1' matches none of fs.read.v1"),
        (RULE + "capability = []", "rule 1: capability: an empty list"),
        (RULE + "capability = 7", "rule 1: capability: 7 is not a text"),
        (RULE + "domain = ['']", "rule 1: domain: '' is not a text"),
        (RULE + "signer = 'abc'", "rule 1: signer: 'abc' is not base64 of 32 bytes"),
        (RULE + "reason = 1", "rule 1: reason: 1 is not a text"),
        (RULE + "name = ' '", "rule 1: name: ' ' is not a text"),
        (RULE + "name = 'a'\n" + RULE + "name = 'a'", "rule 2: name: 'a' is that of rule 1"),
        (RULE + "params = 'x'", "rule 1: params: 'x' is not a table"),
        (
            RULE + "capability = 'fs.read.v1'\nparams.url = 'x'",
            "rule 1: params.url: fs.read.v1 has no such parameter; there are follow",
        ),
        (RULE + "params.pathh = 'x'", "rule 1: params.pathh"),
        (RULE + "params.path = 1", "rule 1: params.path: the parameter is text"),
        (RULE + "params.path = {max = 1}", "rule 1: params.path: the parameter is text"),
        (RULE + "params.max_bytes = '1'", "rule 1: params.max_bytes: the parameter is a number"),
        (RULE + "params.max_bytes = true", "rule 1: params.max_bytes: the parameter is a number"),
        (RULE + "params.follow_symlinks = 1", "rule 1: params.follow_symlinks: the parameter is true or false"),
        (RULE + "params.max_bytes = {least = 1}", "rule 1: params.max_bytes.least: unknown key"),
        (RULE + "params.max_bytes = {max = 'x'}", "rule 1: params.max_bytes.max: 'x' is not a number"),
        (RULE + "params.max_bytes = {max = nan}", "rule 1: params.max_bytes.max: nan is not a number"),
        (RULE + "params.max_bytes = {min = 2, max = 1}", "rule 1: params.max_bytes: it matches no number"),
        (RULE + "params.max_bytes = nan", "rule 1: params.max_bytes: nan is not a number"),
        (RULE + "params.max_bytes = {min = inf}", "rule 1: params.max_bytes: it matches no number"),
        (RULE + "params.max_bytes = {max = -inf}", "rule 1: params.max_bytes: it matches no number"),
        (RULE + "params.max_bytes = {}", "rule 1: params.max_bytes: it matches no number"),
        (RULE + "params.args = 'x'", "rule 1: params.args: the parameter is a list or map.*in Python"),
        (RULE + "params.headers = {max = 1}", "rule 1: params.headers: the parameter is a list or map"),
    ],
)
def test_every_mistake_is_refused_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(OptionsError, match=problem) as caught:
        made(tmp_path, text)
    assert str(tmp_path / "policy.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_may_begin_with_the_mark_of_an_editor(tmp_path: Path) -> None:
    assert isinstance(made(tmp_path, "\ufeff" + RULE)(reading("/x")), Allow)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="cannot be read"):
        policy.load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(OptionsError, match="cannot be read"):
        policy.load(str(tmp_path / "latin.toml"))


def test_a_file_that_changes_applies_at_once_unless_it_is_not_valid(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    decide = made(tmp_path, RULE)
    new = tmp_path / "new"
    new.write_text("[[rule]]\neffect = 'deny'\nreason = 'closed'\n")
    os.replace(new, tmp_path / "policy.toml")
    assert decide(reading("/x")) == Deny("closed", "rule-1")
    new.write_text("[[rule]]\neffect = 'nonsense'\n")
    os.replace(new, tmp_path / "policy.toml")
    for _ in range(3):
        assert decide(reading("/x")) == Deny("closed", "rule-1")
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert "stays in force" in record.getMessage()
    assert "rule 1: effect: 'nonsense'" in record.getMessage()
