"""The ledger: what was sent, confirmed and consumed, written where no fault of this harness reaches
it.

Every process writes files of its own, one line at a time, straight to the kernel: a line is there
even if its process is killed the moment after. A publisher writes an id before it sends it, and
again when the stream has confirmed it; a consumer writes it before it acks it.

A key is "KIND:PUBLISHER-NUMBER": the kind is the stream ("raw", "results"), the numbers of a
publisher go up.
"""

from __future__ import annotations

import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LAST: Final = 16 * 1024


class Page:
    """One file of the ledger, open for writing. Safe for several threads: a line is one write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        weakref.finalize(self, os.close, self._file)

    def write(self, *words: object) -> None:
        os.write(self._file, " ".join(map(str, words)).encode() + b"\n")


@dataclass
class Count:
    """What became of everything."""

    sent: int = 0
    confirmed: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Publishes that ended with an error, by its class."""
    consumed: int = 0
    """Lines of all readers: what came again counts again."""
    duplicates: int = 0
    lost: dict[str, list[str]] = field(default_factory=dict)
    """By reader: confirmed, and never consumed."""
    invented: dict[str, list[str]] = field(default_factory=dict)
    """By reader: consumed, and never sent; or sent to another."""
    stored_twice: list[str] = field(default_factory=list)
    """One id at two places of the stream."""
    forgotten: list[str] = field(default_factory=list)
    """The same, allowing for a restarted server: it remembers only the ids of what it still
    stores, and a work queue removes."""
    confirmed_at: dict[str, int] = field(default_factory=dict)
    """Key of each confirmed message -> its sequence."""

    @property
    def is_clean(self) -> bool:
        return not (any(self.lost.values()) or any(self.invented.values()) or self.stored_twice)

    def __str__(self) -> str:
        unconfirmed = self.failed["PublishUnconfirmed"]
        others = "".join(f", {count} {name}" for name, count in self.failed.items() if name != "PublishUnconfirmed")
        return (
            f"sent {self.sent}, confirmed {self.confirmed}, unconfirmed {unconfirmed}{others}, consumed {self.consumed}, "
            f"duplicates {self.duplicates}, lost {sum(map(len, self.lost.values()))}, "
            f"invented {sum(map(len, self.invented.values()))}, stored twice {len(self.stored_twice)}"
            f"{f' and {len(self.forgotten)} that a restarted server did not know any more' if self.forgotten else ''}"
        )


class Ledger:
    """The directory of the files: `NAME.sent`, `NAME.confirmed`, `NAME.failed` of publishers,
    `NAME.consumed` of readers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def page(self, name: str, what: str) -> Page:
        return Page(self.directory / f"{name}.{what}")

    def lines(self, what: str) -> Iterator[tuple[str, list[str]]]:
        """(name, words) of each line in the files of this kind."""
        for path in sorted(self.directory.glob(f"*.{what}")):
            with path.open() as file:
                for line in file:
                    yield path.stem, line.split()

    def last(self, name: str, what: str, publisher: str) -> int:
        """The highest number of `publisher` near the end of a file; -1 where there is none."""
        path = self.directory / f"{name}.{what}"
        if not path.exists():
            return -1
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LAST))
            lines = file.read().decode().splitlines()[:-1]  # the last may be on its way; the first may be half of one
        numbers = (line.partition(":")[2].split(" ")[0] for line in lines)
        return max((int(number.rpartition("-")[2]) for number in numbers if number.startswith(f"{publisher}-")), default=-1)

    def check(
        self,
        expects: Callable[[str, str], bool],
        readers: Iterable[str],
        forgets: Callable[[str], bool] = lambda key: False,
    ) -> Count:
        """Compare the pages. `expects(reader, key)` returns whether a reader must have consumed a
        key that was confirmed.

        `forgets(key)` says whether its stream may have forgotten the id when its message was gone.
        """
        count = Count()
        sent = {words[0] for _, words in self.lines("sent")}
        count.sent = len(sent)
        count.confirmed_at = {words[0]: int(words[1]) for _, words in self.lines("confirmed")}
        count.confirmed = len(count.confirmed_at)
        count.failed.update(words[1] for _, words in self.lines("failed"))
        consumed: dict[str, Counter[str]] = {reader: Counter() for reader in readers}
        places: dict[str, set[str]] = {}
        for reader, words in self.lines("consumed"):
            consumed[reader][words[0]] += 1
            places.setdefault(words[0], set()).add(words[1])
        for reader, keys in consumed.items():
            count.consumed += keys.total()
            count.duplicates += keys.total() - len(keys)
            count.lost[reader] = sorted(key for key in count.confirmed_at if expects(reader, key) and key not in keys)
            count.invented[reader] = sorted(key for key in keys if key not in sent or not expects(reader, key))
        twice = sorted(key for key, seqs in places.items() if len(seqs) > 1)
        count.stored_twice = [key for key in twice if not forgets(key)]
        count.forgotten = [key for key in twice if forgets(key)]
        return count
