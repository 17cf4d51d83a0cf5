"""Checks of a well-formed spec. Nothing is generated from a spec with an error.

First names and references (here), then what needs valid names: patterns, streams and consumers
(`wire_checks.py`), and last the effects on specs that this one extends (`extension.py`).
"""

from __future__ import annotations

import difflib
import keyword
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from . import domains, extension, fieldtypes, names, sharded_checks, topology_checks, wire_checks
from .errors import SpecError, SpecErrors
from .locate import Path as Key
from .patterns import LITERAL
from .placeholders import PLACEHOLDER, split
from .resolve import GENERATORS, LARGEST_INT
from .spec import FieldDecl, MessageDecl, Spec, TokenDecl

_SUBJECT_MEMBERS: Final = frozenset(
    (
        "cls",
        "envelope",
        "filter",
        "from_tokens",
        "message",
        "message_type",
        "messages",
        "of",
        "patterns",
        "read",
        "self",
        "text",
        "tokens",
    )
)
"""Names that generated subject classes and their modules use."""

_DEEPEST: Final = 127
"""Levels of JSON that the Rust crates read."""

_PAYLOAD_MEMBERS: Final = frozenset(
    (
        "bool",
        "bytes",
        "classmethod",
        "cls",
        "dict",
        "float",
        "int",
        "list",
        "msgspec",
        "new",
        "property",
        "self",
        "str",
        "to_dict",
    )
).union(GENERATORS.values())
"""Names that generated payload classes use: a field called `str` would hide the type, one called
`to_dict` the method."""

_FORMAT: Final = re.compile(r"(0[1-9]\d?)?[dx]")

_CLASSES: Final = (
    "Annotated",
    "Any",
    "Cap",
    "ClassVar",
    "CoreSubject",
    "Filter",
    "Final",
    "Literal",
    "NewType",
    "Payload",
    "Received",
)
_IMPORTED: Final = frozenset((*_CLASSES, "Self", "StreamSubject", "Subscribable", "TypeAlias", "TypeVar"))
"""Names of classes that generated modules import."""


def check(spec: Spec, out: Path | None = None) -> None:
    """Raise `SpecErrors` with all errors of the first group of checks that finds any."""
    errors: list[SpecError] = []
    for room in (_names, wire_checks.check, domains.check, extension.check):
        errors += room(spec)
        if room is _names and out is not None:
            errors += _place(spec, out)
        errors = list({str(error): error for error in errors}.values())  # shards repeat those of their sharding
        own = [error for error in errors if error.own]
        if own:
            raise SpecErrors(own)
    if errors:
        raise SpecErrors(errors)


def _names(spec: Spec) -> Iterator[SpecError]:
    yield from _head(spec)
    for name, token in spec.tokens.items():
        yield from _token(spec, name, token)
    for name, message in spec.messages.items():
        yield from _message(spec, name, message)
    yield from _types(spec)
    yield from _subjects(spec)
    yield from _references(spec)
    for name in spec.sharding:
        yield from _python_name(spec, ("sharding", name), name, frozenset())
    yield from sharded_checks.check(spec)


# ---- [spec]


def _head(spec: Spec) -> Iterator[SpecError]:
    if not all(LITERAL.fullmatch(piece) for piece in spec.spec.root.split(".")):
        yield spec.error(
            ("spec", "root"), f"{spec.spec.root!r} is not a valid subject", "write the tokens that every subject begins with"
        )
    if not all(map(_is_name, spec.spec.package.split("."))):
        yield spec.error(
            ("spec", "package"), f"{spec.spec.package!r} is not a valid package name", "write an import name, such as acme.bus"
        )
    if spec.spec.version < 1:
        yield spec.error(("spec", "version"), "is less than 1", "count from 1")


def _place(spec: Spec, out: Path) -> Iterator[SpecError]:
    wanted = tuple(spec.spec.package.split("."))
    if out.resolve().parts[-len(wanted) :] != wanted:
        fix = f"generate into .../{'/'.join(wanted)}, or name the package that {out} is"
        yield spec.error(("spec", "package"), f"{spec.spec.package} is not what {out} is imported as", fix)


# ---- [tokens]


def _token(spec: Spec, name: str, decl: TokenDecl) -> Iterator[SpecError]:
    key = ("tokens", name)
    yield from _python_name(spec, key, name, _SUBJECT_MEMBERS)
    if (decl.newtype is None) == (decl.enum is None):
        yield spec.error(key, "needs either `newtype` or `enum`", "an open token has a newtype, a closed set an enum")
        return
    if decl.enum is None:
        yield from _open(spec, key, decl)
    else:
        yield from _closed(spec, key, name, decl.enum, decl)


def _open(spec: Spec, key: Key, decl: TokenDecl) -> Iterator[SpecError]:
    assert decl.newtype is not None
    if not _is_class_name(decl.newtype):
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
    if not _is_class_name(names.camel(name)):
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
    if name in spec.selectors:
        constants = [names.snake(value) for value in values]
        for index, constant in enumerate(constants):
            where = (*key, "enum", str(index))
            if constants.index(constant) != index and values.index(values[index]) == index:
                yield spec.error(where, f"another value is also {constant} in Python", "choose values that differ in more")
            elif not _is_name(constant):
                yield spec.error(
                    where, f"{values[index]!r} does not make a valid Python name", "begin it with a letter, and avoid keywords"
                )


def _aliases(spec: Spec, key: Key, name: str, decl: TokenDecl) -> Iterator[SpecError]:
    if decl.aliases and name not in spec.selectors:
        yield spec.error((*key, "aliases"), "are for a token that selects a payload", "remove them")
    for alias, value in decl.aliases.items():
        where = (*key, "aliases", alias)
        if alias in (decl.enum or ()):
            yield spec.error(where, "is a value of the token itself", "remove it")
        elif value not in (decl.enum or ()):
            yield spec.error(where, f"{value!r} is not a value of {name}", f"write one of {', '.join(decl.enum or ())}")


# ---- [messages]


def _message(spec: Spec, name: str, decl: MessageDecl) -> Iterator[SpecError]:
    key = ("messages", name)
    if not _is_class_name(name):
        yield spec.error(key, f"{name!r} is not a valid class name", "write it like IntentResult")
    yield from _message_limits(spec, key, decl)
    taken = frozenset((decl.by, "params")) if decl.by else frozenset()
    tagged = [field for field, inner in decl.fields.items() if inner.kinds]
    for field in tagged[0 if decl.by else 1 :]:
        problem = "a family" if decl.by else f"a message with the kinds of {tagged[0]}"
        yield spec.error((*key, "fields", field, "kinds"), f"cannot be used in {problem}", "remove it")
    taken |= frozenset(("kind", "kind_of")) if tagged else frozenset()
    yield from _fields(spec, (*key, "fields"), decl.fields, taken)
    if decl.id is not None and (decl.id not in decl.fields or not _is_str(spec, decl.fields[decl.id])):
        yield spec.error((*key, "id"), f"{decl.id!r} is not a field of type str", "name the field that identifies the message")
    if decl.by is None:
        if decl.params:
            yield spec.error((*key, "params"), "is for families", "add `by`, or move the fields to `fields`")
        return
    token = spec.tokens.get(decl.by)
    if token is None or token.enum is None:
        yield spec.error(
            (*key, "by"), f"{decl.by!r} is not a closed set", _suggest(decl.by, spec.tokens, "name a token that has an enum")
        )
        return
    if spec.selectors[decl.by] != name:
        other = spec.selectors[decl.by]
        yield spec.error((*key, "by"), f"{decl.by} selects the payload of {other} already", "use a token of its own")
    for value in token.enum:
        if value not in decl.params:
            fix = f'add "{value}" = {{ ... }} with its fields, or "{value}" = {{}}'
            yield spec.error((*key, "params"), f"{value!r}, a value of {decl.by}, has no params", fix)
    for value, fields in decl.params.items():
        if value not in token.enum:
            yield spec.error((*key, "params", value), f"is not a value of {decl.by}", "remove it, or add the value to the token")
        yield from _fields(spec, (*key, "params", value), fields, frozenset())


def _message_limits(spec: Spec, key: Key, decl: MessageDecl) -> Iterator[SpecError]:
    if decl.max_items is not None and decl.max_items < 1:
        yield spec.error((*key, "max_items"), "is less than 1", "leave it out for 100,000")
    if decl.max_depth is not None and not 1 <= decl.max_depth <= _DEEPEST:
        yield spec.error((*key, "max_depth"), f"is not within 1 to {_DEEPEST}", f"leave it out for {_DEEPEST}")


def _fields(spec: Spec, key: Key, fields: dict[str, FieldDecl], taken: frozenset[str]) -> Iterator[SpecError]:
    known = {*spec.messages, *(names.type_name(name, decl.newtype) for name, decl in spec.tokens.items())}
    selectors = {names.type_name(name, None) for name in spec.selectors}
    for name, decl in fields.items():
        where = (*key, name)
        yield from _python_name(spec, where, name, _PAYLOAD_MEMBERS | taken)
        try:
            kind = fieldtypes.parse(decl.type)
        except ValueError as error:
            yield spec.error(where, str(error), "fix the type")
            continue
        bad = [ref for ref in kind.names() if ref not in known or ref in selectors]
        for ref in bad:
            if ref in selectors:
                yield spec.error(where, f"{ref} selects a payload and cannot be a field type", "use str")
            else:
                fix = _suggest(ref, [*known, *fieldtypes.SCALARS], "declare it in [messages] or [tokens]")
                yield spec.error(where, f"unknown type {ref!r}", fix)
        if not bad:
            yield from _values(spec, where, kind, decl)


def _values(spec: Spec, key: Key, kind: fieldtypes.FieldType, decl: FieldDecl) -> Iterator[SpecError]:
    if decl.kinds and kind.kind != "any":
        yield spec.error((*key, "kinds"), "is for fields of type any", "remove it, or write enum:a|b")
    if len(set(decl.kinds)) != len(decl.kinds):
        yield spec.error((*key, "kinds"), "has a value twice", "name each kind once")
    for bound in ("min", "max"):
        if getattr(decl, bound) is not None and kind.kind != "int":
            yield spec.error((*key, bound), "is for fields of type int", "remove it")
    if decl.min is not None and abs(decl.min) > LARGEST_INT:
        yield spec.error((*key, "min"), "is beyond 64 bits", "leave it out")
    yield from _spellings(spec, key, kind, decl)
    for which in ("default", "new"):
        value: Any = getattr(decl, which)
        if value is msgspec.UNSET or (
            which == "new" and isinstance(value, str) and value in GENERATORS and _makes(spec, kind, value)
        ):
            continue
        if which == "new" and value == {} and _may_be_empty(spec, kind):
            continue
        if not kind.accepts(value, lambda ref: _base(spec, ref)):
            fix = f"write {_example(spec, kind)}"
            fix += f", or have it made: {', '.join(map(repr, GENERATORS))}" if which == "new" else ""
            yield spec.error((*key, which), f"{value!r} is not a valid {decl.type}", fix)


def _spellings(spec: Spec, key: Key, kind: fieldtypes.FieldType, decl: FieldDecl) -> Iterator[SpecError]:
    token = next((one for name, one in spec.tokens.items() if names.type_name(name, one.newtype) == kind.name), None)
    values = kind.values if token is None else token.enum or ()
    if decl.case is not None and (kind.kind != "ref" or not values):
        yield spec.error((*key, "case"), "is for fields of the type of a token with an enum", "remove it")
    elif decl.case is not None and (len({value.upper() for value in values} | set(values)) < 2 * len(values) or decl.reads):
        problem = "needs values in lower case that stay different, and no reads"
        yield spec.error((*key, "case"), problem, "remove it")
    if decl.reads and (not values or decl.default is not msgspec.UNSET):
        yield spec.error((*key, "reads"), "is for fields of a closed set without a default", "remove it, or write enum:a|b")
        return
    for other, value in decl.reads.items():
        if other in values:
            yield spec.error((*key, "reads", other), "is a value of the field itself", "remove it")
        elif value not in values:
            yield spec.error((*key, "reads", other), f"{value!r} is not a value", f"write one of {', '.join(values)}")


def _may_be_empty(spec: Spec, kind: fieldtypes.FieldType) -> bool:
    """Whether it is a message without a required field."""
    message = spec.messages.get(kind.name)
    return (
        message is not None
        and message.by is None
        and all(one.type.endswith("?") or one.default is not msgspec.UNSET for one in message.fields.values())
    )


def _example(spec: Spec, kind: fieldtypes.FieldType) -> str:
    """An example of a value of this type in TOML."""
    base = _base(spec, kind.name) if kind.kind == "ref" else kind.kind
    if base == "enum":
        return f"one of {', '.join(kind.values)}"
    examples = {"str": 'text in quotes, such as "x"', "int": "a whole number, such as 5", "float": "a number, such as 0.5"}
    examples |= {"bool": "true or false", "list": "[], the only default of a list", "map": "{}, the only default of a map"}
    return examples.get(base or "", "nothing: this type has no default")


def _makes(spec: Spec, kind: fieldtypes.FieldType, generator: str) -> bool:
    base = _base(spec, kind.name) if kind.kind == "ref" else kind.kind
    return base == ("int" if generator == "now_ns" else "str")


def _base(spec: Spec, ref: str) -> str | None:
    """The scalar under the type of an open token."""
    return next((decl.base for decl in spec.tokens.values() if decl.newtype == ref), None)


def _is_str(spec: Spec, decl: FieldDecl) -> bool:
    return decl.type == "str" or _base(spec, decl.type) == "str"


def _types(spec: Spec) -> Iterator[SpecError]:
    """Classes or types with the same name."""
    made: list[tuple[str, Key]] = []
    for name, token in spec.tokens.items():
        made.append((names.type_name(name, token.newtype), ("tokens", name)))
    for name, message in spec.messages.items():
        made.append((name, ("messages", name)))
        for value in message.params if message.by else ():
            made.append((names.member(value, name), ("messages", name, "params", value)))
            made.append((names.params(value), ("messages", name, "params", value)))
    count = Counter(name for name, _ in made)
    typevars = {f"{one}{family}T" for family in spec.selectors.values() for one in ("", "One")}
    for name, key in made:
        if count[name] > 1:
            yield spec.error(key, f"is a second type called {name}", "rename one of them")
        elif name in _IMPORTED or name in typevars:
            yield spec.error(key, f"{name} is reserved for generated code", "choose another")


# ---- [subjects]: names


def _subjects(spec: Spec) -> Iterator[SpecError]:
    spaces = {name.partition(".")[0] for name in spec.subjects if "." in name}
    classes: dict[str, str] = {}
    for name in spec.subjects:
        key = ("subjects", name)
        parts = name.split(".")
        if len(parts) > 2:
            yield spec.error(key, "has more than two parts", "write namespace.name or name")
        for part in parts:
            yield from _python_name(spec, key, part, frozenset())
        if len(parts) == 1 and name in spaces:
            yield spec.error(key, f"{name} is also a namespace", f'call it "{name}.something"')
        if parts[0] in spec.selectors:
            yield spec.error(key, f"{parts[0]} is the module of that token's constants", "choose another name")
        if parts[0] in ("parse", "root"):
            yield spec.error(key, f"{parts[0]} is reserved for generated code", "choose another")
        cls = names.camel(name)
        if cls in classes:
            yield spec.error(key, f"its class would be {cls}, which is that of {classes[cls]}", "rename one of them")
        elif cls in _IMPORTED or cls in spec.messages or cls in {token.newtype for token in spec.tokens.values()}:
            yield spec.error(key, f"its class would be {cls}, which is the name of a type", "rename one of them")
        classes.setdefault(cls, name)
    for cls, name in classes.items():
        if cls.removesuffix("Msg") in classes and cls.endswith("Msg"):
            yield spec.error(("subjects", name), f"{cls} is the alias for messages of {classes[cls[:-3]]}", "choose another name")


# ---- references


def _references(spec: Spec) -> Iterator[SpecError]:
    for name, subject in spec.subjects.items():
        key = ("subjects", name)
        if key in spec.derived:
            continue
        if subject.message != "bytes" and subject.message not in spec.messages:
            fix = _suggest(subject.message, spec.messages, "declare it in [messages], or write bytes")
            yield spec.error((*key, "message"), f"unknown message {subject.message!r}", fix)
        if subject.stream is not None and subject.stream not in spec.streams:
            yield spec.error(
                (*key, "stream"), f"unknown stream {subject.stream!r}", _declare("streams", subject.stream, spec.streams)
            )
        for piece in split(subject.pattern):
            match = PLACEHOLDER.fullmatch(piece)
            if match and match[1] not in spec.tokens:
                yield spec.error((*key, "pattern"), f"unknown token {match[1]!r}", _declare("tokens", match[1], spec.tokens))
    yield from topology_checks.references(spec, _declare)
    attributes: dict[str, str] = {}
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
        attribute = names.snake(name)
        if not _is_name(attribute):
            yield spec.error(key, f"{name!r} does not make a valid Python name", "begin it with a letter, and avoid keywords")
        elif attribute in attributes:
            yield spec.error(key, f"becomes consumers.{attribute}, as {attributes[attribute]} does", "rename one of them")
        attributes.setdefault(attribute, name)


# ---- names


def _is_name(name: str) -> bool:
    return name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and not name.startswith("_")


def _is_class_name(name: str) -> bool:
    return _is_name(name) and name[:1].isupper() and not keyword.iskeyword(name)


def _python_name(spec: Spec, key: Key, name: str, taken: frozenset[str]) -> Iterator[SpecError]:
    if not _is_name(name) or name != name.lower():
        yield spec.error(
            key,
            f"{name!r} is not a valid Python name",
            "use lower case, digits and '_', such as intent_id, and avoid Python keywords",
        )
    elif name in taken:
        yield spec.error(key, f"{name!r} is reserved for generated code", "choose another")


def _suggest(name: str, known: Iterable[str], otherwise: str) -> str:
    """The fix for an unknown name."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}? If not, {otherwise}" if close else otherwise


def _declare(section: str, name: str, known: Iterable[str]) -> str:
    return _suggest(name, known, f"declare it in [{section}]")
