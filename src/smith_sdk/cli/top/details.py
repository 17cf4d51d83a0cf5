"""The lines below a pane: all that there is to say about its selected row, in words."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from ...options import format_size
from . import cells
from .board import AlertRow, ConsumerRow, LetterRow, StreamRow, WorkerRow


def detail(row: Any, width: int, height: int) -> list[Text]:
    """At most `height` lines of `width` cells; what does not fit ends with an ellipsis."""
    if height <= 0:
        return []
    head, *more = _lines(row)
    lines = [cells.fit(cells.joined(" ", head), width)]
    words = " · ".join(part for part in more if part)
    for line in wrapped(words, width - 2, height - 1):
        lines.append(cells.fit(Text(f"  {line}", cells.DIM), width))
    return lines + [Text(" " * width)] * (height - len(lines))


def wrapped(words: str, width: int, height: int) -> list[str]:
    """`words` in lines of at most `width` cells; the last one is cut if there are more."""
    lines: list[str] = []
    line = ""
    for word in words.split(" "):
        longer = f"{line} {word}" if line else word
        if line and Text(longer).cell_len > width:
            lines.append(line)
            line = word
        else:
            line = longer
    lines.append(line)
    if len(lines) > height:
        lines = [*lines[: height - 1], " ".join(lines[height - 1 :])] if height > 0 else []
    return [_cut(one, width) for one in lines if one]


def _cut(text: str, width: int) -> str:
    found = Text(text)
    found.truncate(width, overflow="ellipsis")
    return found.plain


def _lines(row: Any) -> tuple[Text, *tuple[str, ...]]:
    match row:
        case ConsumerRow():
            return _consumer(row)
        case StreamRow():
            return _stream(row)
        case WorkerRow():
            return _worker(row)
        case AlertRow():
            return (Text.assemble(cells.state(row.state), "  ", (row.name, cells.TITLE)), row.reason, row.remedy)
        case LetterRow():
            tries = f"{row.attempts} attempt{'s' * (row.attempts != 1)}"
            stored = f"dead-lettered {row.time:%Y-%m-%d %H:%M:%S}Z"
            return (Text(row.id, cells.TITLE), f"{row.error_type}: {row.error}", tries, f"subject {row.subject}", stored)
        case _:
            raise AssertionError(row)


def _consumer(row: ConsumerRow) -> tuple[Text, *tuple[str, ...]]:
    return (
        Text.assemble(cells.state(row.state), "  ", (row.name, cells.TITLE), f" of {row.stream}"),
        _why(row),
        f"{row.pending:,} pending",
        f"{row.unacked:,} unacked",
        f"{row.redelivered:,} redelivered" if row.redelivered else "",
        f"{row.waiting:,} pulls wait",
        "" if row.last_delivery is None else f"delivered {cells.lasting(row.last_delivery)} ago",
        "" if row.last_ack is None else f"acked {cells.lasting(row.last_ack)} ago",
    )


def _why(row: ConsumerRow) -> str:
    match row.state:
        case "stalled":
            return "messages wait, and none is finished"
        case "paused":
            return "paused: delivers nothing; p resumes it"
        case "growing":
            return "more comes in than goes out"
        case "draining":
            return "more goes out than comes in"
        case "steady":
            return "as much goes out as comes in"
        case "idle":
            return "nothing to do"
        case _:
            return ""


def _stream(row: StreamRow) -> tuple[Text, *tuple[str, ...]]:
    fill = "no limit of messages or bytes" if row.fill is None else f"{cells.percent(row.fill)} of its nearest limit"
    return (
        Text.assemble(
            cells.state(row.state), "  ", (row.name, cells.TITLE), f"  {row.messages:,} messages, {format_size(row.bytes)}"
        ),
        fill,
        f"leader {row.leader}" if row.leader else "",
        f"replicas {row.replicas}" if row.replicas else "",
        f"a replica is {row.behind:,} operations behind" if row.behind else "",
        row.note,
    )


def _worker(row: WorkerRow) -> tuple[Text, *tuple[str, ...]]:
    running = "" if row.slots is None else f"  {row.running} of {row.slots} slots run"
    return (
        Text.assemble(cells.state(row.state), "  ", (row.name, cells.TITLE), f" on {row.process}{running}"),
        f"circuit {row.circuit}" if row.circuit else "",
        "" if row.buffered is None else f"{row.buffered:,} buffered",
        f"{row.handled:,} done, {row.failed:,} of them failed",
        "" if row.started is None else f"runs since {row.started:%Y-%m-%d %H:%M:%S}Z",
        f"SDK {row.version}" if row.version else "",
        f"latest error: {row.error}" if row.error else "",
    )
