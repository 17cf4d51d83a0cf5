"""What `smith top` draws: boards as lines of text, without a terminal and without a bus."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime, timedelta

import pytest
from boards import NOW, alerts, board, consumer, letters, streams
from msgspec.structs import replace
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

from smith_sdk._core.monitoring.consumer_lag import ConsumerLag, Replica, StreamUsage
from smith_sdk.aio import Alert, Check, DeadLetter, WorkerReport
from smith_sdk.cli.top import cells
from smith_sdk.cli.top.app import Top
from smith_sdk.cli.top.board import PANES, STATES, Board, ConsumerRow, Head
from smith_sdk.cli.top.columns import COLUMNS, TITLES
from smith_sdk.cli.top.command import top
from smith_sdk.cli.top.frame import arrangement, draw
from smith_sdk.cli.top.help import help_text
from smith_sdk.cli.top.letter import letter_text, payload_lines
from smith_sdk.cli.top.pages import Page, wrapped
from smith_sdk.cli.top.rows import alert_rows, consumer_row, letter_row, stream_row, worker_row
from smith_sdk.cli.top.screen import changed
from smith_sdk.cli.top.view import View
from smith_sdk.errors import OptionsError

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e\u2028[bold]x[/bold]\r\nFORGED line"
SIZES = ((80, 24), (200, 60), (80, 60), (40, 12), (237, 71), (81, 25), (150, 36))


def shown(view: View, found: Board, columns: int = 80, lines: int = 24, notice: str = "") -> str:
    drawn = draw(found, view, columns, lines, notice=notice, now=NOW)
    assert len(drawn) == lines
    assert {line.cell_len for line in drawn} == {columns}
    return "\n".join(line.plain for line in drawn)


def names(screen: str) -> list[str]:
    """The consumers, from the top down."""
    known = {row.name for row in board().consumers}
    return [word for line in screen.splitlines()[4:-3] for word in line.split()[2:4] if word in known]


# ---- the size


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_every_line_has_the_width_of_the_screen(columns: int, lines: int) -> None:
    wide = consumer("\u6d88\u8d39\u8005" * 12, stream="\u6d41" * 30, state="steady", lag=10**9, rate_in=1e7, oldest=1e8)
    for found in (board(), Board(), board(consumers=(wide,)), board(problems=dict.fromkeys(PANES, "denied " * 40))):
        view = View()
        for pane in PANES:
            view.show(pane)
            shown(view, found, columns, lines)
            view.typing = not view.typing
            shown(view, found, columns, lines, notice="a notice " * 40)


def test_eighty_columns_have_all_that_matters_of_each_pane() -> None:
    view = View()
    screens: dict[str, str] = {}
    for pane in PANES:
        view.show(pane)
        screens[pane] = shown(view, board())
        assert all(title in screens[pane] for title in TITLES.values())
    assert "\u25b8 \u25a0 stalled" in screens["consumers"]
    for text in ("executor-sqlite-query", "45,210", "12m34s", "never", "1,402", "Drain"):
        assert text in screens["consumers"]
    for pane, texts in (
        ("streams", ("87%", "86.8MiB", "3/3")),
        ("workers", ("7/8", "\u25a0 open", "web-2:901")),
        ("alerts", ("\u25a0 critical", "look at its workers")),
        ("letters", ("TimeoutError", "ATOMS_VETTED.executor-fs-read.1", "\u25cf connected", "rtt 0.7 ms")),
    ):
        assert [text for text in texts if text not in screens[pane]] == []


def test_a_large_screen_shows_all_panes_and_zooms_into_one() -> None:
    view = View()
    for columns, lines, expected in ((200, 60, "grid"), (80, 60, "stack"), (80, 24, "one"), (200, 24, "one")):
        assert arrangement(view, columns, lines) == expected
        screen = shown(view, board(), columns, lines)
        assert ("SDLC_RAW" in screen and "web-2:901" in screen) == (expected == "grid") or expected == "stack"
    view.zoomed = True
    assert "web-2:901" not in shown(view, board(), 200, 60)
    assert "lag, messages" in shown(View(), board(), 200, 60), "the graphs of the selected consumer"


def test_rows_beyond_the_screen_are_scrolled_to() -> None:
    view, many = View(), board(letters=letters(50))
    view.show("letters")
    assert "1-16 of 50" in shown(view, many)
    for _ in range(20):
        view.move(many, 1)
    screen = shown(view, many)
    assert "6-21 of 50" in screen
    assert [line for line in screen.splitlines() if line.startswith("\u25b8")] == [screen.splitlines()[19]]
    view.move(many, 10**9)
    assert "35-50 of 50" in shown(view, many)


# ---- sorting, filtering, selecting


def test_rows_are_sorted_by_the_columns_and_unknown_figures_come_last() -> None:
    view = View()
    assert names(shown(view, board()))[:3] == ["executor-shell-exec", "executor-http-fetch", "executor-fs-read"]
    assert view.sort_by("L")
    screen = shown(view, board())
    assert "Lag\u25be" in screen
    assert names(screen)[:3] == ["executor-http-fetch", "executor-fs-read", "executor-sqlite-query"]
    view.sort_by("L")
    assert "Lag\u25b4" in shown(view, board())
    assert names(shown(view, board()))[-1] == "executor-http-fetch"
    view.sort_by("D")
    assert names(shown(view, board()))[-2:] == ["executor-archive-read", "audit-collector"]
    assert not view.sort_by("Z")


def test_every_pane_is_sorted_by_each_of_its_columns() -> None:
    view = View()
    for pane in PANES:
        view.show(pane)
        keys = [one.key for one in COLUMNS[pane] if one.key]
        assert len(set(keys)) == len(keys)
        for key in keys:
            view.sort_by(key)
            assert len(view.rows(board(), pane)) == len(board().rows(pane))
        for _ in keys:
            view.sort_next(1)
        assert view.here.sort == keys[-1], "once around"
        for column in COLUMNS[pane]:
            assert not column.key or column.key in column.heading.upper()


def test_a_filter_is_typed_and_cleared() -> None:
    view = View(typing=True)
    for key in "vetted x":
        view.type_key(key, key)
    view.type_key("backspace", None)
    for key in "paused":
        view.type_key(key, key)
    assert "filter: vetted paused" in shown(view, board())
    view.type_key("enter", None)
    assert names(shown(view, board())) == ["executor-sqlite-query"]
    assert not view.typing
    view.type_key("escape", None)
    assert len(names(shown(view, board()))) == 7
    view.here.words = "nothing has this"
    assert 'no row has "nothing has this"' in shown(view, board())


def test_the_selected_row_stays_selected_wherever_it_moves_and_its_place_when_it_goes() -> None:
    view = View()
    view.show("letters")
    view.move(board(), 1)
    assert view.current(board()).id.endswith(".2")
    view.sort_by("A")
    view.sort_by("A")
    assert view.current(board(letters=letters(9))).id.endswith(".2")
    left = tuple(row for row in letters(9) if row.position != 2)
    assert view.current(board(letters=left)).id.endswith(".3")
    assert view.current(board(letters=())) is None
    shown(view, board(letters=()))


# ---- what is not as it should be


def test_figures_that_are_old_are_grey_and_tell_their_age() -> None:
    gone = replace(board().head, state="reconnecting", problem="connection refused")
    screen = shown(View(), board(head=gone, observed=NOW - 42))
    assert "\u25a0 reconnecting  figures 42s old" in screen
    assert "\u25a0 connection refused" in screen
    assert "45,210" in screen
    drawn = draw(board(head=gone, observed=NOW - 42), View(), 80, 24, now=NOW)
    rows = [span.style for line in drawn[5:11] for span in line.spans]
    assert set(map(str, rows)) == {cells.DIM}
    assert "old" not in shown(View(), board(observed=NOW - 3))
    assert "figures 42s old" in shown(View(), board(observed=NOW - 42)), "connected, and the server says nothing"


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("age", [5, 42, 61, 3_700, 90_000, 10_000_000])
@pytest.mark.parametrize("length", [1, 20, 200])
def test_the_state_and_the_age_of_the_figures_are_whole_however_little_room_there_is(columns: int, age: int, length: int) -> None:
    head = replace(board().head, state="reconnecting", url="nats://" + "h" * length, contract="c" * length)
    first = shown(View(), board(head=head, observed=NOW - age), columns).splitlines()[0]
    assert first.rstrip().endswith(f"\u25a0 reconnecting  figures {cells.lasting(age)} old")
    assert len(first) <= columns
    assert (" smith top " in first) == (columns >= 60)


def test_a_pane_that_cannot_be_had_says_why_and_the_others_go_on() -> None:
    view, denied = View(), board(workers=(), problems={"workers": "permissions forbid $SRV.STATS"})
    assert "3 Workers ?" in shown(view, denied), "not 0, which is not known"
    assert "45,210" in shown(view, denied)
    view.show("workers")
    assert "\u25b2 permissions forbid $SRV.STATS" in shown(view, denied)


def test_empty_panes_say_so() -> None:
    view = View()
    empty = Board(head=Head(state="connected"), observed=NOW)
    assert "waiting for the first figures" in shown(view, Board())
    for pane, text in zip(PANES, ("no consumers", "no streams", "no worker", "nothing is wrong", "no dead letters"), strict=True):
        view.show(pane)
        assert text in shown(view, empty)


# ---- without colours, and against the wire


def test_every_state_has_a_mark_and_a_word_and_so_needs_no_colour() -> None:
    for word, (mark, tone, _) in STATES.items():
        assert cells.state(word).plain == f"{mark} {word}"
        assert tone in cells.TONES
        assert len(word) <= 9
    bad = {mark for mark, tone, _ in STATES.values() if tone == "bad"}
    assert not bad & {mark for mark, tone, _ in STATES.values() if tone != "bad"}


def letter(**fields: object) -> DeadLetter:
    hostile = dict.fromkeys(
        ("id", "subject", "stream", "consumer", "error_type", "error", "traceback", "host", "worker"), HOSTILE
    )
    now = datetime.now(UTC)
    found = {
        **hostile,
        "position": 1,
        "time": now,
        "seq": 1,
        "attempts": 3,
        "stored": now,
        "first_delivered": now,
        "last_delivered": now,
        "payload": b"",
        "headers": {HOSTILE: HOSTILE},
        "dropped_headers": 1,
        "replays": 1,
        "replay_of": HOSTILE,
        "first_letter": HOSTILE,
        "truncated": True,
        "size": 10,
        "sha256": "00",
        "problems": (HOSTILE,),
        **fields,
    }
    return DeadLetter(**found)  # type: ignore[arg-type]


def lag(**fields: object) -> ConsumerLag:
    found: dict[str, object] = dict.fromkeys(("pending", "ack_pending", "redelivered", "lag", "waiting"), 0)
    found |= dict.fromkeys(("oldest_age", "rate_in", "rate_out", "drain_time", "last_delivery_age", "last_ack_age"), 0.0)
    found |= {"stalled": False, "is_paused": False, "trend": "steady", "observed_at": datetime.now(UTC)}
    return ConsumerLag(**{"stream": "S", "consumer": "c", **found, **fields})  # type: ignore[arg-type]


def usage(**fields: object) -> StreamUsage:
    found: dict[str, object] = {"name": "S", "messages": 1, "bytes": 1, "share": 0.9, "limit": "9 of 10", "rate_in": 0.0}
    found |= {"consumers": 1, "leader": "", "replicas": (), "observed_at": datetime.now(UTC)}
    return StreamUsage(**{**found, **fields})  # type: ignore[arg-type]


def test_nothing_from_the_wire_controls_the_terminal_or_forges_a_line() -> None:
    row = letter_row(letter(payload=HOSTILE.encode()))
    found = board(
        letters=(row,),
        consumers=(consumer_row(lag(stream=HOSTILE, consumer=HOSTILE), ()),),
        streams=(stream_row(usage(name=HOSTILE, leader=HOSTILE), (), refuses=True),),
        alerts=(replace(alerts()[0], reason=row.error),),
    )
    screens = []
    for columns, lines in ((80, 24), (200, 60)):
        view = View()
        for pane in PANES:
            view.show(pane)
            screens.append(shown(view, found, columns, lines))
    screens += ["\n".join(line.plain for line in wrapped(letter_text(letter(payload=payload)), width))
                for payload in (HOSTILE.encode(), b'{"a": "' + b"x" * 500 + b'"}', bytes(range(256)))
                for width in (40, 80)]  # fmt: skip
    for screen in screens:
        assert not [char for char in screen if char != "\n" and not char.isprintable()]
        assert not [line for line in screen.splitlines() if line.startswith("FORGED")]
    assert "\\x1b]0;owned" in screens[-1]


def test_a_line_of_a_letter_that_is_too_long_goes_on_further_in() -> None:
    text = letter_text(letter(payload=b'"' + b"y" * 300 + b' payload, 1B"'))
    lines = [line.plain for line in wrapped(text, 60)]
    assert max(map(len, lines)) <= 60
    assert all(line.startswith("    ") for line in lines if "yyy" in line and '"y' not in line)


def test_payloads_are_shown_as_what_they_are() -> None:
    def lines(payload: bytes) -> list[str]:
        return [line.plain for line in payload_lines(payload)]

    assert lines(b'{"a":[1,{"b":null}]}')[1:3] == ['  "a": [', "    1,"]
    assert lines("caf\u00e9 \x1b[2J\nmore".encode()) == ["caf\u00e9 \\x1b[2J", "more"]
    assert lines(b"\x00\xff\x80A")[0].split()[:5] == ["000000", "00", "ff", "80", "41"]
    assert lines(b"") == ["empty"]
    assert lines(b"[" * 100_000)[-1].startswith("... ")
    assert lines("\u00e9".encode() * 100_000)[-1] == "... 131.3KiB more"
    assert len(lines(b"[" + b"1," * 5000 + b"1]")) < 2100


# ---- states and figures


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"is_paused": True, "stalled": True}, "paused"),
        ({"stalled": True}, "stalled"),
        ({"trend": None}, "measuring"),
        ({}, "idle"),
        ({"lag": 1}, "steady"),
        ({"trend": "growing", "lag": 5}, "growing"),
        ({"trend": "shrinking", "lag": 5}, "draining"),
    ],
)
def test_states_of_consumers(fields: dict[str, object], expected: str) -> None:
    assert consumer_row(lag(**fields), ()).state == expected


BEHIND = Replica(name="n2", is_current=False, is_offline=False, lag=7, last_seen_age=1.0)


@pytest.mark.parametrize(
    ("fields", "refuses", "expected"),
    [
        ({"share": 0.5}, True, "idle"),
        ({"share": 0.85}, True, "filling"),
        ({"share": 0.995}, True, "full"),
        ({"share": 1.0, "rate_in": 3.0}, False, "ok"),
        ({"rate_in": None}, False, "measuring"),
        ({"leader": "n1", "replicas": (BEHIND,)}, False, "behind"),
        ({"leader": "n1", "replicas": (replace(BEHIND, is_offline=True),)}, True, "offline"),
    ],
)
def test_states_of_streams(fields: dict[str, object], refuses: bool, expected: str) -> None:
    row = stream_row(usage(**fields), (), refuses=refuses)
    assert row.state == expected
    assert (row.replicas, row.behind) == (("1/2", 7) if "replicas" in fields else ("", None))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (90_000, "1d01h"),
        (9e7, "1,041d"),
        (None, "-"),
        (float("inf"), "-"),
    ],
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    assert cells.lasting(seconds) == text
    assert len(text) <= 6


def test_numbers_bars_and_graphs_have_their_width() -> None:
    for value in (0, 7, 99_999, 100_000, 999_999, 1e6, 12_345_678, 9.99e9, 5e14):
        assert len(cells.count(value)) <= 6
    for share in (None, 0.0, 1e-9, 0.5, 0.999, 1.0, 7.0):
        assert cells.bar(share, 10, "good").cell_len == 10
    assert cells.percent(0.9999) == "99%"
    assert cells.spark((0, 1, None, 8), 6, 8) == "  \u2581\u2581 \u2588"
    assert cells.spark((), 3) == "   "
    assert [len(line) for line in cells.graph((1, 2, 3), 5, 4, 3)] == [5] * 4
    assert cells.middle("executor-http-fetch", 9) == "exec\u2026etch"
    assert cells.fit(Text("\u6d88\u8d39"), 3).cell_len == 3


def test_the_help_has_every_key_of_the_pane() -> None:
    for pane in PANES:
        text = help_text(pane).plain.replace("\u00a0", " ")
        assert all(f"{one.key} {one.heading.lower()}" in text for one in COLUMNS[pane] if one.key)
        assert max(map(len, text.splitlines())) <= 80


def test_sums_leave_out_what_is_not_known() -> None:
    assert "in 3,850/s" in shown(View(), board())
    assert "in -/s" in shown(View(), board(streams=tuple(replace(row, rate_in=None) for row in streams())))


# ---- rows, and what is sent


def test_health_checks_about_what_an_alert_is_about_are_left_out() -> None:
    now = datetime.now(UTC)
    found = Alert(rule="stalled-a", severity="critical", state="raised", reason="reader-a is stalled", remedy="x", since=now)
    checks = [
        Check(name=name, status="degraded", reason=HOSTILE, remedy="look")
        for name in ("consumer reader-a", "consumer reader", "writing")
    ]
    rows = alert_rows([found], checks)
    assert [(row.state, row.name) for row in rows] == [
        ("critical", "stalled-a"),
        ("degraded", "consumer reader"),
        ("degraded", "writing"),
    ]
    assert "\x1b" not in rows[1].reason


@pytest.mark.parametrize(
    ("fields", "rate", "expected"),
    [
        ({}, 0.0, "idle"),
        ({}, 3.0, "working"),
        ({"running": 1}, None, "working"),
        ({"running": 4}, 9.0, "busy"),
        ({"circuit": "open"}, None, "open"),
        ({"circuit": "closed"}, None, "idle"),
        ({"is_draining": True, "circuit": "open"}, None, "stopping"),
        ({"slots": None, "running": None}, None, "working"),
    ],
)
def test_states_of_workers(fields: dict[str, object], rate: float | None, expected: str) -> None:
    told: dict[str, object] = {"consumer": HOSTILE, "stream": "S", "id": "i", "host": "h", "pid": 7, "version": "1"}
    told |= {"started": datetime.now(UTC), "slots": 4, "running": 0, "buffered": 0, "is_draining": False, "num_pending": 0}
    told |= {"circuit": None, "handled": 0, "failed": 0, "average_time": 0.0, "last_error": HOSTILE}
    row = worker_row(WorkerReport(**{**told, **fields}), rate)  # type: ignore[arg-type]
    assert (row.state, row.process, row.average) == (expected, "h:7", None)
    view = View(pane="workers")
    assert "\x1b" not in shown(view, board(workers=(row,)))


def test_only_the_cells_that_have_changed_are_sent() -> None:
    def spans(old: str, new: str, style: str = "bold") -> list[tuple[int, int]]:
        before, after = (Strip([Segment(one, Style.parse(style))]) for one in (old, new))
        return list(changed(before, after))

    line = "executor-fs-read          12,345    ▁▂▃▄          602"
    assert spans(line, line) == []
    assert spans(line, line.replace("602", "603")) == [(len(line) - 1, len(line))]
    assert spans(line, line.replace("12,345", "12,346").replace("602", "612")) == [(31, 32), (len(line) - 2, len(line) - 1)]
    assert spans("\u6d88a", "\u6d88b") == [(2, 3)]
    assert spans("a\u6d88", "\u6d88a") == [(0, 3)]
    assert list(changed(Strip([Segment("ab")]), Strip([Segment("a"), Segment("b", Style(bold=True))]))) == [(1, 2)]


class Still:
    """Where nothing changes but by the actions, which all succeed."""

    board = board()

    async def letter(self, id: str) -> DeadLetter:
        raise AssertionError

    async def replay(self, id: str) -> str:
        raise AssertionError

    async def pause(self, row: ConsumerRow, length: timedelta) -> str:
        return f"{row.name} is paused"

    async def resume(self, row: ConsumerRow) -> str:
        return f"{row.name} is resumed"


async def test_a_page_says_what_came_of_an_action_until_it_was_read() -> None:
    app = Top(Still())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("C", "enter", "p", "enter")
        await pilot.pause()
        assert isinstance(app.screen, Page)
        app.update()  # other figures
        last = app.screen._draw(80, 24)[-1]
        assert last.plain.rstrip() == " admission is paused"
        await pilot.press("down")
        app.update()
        assert "esc back" in app.screen._draw(80, 24)[-1].plain


def test_the_screen_needs_a_terminal_as_standard_error_and_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, Terminal(io.BytesIO(), "utf-8"))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(OptionsError, match="as standard error"):
        top()
    monkeypatch.setattr(sys, "stderr", Terminal(io.BytesIO(), "latin-1"))
    with pytest.raises(OptionsError, match=r"UTF-8, and latin-1 is set: run it with LC_ALL=C\.UTF-8"):
        top()
