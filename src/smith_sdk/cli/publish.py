"""`smith publish`: messages from `key=value` words or from JSON, checked by the contract."""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from difflib import get_close_matches
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_origin

import msgspec
from cyclopts import Parameter

from ..errors import InvalidShardKey, InvalidToken, OptionsError, SmithError, SubjectMismatch, UnknownSubject
from .fields import Json as Text
from .fields import build, read_words
from .names import subject_classes
from .options import HERE, Where
from .output import Json, messages, note, plain, say, show_json

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..contract import Contract

_STDIN: Final = "-"
_AHEAD: Final = 1000
"""Messages in flight."""


def publish(
    subject: Annotated[str, Parameter(help="A subject's name in the contract, such as logs.errors, or a full subject.")],
    /,
    *words: Annotated[
        str,
        Parameter(
            name="FIELD=VALUE",
            help="Fields and tokens: service=web; - reads JSON from standard input.",
            allow_leading_hyphen=True,
        ),
    ],
    file: Annotated[
        Path | None,
        Parameter(help="Read JSON from this file: one message, or one a line; - is standard input.", allow_leading_hyphen=True),
    ] = None,
    msg_id: Annotated[str | None, Parameter(help="Deduplication id of the one message.")] = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Publish a message, or one for each line of JSON, typed and validated by the contract.

    Fields that are not given are filled in where the contract can: ids, times, nonces. A wrong line
    of a FILE stops it before anything is published.
    """
    source = _STDIN if _STDIN in words else str(file) if file is not None else None
    if _STDIN in words and file is not None:
        raise OptionsError("- and --file exclude each other: pass one of them")
    given = read_words(word for word in words if word != _STDIN)
    target = Target(where.declared, subject)
    if source is None:
        envelopes: Iterable[tuple[Any, Any]] = [target.envelope(given)]
    else:
        if msg_id is not None:
            raise OptionsError("--msg-id is for one message: leave it out with - and --file")
        envelopes = _from_lines(target, given, source)
        if source != _STDIN:
            envelopes = list(envelopes)
    _publish(where, envelopes, msg_id, json, many=source is not None)


class Target:
    """What is published to: a subject of the contract, by its name or in full."""

    def __init__(self, contract: Contract, name: str) -> None:
        from ..contract import ReadOnlySubject

        self.name = name
        self.fixed: Any = None
        found = {cls.NAME: cls for cls in subject_classes(contract)}
        self.cls: Any = found.get(name)
        if self.cls is None:
            try:
                self.fixed = contract.parse(name)
            except (UnknownSubject, InvalidToken) as error:
                close = get_close_matches(name, list(found), n=1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(found))}"
                raise OptionsError(f"{error}; {hint}") from None
            self.cls = type(self.fixed)
        if issubclass(self.cls, ReadOnlySubject):
            raise OptionsError(f"{name} is a subject of other publishers: it can be read, and not published to")
        # Without a token that the payload has, there is no `of`: the tokens are all of the subject.
        self.make: Any = getattr(self.cls, "of", None) or (lambda _, **tokens: self.cls(**tokens))
        made_of = inspect.signature(getattr(self.cls, "of", self.cls)).parameters.values()
        own = [one for one in made_of if one.kind is one.KEYWORD_ONLY and one.name in self.cls.__struct_fields__]
        self.tokens = {one.name for one in own}
        self.needed = {one.name for one in own if one.default is one.empty}

    def given(self, key: str, value: Any) -> Any:
        """A value of a JSON object, as one of `envelope`: never read as a word.

        Text that is a token of the subject stands as it is: it may select the payload.
        """
        if isinstance(value, str) and key in self.cls.__struct_fields__:
            return value
        return Text(msgspec.json.encode(value).decode())

    def envelope(self, given: dict[str, Any]) -> tuple[Any, Any]:
        """The subject and the payload of one message. Raises `OptionsError`."""
        given = {**self._from_subject(), **given}
        cls = self._payload_class(given)
        if cls is bytes:
            raise OptionsError(f"{self.name} carries raw bytes, which this command cannot make")
        payload = build(cls, {key: value for key, value in given.items() if key not in self.tokens}, self.name)
        missing = [f"{token}=..." for token in sorted(self.needed) if token not in given]
        if missing:
            raise OptionsError(f"{self.name} needs {', '.join(missing)} for its subject {self.cls.PATTERN}")
        subject = self._subject(payload, given)
        if self.fixed is not None and str(subject) != str(self.fixed):
            raise OptionsError(f"{self.name}: a message with these fields belongs on {subject}")
        return subject, payload

    def _subject(self, payload: Any, given: dict[str, Any]) -> Any:
        try:
            return self.make(payload, **{token: _token(self.cls, token, given[token]) for token in self.tokens if token in given})
        except (InvalidToken, InvalidShardKey, SubjectMismatch) as error:
            raise OptionsError(str(error)) from None

    def _from_subject(self) -> dict[str, Any]:
        """The tokens of a full subject, as they were given: they fill fields of the same name."""
        from ..contract import Shard

        found = {} if self.fixed is None else msgspec.structs.asdict(self.fixed)
        return {
            key: value for key, value in found.items() if value is not None and not isinstance(value, Shard)
        }  # the payload's key tells it

    def _payload_class(self, given: dict[str, Any]) -> Any:
        """The class of the payload, which a token may select, such as `capability`."""
        read: Any = self.cls.message_type.fget
        if self.fixed is not None and self._is_alias(given):
            return self.fixed.message_type
        try:
            found = read(SimpleNamespace(**given))
            return self._member(get_args(found), given) if get_args(found) else found
        except AttributeError as error:
            raise OptionsError(f"{self.name} needs {error.name}=..., which selects the payload") from None
        except KeyError as error:
            selected = str(error.args[0])
            token = next(key for key, value in given.items() if value == selected)
            try:
                self.cls.filter(**{token: selected})
            except InvalidToken as refused:
                raise OptionsError(str(refused)) from None
            raise

    def _member(self, members: tuple[Any, ...], given: dict[str, Any]) -> Any:
        """The payload class of a union that the tag selects."""
        key = members[0].__struct_config__.tag_field
        by_tag = {one.__struct_config__.tag: one for one in members}
        if given.get(key) not in by_tag:
            raise OptionsError(f"{self.name} needs {key}=..., which selects the payload: one of {' | '.join(by_tag)}")
        return by_tag[given[key]]

    def _is_alias(self, given: dict[str, Any]) -> bool:
        """Whether the tag of the payload that the subject selects is given by another name."""
        cls = self.fixed.message_type
        tag = getattr(getattr(cls, "__struct_config__", None), "tag_field", None)
        return tag is not None and given.get(tag) in getattr(cls, "ALIASES", ())


def _token(cls: Any, name: str, value: Any) -> Any:
    """A token that is not a field of the payload, by its type."""
    kind = next(field.type for field in msgspec.structs.fields(cls) if field.name == name)
    if isinstance(value, str) and get_origin(kind) is tuple:  # all tokens to the end of the subject
        return tuple(value.split("."))
    try:
        return msgspec.convert(value, kind, strict=False)
    except (msgspec.ValidationError, TypeError):
        return value  # the subject refuses it, and names what it allows


# ---- reading


def _from_lines(target: Target, given: dict[str, str], source: str) -> Iterator[tuple[Any, Any]]:
    """The messages in a file or on standard input; `given` is in all of them.

    Raises `OptionsError`, which names the line.
    """
    name = "standard input" if source == _STDIN else source
    with ExitStack() as closing:
        try:
            lines: Any = sys.stdin if source == _STDIN else closing.enter_context(open(source, encoding="utf-8"))
            for number, value in _values(lines, name):
                if not isinstance(value, dict):
                    raise OptionsError(f"{name}, line {number}: expected a JSON object, which is one message")
                try:
                    yield target.envelope({**given, **{key: target.given(key, one) for key, one in value.items()}})
                except OptionsError as error:
                    raise OptionsError(f"{name}, line {number}: {error}") from None
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise OptionsError(f"{name} cannot be read: {why}") from None


def _values(lines: Iterable[str], name: str) -> Iterator[tuple[int, Any]]:
    """The JSON of each line, and the number of the line; or the one JSON value of all lines."""
    read = iter(lines)
    for number, line in enumerate(read, 1):
        if not line.strip():
            continue
        try:
            yield number, msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            if number > 1:
                raise OptionsError(f"{name}, line {number} is not JSON: {error}") from None
            try:  # one message that is spread over several lines
                yield 1, msgspec.json.decode(line + "".join(read))
            except (msgspec.DecodeError, RecursionError):
                raise OptionsError(f"{name}, line 1 is not JSON, and neither is the whole: {error}") from None


# ---- sending


def _publish(where: Where, envelopes: Iterable[tuple[Any, Any]], msg_id: str | None, json: bool, *, many: bool) -> None:
    done: list[Any] = []
    flying: deque[Future[Any]] = deque()
    try:
        with where.bus() as bus:
            for subject, payload in envelopes:
                if subject.STREAM is None:
                    bus.emit(subject, payload)
                    done.append({"subject": str(subject)})
                else:
                    flying.append(bus.submit(subject, payload, msg_id=msg_id))
                while flying and (len(flying) > _AHEAD or flying[0].done()):
                    done.append(flying.popleft().result())
            while flying:
                done.append(flying.popleft().result())
    except (SmithError, KeyboardInterrupt):
        # Closing the bus has ended those in flight.
        stored = len(done) + sum(one.done() and not one.cancelled() and one.exception() is None for one in flying)
        if stored:
            note(f"smith: {messages(stored)} published before that")
        raise
    if json:
        show_json(done if many else done[0])
    elif many:
        say(f"published {messages(len(done))}")
    else:
        say(_words(done[0]) + _id(envelopes))


def _id(envelopes: Iterable[tuple[Any, Any]]) -> str:
    """The id of the one message, which `smith trace` and others want, if its payload has one."""
    (_, payload) = next(iter(envelopes))
    return f", id {plain(str(getattr(payload, payload.ID_FIELD)))}" if getattr(payload, "ID_FIELD", None) else ""


def _words(ack: Any) -> str:
    if isinstance(ack, dict):
        return plain(f"sent on {ack['subject']}, which no stream keeps")
    before = "was stored before, in" if ack.duplicate else "stored in"
    return f"{before} {ack.stream} as {ack.seq:,}"
