"""`smith monitor`: its file, what it prints, whom it tells, and how it ends."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest
from buses import read_intent
from cli import Smith
from plain_server import HOST, PlainServer, free_port
from receiver import Receiver, status
from support import eventually
from worker_command import LONG, Run

from smith_sdk import SmithBus, subjects
from smith_sdk.alerts import Alert, lag_above, oldest_above, redelivery_rate_above, stalled
from smith_sdk.cli.monitor_config import MonitorConfig, read_config
from smith_sdk.errors import OptionsError
from smith_sdk.topology import CONTRACT

SECRET: Final = "a secret of twenty-four b"
FULL: Final = """
service = "ops"
profile = "dev"
interval = "1s"
unknown_after = "2m"
stalled_after = "1m30s"
drift_every = "5m"
without = ["drift", "oldest-admission"]

[[rule]]
name = "slow-web"
consumer = "executor-http-fetch"
oldest_above = "5m"
clear_below = "2m"
for = "30s"
hold = "1m"
severity = "critical"
remedy = "call the web team"

[[rule]]
name = "stalled-admission"
consumer = "admission"
stalled = true
lag_above = 10

[[rule]]
dead_letters_above = 0.5

[[webhook]]
url = "https://ops.example.com/hook"
secret_file = "key"
timeout = "5s"
keep = "2h"
"""


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def made(text: str) -> MonitorConfig:
        (tmp_path / "key").write_text(SECRET)
        (tmp_path / "monitor.toml").write_text(text)
        return read_config(tmp_path / "monitor.toml", CONTRACT)

    return made


def test_a_file_is_read(read: Any) -> None:
    found = read(FULL)
    rules = {one.name: one for one in found.rules}
    slow = rules["slow-web"]
    assert slow.when == oldest_above("executor-http-fetch", 300, clear_below=120)
    assert (slow.severity, slow.for_, slow.hold, slow.remedy) == ("critical", 30, 60, "call the web team")
    assert rules["stalled-admission"].when == lag_above("admission", 10) & stalled("admission")
    assert "stalled-executor-http-fetch" in rules  # by default
    assert not {"drift", "oldest-admission"} & set(rules)
    assert [one.name for one in found.rules].count("dead-letters") == 1
    assert found.options == {"interval": 1, "unknown_after": 120, "stalled_after": 90, "drift_every": 300}
    assert found.profile == "dev"
    assert [repr(one) for one in found.notify if "webhook" in repr(one)] == ["<Notifier webhook https://ops.example.com>"]
    assert len(found.notify) == 2


def test_only_the_rules_of_the_file_may_count(read: Any) -> None:
    found = read('default_rules = false\n[[rule]]\nconsumer = "admission"\nredelivery_rate_above = 0.5')
    assert [one.when for one in found.rules] == [redelivery_rate_above("admission", 0.5)]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("intervall = 5", 1, "unknown key 'intervall'; did you mean interval?: the file may have service, profile, interval"),
        ("\ninterval = 5", 2, 'interval = 5: write a number and ms, s, m, h or d, such as "90s"'),
        ('interval = "fast"', 1, 'interval = "fast": write a number'),
        ('drift_every = "1m"\ninterval = "0s"', 2, "interval=0.0: must be a finite number of seconds, above 0"),
        ('default_rules = "no"', 1, "write true or false"),
        ('without = ["drifft"]', 1, "there is no rule 'drifft' by default; did you mean drift?"),
        ("without = 7", 1, "without = 7: write a list"),
        ('interval = "5s"\nprofile = "live"', 2, "profile 'live': no profile 'live' in contract 'smith'; it has dev, prod"),
        ("service = 7", 1, "service = 7: write a text"),
        ("default_rules = false", 0, "there are no rules"),
        ("[rule]", 1, "write each as a table [[rule]]"),
        ('[[rule]]\nname = "a"', 1, "a rule needs a condition: one of lag_above"),
        (
            '[[rule]]\nconsumer = "admission"\nlag_abov = 1',
            3,
            "unknown key 'lag_abov'; did you mean lag_above?: a rule may have name",
        ),
        ("[[rule]]\nlag_above = 1", 2, "lag_above: needs consumer = ...: one of "),
        ("[[rule]]\nutilisation_above = 0.5", 2, "utilisation_above: needs stream = ..."),
        ('[[rule]]\nconsumer = "admision"\nlag_above = 1', 2, "declares no such consumer; did you mean admission?"),
        ('[[rule]]\nconsumer = "admission"\nlag_above = "1"', 3, 'lag_above = "1": write a number'),
        ('[[rule]]\nconsumer = "admission"\nlag_above = 0', 3, "lag_above(above)=0: must be"),
        ('[[rule]]\nconsumer = "admission"\nstalled = false', 3, "stalled = false: write stalled = true"),
        ('[[rule]]\nconsumer = "admission"\nstalled = true\nclear_below = 1', 4, "clear_below: goes with one condition"),
        ('[[rule]]\nstream = "SDLC_RAW"\nconsumer = "admission"\nlag_above = 1', 2, "stream: goes with one of utilisation_above"),
        ('[[rule]]\ndrifted = true\nseverity = "bad"', 1, "must be one of warning, critical"),
        ("[[rule]]\ndrifted = true\nfor = 5", 3, "for = 5: write a number and ms"),
        ('[[rule]]\ndrifted = true\nname = "a"\n[[rule]]\ndrifted = true\nname = "a"', 6, "'a' is the name of another rule"),
        ("[[webhook]]\nsecret_file = 'key'", 1, "needs one of url, url_file and url_env"),
        ("[[webhook]]\nurl = 'https://h/'\nsecret = 'x'", 3, "unknown key 'secret'"),
        ("[[webhook]]\nurl = 'ftp://h/planted'", 1, "must be https:// or http://"),
        ("[[webhook]]\nurl_env = 'NO_SUCH'", 2, "the environment variable NO_SUCH is not set"),
        ("[[webhook]]\nurl_file = 'no-such'", 2, "no-such cannot be read"),
        ("[[webhook]]\nurl = 'https://h/'\nsecret_file = 'no-such'", 1, "no-such' cannot be read"),
        ("[[webhook]]\nurl = 'https://h/'\nca = 'no-such'", 1, "no-such"),
        ("a = ", None, "is not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, line: int | None, problem: str, read: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionsError) as caught:
        read(text)
    message = str(caught.value)
    place = {None: "", 0: f"{tmp_path / 'monitor.toml'}: "}.get(line, f"{tmp_path / 'monitor.toml'}, line {line}: ")
    assert message.startswith(place)
    assert problem in message
    assert "planted" not in message


def test_an_integer_that_is_no_whole_number_is_refused(read: Any) -> None:
    with pytest.raises(OptionsError, match=r"line 3: lag_above\(above\)=1.5: must be a whole number"):
        read('[[rule]]\nconsumer = "admission"\nlag_above = 1.5')


# ---- the command


@pytest.fixture
def smith(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Smith:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("SMITH_NATS_URL", "nats://127.0.0.1:1")
    return Smith(capsys)


def test_a_file_is_checked_without_a_server(smith: Smith) -> None:
    Path("key").write_text(SECRET)
    Path("m.toml").write_text(FULL)
    done = smith("monitor", "m.toml", "--check")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("m.toml is valid: ")
    assert done.out.endswith(" rules, 2 to tell\n")
    Path("m.toml").write_text(FULL.replace("oldest_above", "oldest_abov"))
    done = smith("monitor", "m.toml", "--check")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("smith: m.toml, line 13: unknown key 'oldest_abov'; did you mean oldest_above?")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("no.toml",), "smith: no.toml cannot be read: No such file"),
        (("--secret-file", "key"), "--secret-file signs what is sent to --webhook: pass both"),
        (("--webhook", "https://h/planted", "--secret-file", "no-key"), "secret_file='no-key' cannot be read"),
        (("--webhook", "gopher://h/planted"), "scheme 'gopher': must be https:// or http://"),
        (("--profile", "nope"), "nope"),
    ],
)
def test_a_wrong_option_is_refused(smith: Smith, arguments: tuple[str, ...], problem: str) -> None:
    done = smith("monitor", *arguments, "--check")
    assert (done.status, done.out) == (2, "")
    assert problem in done.err
    assert "planted" not in done.err


def test_a_password_on_the_command_line_is_warned_of(smith: Smith) -> None:
    done = smith("monitor", "--webhook", "https://u:planted@h/", "--check")
    assert done.status == 0
    assert "a password in --webhook shows in the process list" in done.err
    assert "planted" not in done.err


def test_it_waits_for_the_server_tells_of_alerts_and_ends_well(tmp_path: Path) -> None:
    port = free_port()
    server = PlainServer(tmp_path, f"port: {port}\nhost: {HOST}\njetstream {{ store_dir: '{tmp_path}/js' }}\n", port)
    url = f"nats://{HOST}:{port}"
    (tmp_path / "m.toml").write_text(
        """
        profile = "dev"
        interval = "100ms"
        unknown_after = "1s"
        default_rules = false
        [[rule]]
        name = "many"
        consumer = "admission"
        lag_above = 1
        hold = "0s"
        """
    )
    with Receiver(status(200)) as receiver:
        secrets = {"SMITH_WEBHOOK_URL": receiver.url, "SMITH_WEBHOOK_SECRET": SECRET, "XDG_CONFIG_HOME": str(tmp_path)}
        run = Run(tmp_path, url, "m.toml", "--json", "--port", "0", verb="monitor", env=secrets)

        def has_told(rule: str, state: str) -> bool:
            return (rule, state) in [(one.rule, one.state) for one in _told(receiver)]

        try:
            eventually(lambda: has_told("not-known", "raised"), LONG)
            with server, SmithBus(url, manage="apply", profile="dev") as bus:
                eventually(lambda: has_told("not-known", "resolved"), LONG)
                _put(bus)
                eventually(lambda: has_told("many", "raised"), LONG)
                (served,) = [line for line in tuple(run.err) if "probes are served at " in line]
                with urllib.request.urlopen(f"{served.rpartition(' ')[2]}/readyz", timeout=10) as answer:
                    assert answer.status == 200
                bus.streams.purge("SDLC_RAW")
                eventually(lambda: has_told("many", "resolved"), LONG)
                run.process.send_signal(signal.SIGTERM)
                assert run.status() == 0
        finally:
            run.end()
        told = _told(receiver)
    printed = [json.loads(line) for line in run.out]
    assert [(one["rule"], one["state"]) for one in printed] == [(one.rule, one.state) for one in told]
    assert printed[0]["reason"] == f"not known for 1 s: lag of admission: no connection to {url}"
    everything = "\n".join([*run.out, *run.err])
    assert not [secret for secret in (SECRET, "path-secret", "query-secret") if secret in everything]


def _told(receiver: Receiver) -> list[Alert]:
    return [one.verified(SECRET) for one in tuple(receiver.requests)]


def _put(bus: SmithBus) -> None:
    for _ in range(3):
        intent = read_intent()
        bus.publish(subjects.intents.raw.of(intent), intent)
