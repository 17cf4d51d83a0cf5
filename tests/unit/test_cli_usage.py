"""What is wrong with a command line is told in one line of our own words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli import Smith

from smith_sdk.cli.output import ago
from smith_sdk.cli.values import duration, moment


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("bogus", 'there is no command "bogus"; there are demo, dev, streams'),
        ("stream", 'there is no command "stream"; did you mean streams?'),
        ("--sinse", "there is no option --sinse"),
        ("dlq lss", 'there is no command "lss"; did you mean ls?; there are'),
        ("dlq ls --sinse 1h", "there is no option --sinse; did you mean --since?"),
        (
            "dlq ls --since soon",
            '--since: "soon" is not a time; pass one such as 2026-01-31T12:00 (local, or with a zone such as',
        ),
        ("dlq ls --until 31.12.2026", '--until: "31.12.2026" is not a time; pass one such as'),
        ("dlq ls --limit many", '--limit: "many" is not a whole number, such as 10'),
        ("dlq ls --limit 0", "--limit: 0 is out of range: it must be >= 1"),
        ("dlq ls --limit", "--limit needs a value"),
        ("dlq ls --limit 1 --limit 2", "--limit is given more than once"),
        ("dlq ls more", 'unexpected "more"'),
        ("dlq ls --json=perhaps", '--json: "perhaps" is not true or false'),
        ("dlq show", "ID is missing"),
        ("dlq replay --rate fast", '--rate: "fast" is not a number, such as 0.5'),
        ("dlq replay --rate 0", "--rate: 0 is out of range: it must be > 0"),
        ("dlq replay --in-doubt maybe", '--in-doubt: "maybe" is not one of keep, replay'),
        ("consumers pause x", "--for is missing"),
        ("consumers pause x --for soon", '--for: "soon" is not a duration; pass one such as 45s, 10m, 1h30m or 2d'),
        ("consumers reset x --seq last", '--seq: "last" is not a whole number, such as 10'),
        ("streams purge X --keep some", '--keep: "some" is not a whole number, such as 10'),
        ("dev --port http", '--port: "http" is not a whole number, such as 10'),
        ("demo . --workers 0", "--workers: 0 is out of range: it must be >= 1"),
        (
            "execute fs.read.v1 path=/x --timeout 0",
            '--timeout: "0" is not a time above 0; pass seconds such as 30, or a duration',
        ),
        ("execute fs.read.v1 --path /x", "there is no option --path; values have no dashes: path=..."),
        ("completion tcsh", 'SHELL: "tcsh" is not one of bash, zsh, fish'),
    ],
)
def test_usage_errors(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    smith = Smith(capsys)(*line.split())
    assert (smith.status, smith.out) == (2, "")
    (shown,) = smith.err.splitlines()
    assert shown.startswith(f"smith: {said}"), shown
    assert shown.endswith("--help`"), shown


def test_a_spec_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    smith = Smith(capsys)("codegen", "/no/such.toml")
    assert (smith.status, smith.out) == (2, "")
    assert smith.err == "smith: there is no spec /no/such.toml: pass the file, as in `smith codegen SPEC OUT_DIR`\n"


def test_no_option_of_any_command_is_refused_in_other_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Every option with a value, of every command, with a value that no type but text takes."""
    from smith_sdk.cli.app import app

    smith, seen = Smith(capsys), 0
    for chain in _commands(app):
        command = app
        for name in chain:
            command = command[name]
        for argument in command.assemble_argument_collection():
            name = argument.names[0]
            if not name.startswith("--") or argument.hint in _TEXT or argument.parameter.show is False:
                continue
            smith(*chain, f"{name}=\x1b[31m?")
            if smith.status == 2 and "is missing" not in smith.err:
                seen += 1
                assert "\x1b" not in smith.err
                assert "nable to convert" not in smith.err
                assert smith.err.startswith(f"smith: {name}: "), smith.err
                assert len(smith.err.splitlines()) == 1
    assert seen > 20


_TEXT = (str, str | None, Path, Path | None)


def _commands(app: object, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name in app:  # type: ignore[attr-defined]
        if name.startswith("-"):
            continue
        below = app[name]  # type: ignore[index]
        found += _commands(below, (*above, name)) or [(*above, name)]
    return found


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("1h30m", 5400), ("2d", 172800), ("1.5h", 5400), ("500ms", 0.5), ("1w", 604800), ("0s", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "10", "10m5", "-5s", "1 h", "1y", "9999999999999d"])
def test_what_is_not_a_duration(text: str) -> None:
    assert duration(text) is None


def test_times_are_local_or_in_their_zone_or_so_long_ago() -> None:
    assert moment("2026-01-31T12:00Z") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert moment("2026-01-31T12:00") == datetime(2026, 1, 31, 12).astimezone()
    assert moment("2026-01-31") == datetime(2026, 1, 31).astimezone()
    assert moment("31.1.2026") is None
    passed = moment("2h")
    assert passed is not None
    assert abs(datetime.now(UTC) - passed - timedelta(hours=2)) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "now"), (4, "4 s ago"), (185, "3 min ago"), (7200, "2 h ago"), (90000, "1 d ago"), (-600, "in 10 min"), (-3, "in 3 s")],
)
def test_relative_times(seconds: float, shown: str) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert ago(now - timedelta(seconds=seconds), now) == shown
    assert ago(now - timedelta(days=40), now) == "2026-01-20"
