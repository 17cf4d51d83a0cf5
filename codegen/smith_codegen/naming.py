"""The names in Python of what a spec declares, each different from all others.

One rule: a name that is taken, by Python, by generated code or by another declaration, has `_`
appended. Names that the spec writes itself (messages, enums, unions, a `newtype`) come first, then
those that follow from others, in the order of the spec. Each package is named by itself: what is
inherited keeps the name that it has there.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from . import names
from .message_spec import MessageDecl
from .subject_spec import TokenDecl


class Declared(Protocol):
    """What is named: the declarations of a spec by section, and where the inherited are from."""

    @property
    def tokens(self) -> Mapping[str, TokenDecl]: ...
    @property
    def messages(self) -> Mapping[str, MessageDecl]: ...
    @property
    def enums(self) -> Mapping[str, Any]: ...
    @property
    def unions(self) -> Mapping[str, Any]: ...
    @property
    def subjects(self) -> Mapping[str, Any]: ...
    @property
    def consumers(self) -> Mapping[str, Any]: ...
    @property
    def selectors(self) -> Mapping[str, str]: ...
    @property
    def homes(self) -> Mapping[tuple[str, ...], str]: ...


RESERVED: Final = frozenset(("ClassVar", "TYPE_CHECKING"))
"""Names that generated modules import as they are."""

_PARSE: Final = "parse"
"""The function in `subjects`."""


class Names:
    """`tokens` are the types of tokens, `constants` those of the values of a token that selects a
    payload; `members` and `params` are by family and value; `subjects` are namespace, attribute and
    class.
    """

    def __init__(self, spec: Declared) -> None:
        self.tokens: dict[str, str] = {}
        self.sets: dict[str, str] = {}
        """The sets of the values of closed tokens."""
        self.bases: dict[str, str] = {}
        """The classes that the members of a family inherit."""
        self.typevars: dict[str, str] = {}
        self.members: dict[tuple[str, str], str] = {}
        self.params: dict[tuple[str, str], str] = {}
        self.constants: dict[tuple[str, str], str] = {}
        self.subjects: dict[str, tuple[str, str, str]] = {}
        self.consumers: dict[str, str] = {}
        for home in dict.fromkeys(("", *spec.homes.values())):
            self._types(_Home(spec, home))
            self._subjects(_Home(spec, home))
        used: set[str] = set()
        for name in spec.consumers:
            self.consumers[name] = _add(used, names.snake(name))
        for token in spec.selectors:
            used = set()
            for value in spec.tokens[token].enum or () if token in spec.tokens else ():
                self.constants[token, value] = _add(used, names.snake(value))

    def _types(self, home: _Home) -> None:
        spec = home.spec
        written = {*home.of("messages"), *home.of("enums"), *home.of("unions")}
        newtypes = {newtype for name in home.of("tokens") if (newtype := spec.tokens[name].newtype)} - written
        self.taken = taken = {*written, *newtypes, *RESERVED}
        sets = {names.values(name) for name in home.of("enums")}
        for name in home.of("tokens"):
            newtype = spec.tokens[name].newtype
            self.tokens[name] = newtype if newtype in newtypes and newtype else _add(taken, newtype or names.camel(name))
            self.sets[name] = _add(sets, names.values(name))
        for name in home.of("messages"):
            decl = spec.messages[name]
            if decl.by is None:
                continue
            self.bases[name] = _add(taken, f"Any{name}")
            self.typevars[name] = typevar = names.free_of(f"{name}T", ("{}", "One{}", "Each{}"), taken)
            taken |= {typevar, f"One{typevar}", f"Each{typevar}"}
            for value in decl.params:
                self.params[name, value] = _add(taken, names.params(value))
                self.members[name, value] = _add(taken, names.member(value, name))

    def _subjects(self, home: _Home) -> None:
        spec = home.spec
        caps = {name for name in home.of("tokens") if name in spec.selectors}
        paths = [tuple(name.split(".")) for name in home.of("subjects")]
        inner = {path[:end] for path in paths for end in range(1, len(path))}
        inside: dict[tuple[str, ...], set[str]] = {}
        for path in (*inner, *paths):
            inside.setdefault(path[:-1], set()).add(path[-1])
        found: dict[tuple[str, ...], tuple[str, ...]] = {(): ()}
        for path in sorted(inner):  # outer ones first
            reserved = {*caps, _PARSE} if len(path) == 1 else set()
            name = path[-1]
            if name in reserved or keyword.iskeyword(name):
                name = names.free(f"{name}_", inside[path[:-1]] | reserved)
                inside[path[:-1]].add(name)
            found[path] = (*found[path[:-1]], name)
        for path in paths:
            reserved = {*caps, _PARSE} if len(path) == 1 else set()
            attr = path[-1]
            if path in inner or attr in reserved or keyword.iskeyword(attr):
                attr = names.free(f"{attr}_", inside[path[:-1]] | reserved)
                inside[path[:-1]].add(attr)
            name = ".".join(path)
            cls = names.free_of(names.camel(name), ("{}", "{}Msg"), self.taken)
            self.taken |= {cls, f"{cls}Msg"}
            self.subjects[name] = (".".join(found[path[:-1]]), attr, cls)


class _Home:
    """What one package declares."""

    def __init__(self, spec: Declared, home: str) -> None:
        self.spec = spec
        self.home = home

    def of(self, section: str) -> Iterable[str]:
        homes: Mapping[tuple[str, ...], str] = self.spec.homes
        return (name for name in getattr(self.spec, section) if homes.get((section, name), "") == self.home)


def _add(taken: set[str], name: str) -> str:
    """The name, or one with `_` that is free; it is taken from now on."""
    found = names.free(f"{name}_" if keyword.iskeyword(name) else name, taken)
    taken.add(found)
    return found
