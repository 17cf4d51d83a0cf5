"""Checks of key-value buckets and object stores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from . import names
from .bucket_spec import BucketDecl
from .buckets import bucket_stream, object_stream
from .errors import SpecError
from .locate import Path as Key
from .name_checks import is_name, suggest
from .placeholders import pieces
from .spec import Spec

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,250}")
_LITERAL: Final = re.compile(r"[A-Za-z0-9_=/-]{1,256}")
_MOST_VALUES: Final = 64
_MEMBERS: Final = ("parse",)
"""Names that generated classes of keys use, beside those that a token never has in Python."""


def check(spec: Spec) -> Iterator[SpecError]:
    """All checks of `[buckets]` and `[objects]`."""
    for name, decl in spec.buckets.items():
        yield from _name(spec, ("buckets", name), bucket_stream(name))
        yield from _bucket(spec, ("buckets", name), decl)
    for name in spec.objects:
        yield from _name(spec, ("objects", name), object_stream(name))


def _name(spec: Spec, key: Key, stream: str) -> Iterator[SpecError]:
    section, name = key
    attribute = names.snake(name)
    if not _NAME.fullmatch(name):
        yield spec.error(key, f"{name!r} is not a valid name", "use letters, digits, '_' and '-'")
    elif not is_name(attribute):
        yield spec.error(key, f"{name!r} does not make a valid Python name", "begin it with a letter, and avoid keywords")
    else:
        first = next(other for other in getattr(spec, section) if names.snake(other) == attribute)
        if first != name:
            yield spec.error(key, f"becomes {section}.{attribute}, as {first} does", "rename one of them")
    if spec.written.get(("streams", stream)) != key and spec.is_own(key):
        yield spec.error(("streams", stream), f"is the stream of {section}.{name} as well", f"remove it, or [{section}.{name}]")


def _bucket(spec: Spec, key: Key, decl: BucketDecl) -> Iterator[SpecError]:
    message = spec.messages.get(decl.message)
    if message is None and decl.message != "bytes" and decl.message not in spec.unions:
        fix = suggest(decl.message, spec.messages, "declare it in [messages], or write bytes")
        yield spec.error((*key, "message"), f"unknown message {decl.message!r}", fix)
    elif message is not None and message.by is not None:
        yield spec.error((*key, "message"), f"{decl.message} is a family, of which no key selects a value", "write one message")
    if not 1 <= decl.history <= _MOST_VALUES:
        yield spec.error((*key, "history"), f"is not within 1 to {_MOST_VALUES}", "leave it out for 1")
    if decl.key is not None:
        yield from _key(spec, (*key, "key"), key[1], decl.key)


def _key(spec: Spec, key: Key, name: str, pattern: str) -> Iterator[SpecError]:
    seen: list[str] = []
    for piece in pieces(pattern):
        if not piece.name:
            if not _LITERAL.fullmatch(piece.text):
                fix = "between two dots, use letters, digits, '_', '-', '=' and '/', or a {token}"
                yield spec.error(key, f"{piece.text!r} is not a valid part of a key", fix)
            continue
        token = spec.tokens.get(piece.name)
        if piece.mark:
            yield spec.error(key, f"{piece.text} does not stand for one token", "write {token}, or leave the key out for any str")
        elif token is None:
            fix = suggest(piece.name, spec.tokens, f"declare it in [tokens]: {piece.name} = {{ newtype = ... }}")
            yield spec.error(key, f"unknown token {piece.name!r}", fix)
        elif piece.name in spec.selectors:
            yield spec.error(key, f"{piece.name} selects a payload, and a bucket has one kind of value", "use another token")
        elif piece.name in seen or piece.name in _MEMBERS:
            problem = "occurs twice" if piece.name in seen else "is reserved for generated code"
            yield spec.error(key, f"{piece.text} {problem}", "use another token")
        seen.append(piece.name)
    if not seen:
        yield spec.error(key, "has no {token}: there would be one key", "add one, or leave the key out for any str")
    cls = f"{names.camel(name)}Key"
    if cls in spec.messages or cls in {token.newtype for token in spec.tokens.values()}:
        yield spec.error(key, f"its class would be {cls}, which is the name of a type", "rename one of them")
