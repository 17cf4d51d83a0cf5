"""`smith tail`: the messages of a subject, and new ones as they are stored."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from ..errors import NotAcknowledgeable, OptionsError
from .names import subject_classes
from .options import HERE, Where
from .output import console, json_line, note, plain
from .trace import time_of
from .values import MOMENT_HELP, Moment

if TYPE_CHECKING:
    from ..contract import Contract, Filter
    from ..sync import SmithBus

_LAST: Final = 10
_MSG_ID: Final = "Nats-Msg-Id"
_MOST_REMEMBERED: Final = 100_000


def tail(
    subject: Annotated[
        str, Parameter(help="A subject's name in the contract, such as intents.raw or audit, or subjects as on the wire.")
    ],
    /,
    *,
    last: Annotated[int | None, Parameter(help=f"The last so many messages. Default: {_LAST}.")] = None,
    since: Annotated[Moment | None, Parameter(help=f"Messages stored since then: {MOMENT_HELP}")] = None,
    from_seq: Annotated[int | None, Parameter(help="Messages from this sequence of the stream on.")] = None,
    every: Annotated[bool, Parameter(name="--all", negative="", help="All messages.")] = False,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="", help="Go on with new ones until Ctrl-C.")] = False,
    where: Where = HERE,
    json: Annotated[
        bool, Parameter(name="--json", negative="", help="Print a JSON object for each message, one a line.")
    ] = False,
) -> None:
    """Show messages of a subject: the last ones, and with --follow new ones as they come.

    Nothing is acknowledged or taken from any consumer.
    """
    start = _start(last, since, from_seq, every, follow)
    contract = where.declared
    what, is_stored, is_consumed = _chosen(contract, subject)
    if not is_stored and not follow:
        raise OptionsError(f"{subject} is stored by no stream: pass --follow to see new messages")
    is_empty = True
    with where.bus() as bus:
        try:
            found = _messages(bus, what, start, stored=is_stored, consumed=is_consumed, follow=follow)
            for message in found:
                is_empty = False
                _show(message, contract.without_secrets(message.raw), json)
        except BrokenPipeError:  # `smith tail ... | head`: there is nothing left to write to
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if is_empty:
        note(f"no messages on {what}")


def _start(last: int | None, since: datetime | None, from_seq: int | None, every: bool, follow: bool) -> dict[str, Any]:
    given = {"--last": last, "--since": since, "--from-seq": from_seq, "--all": every or None}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise OptionsError(f"{' and '.join(names)} exclude each other: pass one of them")
    if since is not None and since > datetime.now(UTC):
        raise OptionsError(f"--since {since:%Y-%m-%dT%H:%M:%SZ} is in the future")
    for name, value, least in (("--last", last, 0 if follow else 1), ("--from-seq", from_seq, 1)):
        if value is not None and value < least:
            raise OptionsError(f"{name} {value}: pass {least} or more")
    if not names:
        last = _LAST
    return {"last": last, "since": since, "from_seq": from_seq}


# ---- which messages


def _chosen(contract: Contract, name: str) -> tuple[Filter[Any, Any], bool, bool]:
    """The filter for `name`; whether a stream stores it; and whether that one deletes what its
    consumers have acknowledged."""
    from ..aio.read import streams_with

    named = [cls for cls in subject_classes(contract) if name == cls.NAME or cls.NAME.startswith(f"{name}.")]
    patterns = [pattern for cls in named for pattern in _every(cls)] or [_wire(contract, name)]
    what = contract.filter(*patterns)
    specs = [spec for pattern in what.patterns for spec in streams_with(contract, pattern)]
    return what, bool(specs), any(spec.retention != "limits" for spec in specs)


def _every(cls: Any) -> tuple[str, ...]:
    """The patterns of all subjects of a class; one without tokens is a subject itself."""
    found: tuple[str, ...] = cls.filter().patterns if hasattr(cls, "filter") else (str(cls()),)
    return found


def _wire(contract: Contract, name: str) -> str:
    """`name` as a subject on the wire. Raises `OptionsError`."""
    tokens = name.split(".")
    wrong = [token for token in tokens if not token or not token.isprintable() or " " in token]
    if wrong or ">" in tokens[:-1]:
        raise OptionsError(f"{name!r} is not a valid subject")
    roots = (*contract.roots, "*", ">")
    if tokens[0] not in roots:
        names = sorted({cls.NAME for cls in subject_classes(contract)})
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
        raise OptionsError(f'contract {contract.name!r} has no subject "{name}"; {hint}')
    return name


def _messages(
    bus: SmithBus, what: Filter[Any, Any], start: Mapping[str, Any], *, stored: bool, consumed: bool, follow: bool
) -> Iterator[Any]:
    if stored and not (consumed and follow):
        yield from bus.read(what, follow=follow, **start)
        return
    # What consumers have acknowledged is deleted there, so new messages are taken as they are
    # published.
    with ExitStack() as closing:
        live = closing.enter_context(bus.subscribe(what))
        seen: set[tuple[str, str]] = set()
        for old in bus.read(what, **start) if stored and start["last"] != 0 else ():
            if len(seen) < _MOST_REMEMBERED:
                seen.add(_identity(old))
            yield old
        for new in live:
            if not _is_known(_identity(new), seen):
                yield new


def _subject_of(message: Any) -> str:
    """The subject as on the wire: the contract may not know it."""
    found: str = getattr(message, "_aio", message)._facts()["subject"]
    return found


def _identity(message: Any) -> tuple[str, str]:
    return _subject_of(message), message.headers.get(_MSG_ID, "")


def _is_known(identity: tuple[str, str], seen: set[tuple[str, str]]) -> bool:
    """Whether a message that comes now was read before."""
    if not identity[1] or identity not in seen:
        return False
    seen.discard(identity)
    return True


# ---- showing them


def _show(message: Any, payload: bytes, json: bool) -> None:
    facts = _facts(message, payload)
    if json:
        line = json_line(facts)
    elif sys.stdout.isatty():
        _show_on_terminal(payload, facts)
        return
    else:
        line = f"{time_of(facts['time'])}  {plain(facts['subject'])}  {_text(payload)}"
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _show_on_terminal(payload: bytes, facts: Mapping[str, Any]) -> None:
    """Two lines, cut to the terminal's width: time and subject, and the payload."""
    from rich.text import Text

    out = console()
    when: datetime = facts["time"]
    day = "" if when.date() == datetime.now(UTC).date() else f"{when:%Y-%m-%d} "
    head = Text.assemble((f"{day}{time_of(when)}", "dim"), "  ", (plain(facts["subject"]), "bold"))
    for line in (head, Text(f"  {_text(payload, out.width * 4)}")):
        line.truncate(out.width, overflow="ellipsis")
        out.print(line, soft_wrap=True)


def _text(payload: bytes, most: int | None = None) -> str:
    """The payload on one line, control characters escaped; about `most` characters of it."""
    return plain(payload[:most].decode("utf-8", "backslashreplace"))


def _facts(message: Any, payload: bytes) -> dict[str, Any]:
    """A message for programs: `payload` if it is JSON, else `raw` in base64."""
    facts: dict[str, Any] = {"time": datetime.now(UTC), "subject": _subject_of(message)}
    try:
        place = message.metadata
    except NotAcknowledgeable:  # as published
        pass
    else:
        whole, rest = divmod(place.timestamp, 1_000_000_000)
        facts["time"] = datetime.fromtimestamp(whole, UTC).replace(microsecond=rest // 1000)
        facts |= {"stream": place.stream, "seq": place.stream_seq}
    facts["headers"] = dict(message.headers)
    try:
        facts["payload"] = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        facts["raw"] = base64.b64encode(payload).decode()
    return facts
