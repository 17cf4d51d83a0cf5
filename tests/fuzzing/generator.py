"""Hostile messages from a seed: each is made of a path's name and its number alone, so that one of
them can be made again without the others.

Everything here is deterministic: no clock, no environment, no set order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Header = tuple[bytes, bytes]

TOKENS: Final[tuple[bytes, ...]] = (
    b"*",
    b">",
    b"$JS",
    b"$SYS",
    b"_INBOX",
    b"$JS.API.STREAM.DELETE.ATOMS_RESULTS",
    b"x.*",
    b"a..b",
    b"",
    b"\x01",
    b"a\x0bb",
    b"a\x0cb",
    b"\x1b[31mred\x1b[0m",
    b"\x7f",
    "\u202etxt".encode(),
    "\u0085x".encode(),
    "\x9b2J".encode(),
    "\u00e9\U0001f600".encode(),
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"[bold]x[/bold]",
    b"[/]",
    b"%s%n{0}{}",
    b"'\"",
    b"..",
    b"A" * 300,
    b"9" * 400,
    b"0",
    b"-1",
    b"1e9",
    b"fs",
    b"v1",
)
"""What stands where a token of a subject is expected."""

_TEXTS: Final[tuple[str, ...]] = (
    '""',
    '"*"',
    '">"',
    '"a.b"',
    '"$JS.API.STREAM.DELETE.ATOMS_RESULTS"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\u0000"',
    '"\\u001b[2J\\u001b]0;owned\\u0007"',
    '"\\u202e\\u2066evil"',
    '"\\u009b31m"',
    '"[bold red]x[/bold red][/]"',
    '"%s%n{0!r}"',
    '"\\r\\nNATS/1.0 503"',
    '"' + "x" * 3000 + '"',
    '"' + "9" * 5000 + '"',
)
_NUMBERS: Final[tuple[str, ...]] = (
    "0",
    "-0",
    "-1",
    "1",
    "-0.0",
    "1.50",
    "1e2",
    "1E+2",
    "1e400",
    "-1e400",
    "1e-400",
    "4294967295",
    "4294967296",
    str(2**53 + 1),
    str(2**63 - 1),
    str(2**63),
    str(2**64),
    str(-(2**63) - 1),
    "9" * 400,
    "1" + "0" * 5000,
    "NaN",
    "Infinity",
    "-Infinity",
    "01",
    "+1",
    "0x10",
)
_OTHERS: Final[tuple[str, ...]] = ("null", "true", "false", "[]", "{}", "[null]", '{"":null}', "[[]]", '{"a":{"a":{}}}')
_WHOLE: Final[tuple[bytes, ...]] = (
    b"",
    b" ",
    b"\x00",
    b"null",
    b"true",
    b"0",
    b"[]",
    b"{}",
    b'""',
    b'{"',
    b"{" * 200_000,
    b"[" * 200_000,
    b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    b"[" * 2_000 + b"]" * 2_000,
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00",
    b"\x1f\x8b\x08\x00",
    b"+ACK",
    b"-NAK",
    b"+TERM",
    b'{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}',
    b'{"stream":"ATOMS_VETTED","seq":1,"duplicate":true}',
)

_NAMES: Final[tuple[bytes, ...]] = (
    b"Nats-Msg-Id",
    b"Nats-Expected-Stream",
    b"Nats-Expected-Last-Sequence",
    b"Nats-Expected-Last-Subject-Sequence",
    b"Nats-Rollup",
    b"Nats-TTL",
    b"Nats-Incr",
    b"Nats-Schedule",
    b"Nats-Schedule-Target",
    b"Nats-Batch-Id",
    b"Nats-Batch-Sequence",
    b"Nats-Batch-Commit",
    b"Nats-Pending-Messages",
    b"Nats-Stream",
    b"Nats-Sequence",
    b"Nats-Pin-Id",
    b"nats-msg-id",
    b"Status",
    b"Description",
    b"Smith-Dead-Subject",
    b"Smith-Dead-Attempts",
    b"Smith-Dead-Stored",
    b"Smith-Dead-First-Delivered",
    b"Smith-Dead-Last-Delivered",
    b"Smith-Dead-Error-Type",
    b"Smith-Dead-Error",
    b"Smith-Dead-Traceback",
    b"Smith-Dead-Host",
    b"Smith-Dead-Worker",
    b"Smith-Dead-Msg-Id",
    b"Smith-Dead-Dropped-Headers",
    b"smith-dead-subject",
    b"Smith-Replay-Of",
    b"Smith-Replay-First",
    b"Smith-Replay-Count",
    b"Smith-Replay-After",
    b"Smith-Signature",
    b"Trace-Id",
    b"X" * 2000,
    b"",
    b" ",
    b"a b",
    b"\xff\xfe",
    "\u202e".encode(),
    b"\x1b[2J",
    b"a\x00b",
)
_VALUES: Final[tuple[bytes, ...]] = (
    b"",
    b"x",
    b"0",
    b"-1",
    b"1",
    b"many",
    b"1.5",
    b"9" * 5000,
    b"NaN",
    "\u0661\u0662".encode(),
    b"yesterday",
    b"2026-01-01T00:00:00",
    b"2026-01-01T00:00:00Z",
    b"9999-12-31T23:59:59.999999999Z",
    b"0001-01-01T00:00:00Z",
    b"-1-01-01T00:00:00Z",
    b"{",
    b'"\\ud800"',
    b"[" * 10_000,
    b"\xff\xfe\x00",
    b"\x1b]0;owned\x07",
    "\u202e\u009b".encode(),
    b"[bold]x[/bold]",
    b"all",
    b"sub",
    b"never",
    b"1s",
    b"@at 2100-01-01T00:00:00Z",
    b"$JS.API.STREAM.DELETE.ATOMS_RESULTS",
    b"smith.intents.vetted.shell.exec.v1.default",
    b"smith.intents.vetted.fs.read.v1.*",
    b"smith.dlq.>",
    b"a\rb\nc",
)
_STATUSES: Final[tuple[bytes, ...]] = (
    b"NATS/1.0",
    b"NATS/1.0 503",
    b"NATS/1.0 100 Idle Heartbeat",
    b"NATS/1.0 404 No Messages",
    b"NATS/1.0 408 Request Timeout",
    b"NATS/1.0 409 Consumer Deleted",
    b"NATS/1.0 409 Message Size Exceeds MaxBytes",
    b"NATS/1.0 423 Nats-Wrong-Pin-Id",
    b"NATS/1.0 400 Bad Request",
    b"NATS/1.0 " + b"9" * 5000,
    b"NATS/1.0 \xd9\xa1",
    b"HTTP/1.1 200 OK",
    b"",
    b"\xff\xff\xff",
)


@dataclass(frozen=True)
class Hostile:
    """One message to publish; `headers` is the block as it goes over the wire, or None."""

    path: str
    number: int
    subject: bytes
    data: bytes = field(repr=False)
    headers: bytes | None = field(repr=False)

    def __str__(self) -> str:
        data = f"{len(self.data)} bytes {self.data[:120]!r}"
        return f"message {self.number} of {self.path}: {self.subject[:120]!r}, {data}, headers {self.headers!r:.300}"


class Generator:
    """Mutations of valid messages. `samples` are the subject and payload of valid ones."""

    def __init__(self, seed: int, path: str, samples: Sequence[tuple[str, bytes]], *, largest: int = 1024 * 1024) -> None:
        self._seed = seed
        self._path = path
        self._samples = samples
        self._largest = largest

    def message(self, number: int) -> Hostile:
        """The message with that number."""
        random_ = random.Random(f"{self._seed}/{self._path}/{number}")
        subject, data = random_.choice(self._samples)
        return Hostile(
            path=self._path,
            number=number,
            subject=hostile_subject(random_, subject.encode()),
            data=hostile_payload(random_, data, self._largest),
            headers=hostile_headers(random_),
        )


# ---- subjects


def hostile_subject(random_: random.Random, subject: bytes) -> bytes:
    """Mostly the subject itself, so that the message arrives; else with other tokens at its end."""
    if random_.random() < 0.5:
        return subject
    tokens = subject.split(b".")
    for _ in range(random_.choice((1, 1, 1, 2))):
        # The first two or three tokens choose the stream: with others the message goes to none.
        first = 2 if random_.random() < 0.1 else 3
        place = random_.randrange(min(first, len(tokens) - 1), len(tokens))
        tokens[place] = random_.choice(TOKENS)
    if random_.random() < 0.1:
        tokens.append(random_.choice(TOKENS))
    return b".".join(tokens)


# ---- headers


def hostile_headers(random_: random.Random) -> bytes | None:
    if random_.random() < 0.4:
        return None
    status = random_.choice(_STATUSES) if random_.random() < 0.15 else b"NATS/1.0"
    lines = [status]
    for _ in range(random_.choice((0, 1, 1, 2, 3, 8))):
        lines.append(random_.choice(_NAMES) + random_.choice((b": ", b":", b"", b" : ")) + random_.choice(_VALUES))
    if random_.random() < 0.2 and len(lines) > 1:
        lines.append(lines[-1])
    if random_.random() < 0.03:
        lines.append(b"Huge: " + b"h" * random_.choice((4_000, 30_000, 64_000, 70_000)))
    return b"\r\n".join(lines) + b"\r\n\r\n"


# ---- payloads


def hostile_payload(random_: random.Random, valid: bytes, largest: int) -> bytes:
    kinds: list[tuple[int, Callable[[], bytes]]] = [
        (5, lambda: valid),
        (10, lambda: _flipped(random_, valid)),
        (8, lambda: valid[: random_.randrange(len(valid) + 1)]),
        (6, lambda: _spliced(random_, valid)),
        (45, lambda: _other_values(random_, valid)),
        (6, lambda: _repeated_key(random_, valid)),
        (8, lambda: random_.choice(_WHOLE)[:largest]),
        (4, lambda: random_.randbytes(random_.choice((1, 10, 1000)))),
        (2, lambda: _large(random_, valid, largest)),
    ]
    (chosen,) = random_.choices([make for _, make in kinds], [weight for weight, _ in kinds])
    return chosen()[:largest]


def _flipped(random_: random.Random, valid: bytes) -> bytes:
    data = bytearray(valid)
    for _ in range(random_.choice((1, 1, 2, 5))):
        if data:
            data[random_.randrange(len(data))] = random_.randrange(256)
    return bytes(data)


def _spliced(random_: random.Random, valid: bytes) -> bytes:
    at, end = sorted(random_.randrange(len(valid) + 1) for _ in range(2))
    what = random_.choice((b"", valid[at:end] * 2, random_.randbytes(4), b"\x00", b'"', b"}", b","))
    return valid[:at] + what + valid[end:]


def _repeated_key(random_: random.Random, valid: bytes) -> bytes:
    try:
        key = random_.choice(list(json.loads(valid)))
    except (ValueError, IndexError, TypeError, RecursionError):
        return valid
    return b"{" + json.dumps(key).encode() + b":" + _odd_value(random_).encode() + b"," + valid.removeprefix(b"{")


def _other_values(random_: random.Random, valid: bytes) -> bytes:
    """The JSON with one or a few of its values replaced, dropped, renamed or added to."""
    try:
        value = json.loads(valid)
    except ValueError:
        return _flipped(random_, valid)
    marks: dict[str, str] = {}

    def mark() -> str:
        name = f"@@{len(marks)}@@"
        marks[name] = _odd_value(random_)
        return name

    for _ in range(random_.choice((1, 1, 1, 2, 4))):
        holder: Any = value
        while True:
            keys: list[Any] = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = random_.choice(keys)
            inner = holder[key]
            if isinstance(inner, (dict, list)) and inner and random_.random() < 0.7:
                holder = inner
                continue
            what = random_.random()
            if what < 0.7:
                holder[key] = mark()
            elif what < 0.8:
                del holder[key]
            elif isinstance(holder, dict):
                holder[random_.choice((str(key).upper(), "", "\u202e", "x" * 500, "__class__"))] = mark()
            break
    text = json.dumps(value)
    for name, odd in marks.items():
        text = text.replace(f'"{name}"', odd)
    return text.encode()


def _odd_value(random_: random.Random) -> str:
    kind = random_.random()
    if kind < 0.4:
        return random_.choice(_TEXTS)
    if kind < 0.7:
        return random_.choice(_NUMBERS)
    if kind < 0.9:
        return random_.choice(_OTHERS)
    depth = random_.choice((10, 200, 2_000, 50_000))
    opening, closing = random_.choice((("[", "]"), ('{"a":', "}")))
    return opening * depth + "1" + closing * depth


def _large(random_: random.Random, valid: bytes, largest: int) -> bytes:
    size = random_.choice((64 * 1024, largest // 4, largest // 2, largest))
    kind = random_.randrange(4)
    if kind == 0:
        return valid + b" " * (size - len(valid))
    if kind == 1:
        return b"\xf0" * size
    if kind == 2:
        return valid.removesuffix(b"}") + b',"extra":[' + b"{}," * ((size - len(valid)) // 3 - 10) + b"{}]}"
    return valid.removesuffix(b"}") + b',"extra":"' + b"x" * (size - len(valid) - 20) + b'"}'
