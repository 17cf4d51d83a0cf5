"""The names that tables use, and how a table is printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

PEERS = {
    "nats_py": "nats-py",
    "natsio": "natsio",
    "faststream": "FastStream, one by one",
    "faststream_batch": "FastStream, a list of 500",
    "async": "async face",
    "blocking": "blocking face",
    "go": "nats.go (limit)",
    "rust": "async-nats (limit)",
    "rust_one_thread": "async-nats, one thread (limit)",
}
TITLES = {
    "publish_many": "publish_many",
    "submit": "submit",
    "publish": "publish, one by one",
    "consume": "read and ack",
    "read": "read in order",
}
CALLS = {
    ("publish_many", "nats_py"): "nats-py publish_async",
    ("submit", "nats_py"): "nats-py publish_async",
    ("publish", "nats_py"): "nats-py publish",
    ("consume", "nats_py"): "nats-py fetch(500)",
    ("read", "nats_py"): "nats-py ordered consumer",
    ("publish_many", "natsio"): "natsio publish_async",
    ("submit", "natsio"): "natsio publish_async",
    ("publish", "natsio"): "natsio publish",
    ("consume", "natsio"): "natsio consume(500)",
}
WIDE = 110  # columns, unless the terminal has a width of its own

Flat = Mapping[str, float | int]
Rows = list[tuple[str, ...]]


_markdown: ContextVar[list[str] | None] = ContextVar("_markdown", default=None)


@contextmanager
def as_markdown() -> Iterator[list[str]]:
    """Collect what is shown inside, as the lines of a page, instead of printing it."""
    lines: list[str] = []
    token = _markdown.set(lines)
    try:
        yield lines
    finally:
        _markdown.reset(token)


def note(text: str) -> None:
    """A line below a table."""
    page = _markdown.get()
    if page is None:
        print(f"  {text}")
    else:
        page += ["", text]


def table(title: str, heads: tuple[str, ...], rows: Rows) -> None:
    """With rich if it is installed. Without a title, it is of a page alone."""
    page = _markdown.get()
    if page is not None:
        separators = ("---" if place == 0 or head == "who" else "---:" for place, head in enumerate(heads))
        page += [
            *(["", f"{title}:"] if title else []),
            "",
            *(f"| {' | '.join(row)} |" for row in (heads, tuple(separators), *rows)),
        ]
        return
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        widths = [max(len(row[place]) for row in (heads, *rows)) for place in range(len(heads))]
        print(f"\n{title}")
        for row in (heads, *rows):
            cells = (
                cell.ljust(w) if n == 0 or heads[n] == "who" else cell.rjust(w)
                for n, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            print("  " + "  ".join(cells))
        return
    made = Table(title=title, title_justify="left")
    for place, head in enumerate(heads):
        made.add_column(head, justify="left" if place == 0 or head == "who" else "right")
    for row in rows:
        made.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print()
    console.print(made)
