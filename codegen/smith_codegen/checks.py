"""Checks of a well-formed spec. Nothing is generated from a spec with an error.

First names and references (here), then what needs valid names: patterns, streams and consumers
(`wire_checks.py`), and last the effects on specs that this one extends (`extension.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from keyword import iskeyword
from pathlib import Path
from typing import Final

from . import (
    bucket_checks,
    dependence,
    domains,
    extension,
    header_checks,
    message_checks,
    names,
    recursion_checks,
    request_checks,
    shape_checks,
    sharded_checks,
    text_checks,
    topology_checks,
    wire_checks,
)
from .errors import SpecError, SpecErrors
from .locate import Path as Key
from .name_checks import is_class_name, is_name, python_name, suggest
from .naming import RESERVED
from .patterns import LITERAL
from .placeholders import is_literal, pieces, split
from .spec import Spec, TokenDecl

_FORMAT: Final = re.compile(r"(0[1-9]\d?)?[dx]")


def check(spec: Spec, out: Path | None = None) -> None:
    """Raise `SpecErrors` with all errors, but for those that only follow from others."""
    errors: list[SpecError] = [] if out is None else [*_place(spec, out)]
    left = spec
    for room in (_names, wire_checks.forms, wire_checks.check, domains.check, extension.check):
        errors += room(left)
        left = dependence.without(spec, dependence.in_doubt(spec, errors))
    errors = list({str(error): error for error in errors}.values())  # shards repeat those of their sharding
    own = [error for error in errors if error.own]
    if errors:
        raise SpecErrors(own or errors)


def _names(spec: Spec) -> Iterator[SpecError]:
    yield from _head(spec)
    in_tokens = [error for name, token in spec.tokens.items() for error in _token(spec, name, token)]
    yield from in_tokens
    wrong = {error.path[1] for error in in_tokens}
    for name, enum in spec.enums.items():
        yield from message_checks.check_enum(spec, name, enum)
    for name, message in spec.messages.items():
        for error in message_checks.check(spec, name, message):
            if message.by not in wrong or error.path[2:3] not in (("by",), ("params",)) or len(error.path) > 4:
                yield error
    yield from shape_checks.check(spec)
    yield from recursion_checks.check(spec)
    yield from text_checks.check(spec)
    yield from _types(spec)
    yield from _subjects(spec)
    yield from _references(spec)
    yield from request_checks.check(spec)
    yield from bucket_checks.check(spec)
    yield from header_checks.check(spec)
    for name in spec.sharding:
        yield from python_name(spec, ("sharding", name), name, frozenset())
    yield from sharded_checks.check(spec)


# ---- [spec]


def _head(spec: Spec) -> Iterator[SpecError]:
    yield from _roots(spec, spec.spec.roots)
    if not all(map(is_name, spec.spec.package.split("."))):
        yield spec.error(
            ("spec", "package"), f"{spec.spec.package!r} is not a valid package name", "write an import name, such as acme.bus"
        )
    if spec.spec.version < 1:
        yield spec.error(("spec", "version"), "is less than 1", "count from 1")
    keys = [one.key for one in spec.ignored]
    for index, one in enumerate(spec.ignored):
        where = ("spec", "breaking", "ignore", str(index))
        if not one.reason.strip():
            yield spec.error((*where, "reason"), "is empty", "say why the change is safe")
        if keys.index(one.key) != index:
            yield spec.error((*where, "key"), f"{one.key} is listed twice", "name each key once")


def _roots(spec: Spec, roots: tuple[str, ...]) -> Iterator[SpecError]:
    if not roots:
        yield spec.error(("spec", "root"), "is empty", "write the tokens that every subject begins with")
    for index, root in enumerate(roots):
        key = ("spec", "root") if isinstance(spec.spec.root, str) else ("spec", "root", str(index))
        if not all(is_literal(piece, at) for at, piece in enumerate(split(root))):
            yield spec.error(key, f"{root!r} is not a valid subject", "write the tokens that every subject begins with")
        elif any(f"{root}.".startswith(f"{other}.") for other in (*roots[:index], *roots[index + 1 :])):
            yield spec.error(key, f"{root} is within another root", "write each root once, and none within another")


def _place(spec: Spec, out: Path) -> Iterator[SpecError]:
    wanted = tuple(spec.spec.package.split("."))
    if out.resolve().parts[-len(wanted) :] != wanted:
        fix = f"generate into .../{'/'.join(wanted)}, or name the package that {out} is"
        yield spec.error(("spec", "package"), f"{spec.spec.package} is not what {out} is imported as", fix)


# ---- [tokens]


def _token(spec: Spec, name: str, decl: TokenDecl) -> Iterator[SpecError]:
    key = ("tokens", name)
    yield from python_name(spec, key, names.token(name), frozenset())
    if (decl.newtype is None) == (decl.enum is None):
        yield spec.error(key, "needs either `newtype` or `enum`", "an open token has a newtype, a closed set an enum")
        return
    if decl.enum is None:
        yield from _open(spec, key, decl)
    else:
        yield from _closed(spec, key, name, decl.enum, decl)


def _open(spec: Spec, key: Key, decl: TokenDecl) -> Iterator[SpecError]:
    assert decl.newtype is not None
    if not is_class_name(decl.newtype):
        yield spec.error((*key, "newtype"), f"{decl.newtype!r} is not a valid class name", "write it like IntentId")
    if decl.format is not None and (decl.base != "int" or not _FORMAT.fullmatch(decl.format)):
        yield spec.error((*key, "format"), f"{decl.format!r} is not an int format", 'write "02x" or "03d", and base = "int"')
    if decl.base == "int":
        if decl.exclude:
            yield spec.error((*key, "exclude"), "is for tokens that are str", "use min and max")
        if decl.min is not None and decl.max is not None and decl.min > decl.max:
            yield spec.error((*key, "min"), "is greater than max", "swap them")
    for bound in ("min", "max"):
        if decl.base == "str" and getattr(decl, bound) is not None:
            yield spec.error((*key, bound), 'is for tokens with base = "int"', "remove it, or add the base")
    for index, value in enumerate(decl.exclude):
        if not LITERAL.fullmatch(value):
            yield spec.error((*key, "exclude", str(index)), f"{value!r} is not a valid token", "write one token")


def _closed(spec: Spec, key: Key, name: str, values: tuple[str, ...], decl: TokenDecl) -> Iterator[SpecError]:
    if decl.exclude or decl.min is not None or decl.max is not None or decl.base != "str" or decl.format is not None:
        yield spec.error(key, "has an enum together with exclude, min, max, base or format", "these are for open tokens")
    if not values:
        yield spec.error((*key, "enum"), "has no value", "name the values")
        return
    if not is_class_name(names.camel(name)):
        yield spec.error(key, f"{name!r} does not make a valid type name", "begin it with a letter")
    yield from _aliases(spec, key, name, decl)
    width = len(values[0].split("."))
    for index, value in enumerate(values):
        where = (*key, "enum", str(index))
        if not all(LITERAL.fullmatch(piece) for piece in value.split(".")):
            yield spec.error(where, f"{value!r} is not a valid token", "write tokens, joined by dots")
        elif len(value.split(".")) != width:
            problem = f"{value!r} and {values[0]!r} span different numbers of tokens, {len(value.split('.'))} and {width}"
            yield spec.error(where, problem, "a dot ends a token: write every value with as many dots")
        if values.index(value) != index:
            yield spec.error(where, f"{value!r} occurs twice", "name each value once")
    for value in values if name in spec.selectors else ():
        if not is_name(spec.python.constants[name, value]):
            where = (*key, "enum", str(values.index(value)))
            yield spec.error(where, f"{value!r} does not make a valid Python name", "begin it with a letter")


def _aliases(spec: Spec, key: Key, name: str, decl: TokenDecl) -> Iterator[SpecError]:
    if decl.aliases and name not in spec.selectors:
        yield spec.error((*key, "aliases"), "are for a token that selects a payload", "remove them")
    for alias, value in decl.aliases.items():
        where = (*key, "aliases", alias)
        if alias in (decl.enum or ()):
            yield spec.error(where, "is a value of the token itself", "remove it")
        elif value not in (decl.enum or ()):
            yield spec.error(where, f"{value!r} is not a value of {name}", f"write one of {', '.join(decl.enum or ())}")


# ---- [messages]: names


def _types(spec: Spec) -> Iterator[SpecError]:
    """Two types that the spec itself gives the same name, or one that Python has to have."""
    made: list[tuple[str, Key]] = [
        (name, (section, name)) for section in ("enums", "messages", "unions") for name in getattr(spec, section)
    ]
    count = Counter(name for name, _ in made)
    for name, key in made:
        if count[name] > 1:
            yield spec.error(key, f"is a second type called {name}", "rename one of them")
        elif name in RESERVED:
            yield spec.error(key, f"{name} is a name that generated code needs", "choose another")
    yield from _shared(spec)
    yield from _of_packages(spec)


def _shared(spec: Spec) -> Iterator[SpecError]:
    """Tokens with the same newtype are of one type."""
    first: dict[str, str] = {}
    for name, token in spec.tokens.items():
        if token.newtype is None:
            continue
        other = first.setdefault(token.newtype, name)
        if spec.tokens[other].base != token.base:
            problem = f"{token.newtype} is the type of {other}, which has another base"
            yield spec.error(("tokens", name, "newtype"), problem, "choose another")


def _of_packages(spec: Spec) -> Iterator[SpecError]:
    """Own names that an inherited type or subject has: each package names its own alone."""
    made: list[tuple[str, Key]] = [(name, ("tokens", token)) for token, name in spec.python.tokens.items()]
    made += ((name, (section, name)) for section in ("enums", "messages", "unions") for name in getattr(spec, section))
    for names_of in (spec.python.members, spec.python.params):
        made += ((name, ("messages", family, "params", value)) for (family, value), name in names_of.items())
    made += ((cls, ("subjects", name)) for name, (_, _, cls) in spec.python.subjects.items())
    inherited = {name: spec.home(key) for name, key in made if not spec.is_own(key)}
    for name, key in made:
        if spec.is_own(key) and name in inherited:
            yield spec.error(key, f"is a second type called {name}: {inherited[name]} has one", "rename it")


# ---- [subjects]: names


def _subjects(spec: Spec) -> Iterator[SpecError]:
    for name in spec.subjects:
        key = ("subjects", name)
        for part in name.split("."):
            yield from python_name(spec, key, f"{part}_" if iskeyword(part) else part, frozenset())


# ---- references


def _references(spec: Spec) -> Iterator[SpecError]:
    for name, subject in spec.subjects.items():
        key = ("subjects", name)
        if key in spec.derived:
            continue
        if subject.message != "bytes" and subject.message not in spec.messages and subject.message not in spec.unions:
            fix = suggest(subject.message, [*spec.messages, *spec.unions], "declare it in [messages], or write bytes")
            yield spec.error((*key, "message"), f"unknown message {subject.message!r}", fix)
        if subject.stream is not None and subject.stream not in spec.streams:
            yield spec.error(
                (*key, "stream"), f"unknown stream {subject.stream!r}", _declare("streams", subject.stream, spec.streams)
            )
        for piece in pieces(subject.pattern):
            if piece.name and not piece.is_tail and piece.name not in spec.tokens:
                yield spec.error((*key, "pattern"), f"unknown token {piece.name!r}", _declare("tokens", piece.name, spec.tokens))
            elif piece.is_tail:
                yield from _tail(spec, (*key, "pattern"), piece.name)
    yield from topology_checks.references(spec, _declare)
    for name, consumer in spec.consumers.items():
        key = ("consumers", name)
        if key in spec.derived:
            continue
        if consumer.stream not in spec.streams:
            yield spec.error(
                (*key, "stream"), f"unknown stream {consumer.stream!r}", _declare("streams", consumer.stream, spec.streams)
            )
        for at, table in zip(consumer.filter_keys, consumer.chosen, strict=True):
            given = table.get("subject")
            if given not in spec.subjects:
                fix = _declare("subjects", given, spec.subjects) if given else 'add subject = "..."'
                yield spec.error((*key, *at), f"unknown subject {given!r}" if given else "names no subject", fix)
        for index, published in enumerate(consumer.publishes):
            if published not in spec.subjects:
                fix = _declare("subjects", published, spec.subjects)
                yield spec.error((*key, "publishes", str(index)), f"unknown subject {published!r}", fix)
        if not is_name(spec.python.consumers[name]):
            yield spec.error(key, f"{name!r} does not make a valid Python name", "begin it with a letter")


def _tail(spec: Spec, key: Key, name: str) -> Iterator[SpecError]:
    if name in spec.tokens:
        problem = f"{{{name}>}} is a tuple of any tokens, and [tokens] declares {name}"
        yield spec.error(key, problem, "give one of the two another name")
    else:
        yield from python_name(spec, key, names.token(name), frozenset())


def _declare(section: str, name: str, known: Iterable[str]) -> str:
    return suggest(name, known, f"declare it in [{section}]")
