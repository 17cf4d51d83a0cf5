"""Rules for breaking changes between two versions of a spec, as pure functions of valid specs.

wire: programs of the two versions misunderstand each other or miss each other's messages. consumer:
programs of the old version receive values they do not know. source: the wire is the same, but
Python code written for the old version fails. Additions are not changes.

Meanings are compared: each change is reported once, where it was made, and not again wherever it is
used. So tokens, messages and streams are compared by what they are on the wire, whatever they are
called.

Each change has a safe order of deployment. readers first: only older readers fail, on what newer
publishers send. publishers first: only newer readers fail, on what older publishers send or sent.
side by side: both fail, in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from .. import domains, fieldtypes, names, patterns, sharded, units
from ..errors import dotted
from ..locate import Path
from ..message_spec import FieldDecl, MessageDecl
from ..placeholders import paths_of, taken, wildcards
from ..spec import Spec, SubjectDecl, TokenDecl
from ..topology_spec import ConsumerDecl, StreamDecl
from . import shardings
from .renames import Deploy, Kind, Renames, carried, changed_values, replaced

KINDS: Final[tuple[Kind, ...]] = ("wire", "consumer", "source")


_ALLOWED: Final = (
    "allow_direct",
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "allow_atomic",
    "allow_batched",
    "allow_msg_schedules",
    "allow_msg_counter",
)
"""What a stream lets its users do."""


_LIMITS: Final = {"max_items": 100_000, "max_depth": 127}
"""Limits of a message's JSON, each with what it is where the spec is silent."""


class Change(msgspec.Struct, frozen=True):
    """One breaking change. `key` is the TOML key in the old spec, or in the new one for an
    addition. `deploy`: the order in which nothing breaks.
    """

    kind: Kind
    key: str
    problem: str
    deploy: Deploy


def compare(old: Spec, new: Spec) -> list[Change]:
    """All changes in `new` that break programs made for `old`.

    Sorted by kind (wire, consumer, source), then by key.
    """
    sharding = shardings.changes(old, new)
    old, new = sharded.without(old), sharded.without(new)
    moved = _rerooted(old, new)
    found = [*_head(old, new, moved is not None), *_Comparison(moved or old, new).changes()]
    found += [_change("wire", path, problem, deploy) for path, problem, deploy in sharding]
    return sorted(found, key=lambda change: (KINDS.index(change.kind), change.key, change.problem))


_USUAL: Final[dict[Kind, Deploy]] = {"wire": "side by side", "consumer": "readers first", "source": "any order"}


def _change(kind: Kind, path: Path, problem: str, deploy: Deploy | None = None) -> Change:
    return Change(kind, dotted(path), problem, deploy or _USUAL[kind])


# ---- [spec]


def _head(old: Spec, new: Spec, moved: bool) -> Iterator[Change]:
    if moved:
        yield _change(
            "wire", ("spec", "root"), f"every subject begins with {new.spec.roots[0]}, no longer with {old.spec.roots[0]}"
        )
    if old.spec.package != new.spec.package:
        problem = f"is now {new.spec.package} instead of {old.spec.package}: imports fail"
        yield _change("source", ("spec", "package"), problem)


def _rerooted(old: Spec, new: Spec) -> Spec | None:
    """`old` with the root of `new`, if all its subjects moved there: then that is one change."""

    if len(old.spec.roots) > 1 or len(new.spec.roots) > 1:
        return None

    def move(pattern: str) -> str:
        plain = pattern.removeprefix(f"{old.spec.roots[0]}.")
        return pattern if plain == pattern else f"{new.spec.roots[0]}.{plain}"

    own = {name: decl for name, decl in old.subjects.items() if name in new.subjects and old.is_own(("subjects", name))}
    if not any(decl.pattern != new.subjects[name].pattern == move(decl.pattern) for name, decl in own.items()):
        return None
    subjects = {
        name: msgspec.structs.replace(decl, pattern=move(decl.pattern)) if old.is_own(("subjects", name)) else decl
        for name, decl in old.subjects.items()
    }
    streams = {
        name: msgspec.structs.replace(decl, subjects=tuple(map(move, decl.subjects))) if old.is_own(("streams", name)) else decl
        for name, decl in old.streams.items()
    }
    return msgspec.structs.replace(old, subjects=subjects, streams=streams)


# ---- bounds and values, of tokens and of fields


def _bounds(path: Path, old: TokenDecl | FieldDecl, new: TokenDecl | FieldDecl) -> Iterator[Change]:
    for which, sign in (("min", 1), ("max", -1)):
        was, now = getattr(old, which), getattr(new, which)
        if was == now:
            continue
        narrower = now is not None and (was is None or now * sign > was * sign)
        problem = f"is {'no limit' if now is None else now} instead of {'no limit' if was is None else was}: "
        problem += "values that were valid are refused" if narrower else "older readers refuse the new values"
        kind: Kind = "wire" if narrower else "consumer"
        yield _change(kind, (*path, which), problem, "publishers first" if narrower else "readers first")


def _spellings(path: Path, old: FieldDecl, new: FieldDecl) -> Iterator[Change]:
    """Changes in how the values of a closed set are written, and in what is read for them."""
    if old.case is None and new.case is not None:
        yield _change("wire", (*path, "case"), "is now written in upper case: older readers refuse it", "readers first")
    elif old.case is not None and new.case is None:
        problem = "is no longer written in upper case, and upper case no longer read"
        yield _change("wire", (*path, "case"), problem, "publishers first")
    yield from _dropped((*path, "reads"), old.reads, new.reads)


def _dropped(path: Path, old: dict[str, str], new: dict[str, str]) -> Iterator[Change]:
    """Other spellings that are no longer read, or mean something else."""
    gone = [other for other in old if other not in new]
    if gone:
        yield _change("wire", path, f"{', '.join(gone)} no longer read: newer readers refuse it", "publishers first")
    for other, value in new.items():
        if old.get(other, value) != value:
            yield _change("consumer", (*path, other), f"is read as {value} instead of {old[other]}", "side by side")


def _sizes(path: Path, old: MessageDecl, new: MessageDecl) -> Iterator[Change]:
    for which, usual in _LIMITS.items():
        was, now = (getattr(decl, which) or usual for decl in (old, new))
        if was != now:
            problem = f"is {now:,} instead of {was:,}: "
            problem += "messages that were valid are refused" if now < was else "older readers refuse larger messages"
            kind: Kind = "wire" if now < was else "consumer"
            yield _change(kind, (*path, which), problem, "publishers first" if now < was else "readers first")


def _absent(decl: FieldDecl) -> str | None:
    """The value of an absent field, as JSON; None if it is required."""
    kind = fieldtypes.parse(decl.type)
    if decl.default is msgspec.UNSET:
        return "null" if kind.optional else None
    value = float(decl.default) if kind.kind == "float" else decl.default
    return msgspec.json.encode(value, order="deterministic").decode()


# ---- sources and copies of a stream's messages


def _flow(path: Path, old: StreamDecl, new: StreamDecl) -> Iterator[Change]:
    if old.mirror is not None and old.mirror != new.mirror:
        yield _change("wire", (*path, "mirror"), f"no longer mirrors {old.mirror.name}, or not in the same way")
    lost = [origin.name for origin in old.sources if origin not in new.sources]
    if lost:
        yield _change("wire", (*path, "sources"), f"no longer takes from {', '.join(lost)}, or not in the same way")
    if old.republish is not None and old.republish != new.republish:
        yield _change("wire", (*path, "republish"), f"{old.republish.dest} is no longer sent, or has changed")
    if old.subject_transform != new.subject_transform:
        yield _change("wire", (*path, "subject_transform"), "messages are stored under other subjects")
    for key in _ALLOWED:
        if getattr(old, key) and not getattr(new, key):
            yield _change("wire", (*path, key), "dropped: publishers and readers that use it are refused", "publishers first")


def _kept(path: Path, old: StreamDecl, new: StreamDecl) -> Iterator[Change]:
    """Changes of what a stream stores, and for how long."""
    if old.retention != new.retention:
        problem = f"is {new.retention} instead of {old.retention}: messages are kept for other readers, and for another time"
        yield _change("wire", (*path, "retention"), problem)
    was, now = (None if size is None else units.size(size) for size in (old.max_msg_size, new.max_msg_size))
    if now is not None and (was is None or now < was):
        problem = f"is {new.max_msg_size} instead of {old.max_msg_size or 'no limit'}: larger messages are refused"
        yield _change("wire", (*path, "max_msg_size"), problem, "publishers first")


# ---- everything else


class _Comparison:
    def __init__(self, old: Spec, new: Spec) -> None:
        self.old = old
        self.new = new
        self.renames = Renames(old, new)

    def changes(self) -> Iterator[Change]:
        yield from self.homes()
        yield from self.tokens()
        for name, message in self.old.messages.items():
            yield from self.message(name, message)
        for name, subject in self.old.subjects.items():
            yield from self.subject(name, subject)
        yield from self.new_subjects()
        yield from self.streams()
        for name, consumer in self.old.consumers.items():
            yield from self.consumer(name, consumer)
        yield from self.domains()
        for name in self.old.profiles:
            if name not in self.new.profiles:
                yield _change("source", ("profiles", name), "removed: code that names it no longer runs")

    def homes(self) -> Iterator[Change]:
        """Declarations that moved to another package."""
        for section in ("tokens", "messages", "subjects", "consumers"):
            for name in getattr(self.old, section):
                path = (section, name)
                home = self.new.spec.package if self.old.is_own(path) else self.old.home(path)
                if name in getattr(self.new, section) and self.new.home(path) != home:
                    yield _change("source", path, f"belongs to {self.new.home(path)}, no longer to {self.old.home(path)}")

    # ---- [tokens]

    def tokens(self) -> Iterator[Change]:
        for name, decl in self.old.tokens.items():
            path, now = ("tokens", name), self.renames.tokens.get(name)
            if now is None:
                yield _change("source", path, "removed: code that uses its type no longer runs")
                continue
            if now == name:
                yield from self.token(path, decl, self.new.tokens[name])
            elif self.new.selectors.get(now) not in self.old.messages:  # else it is a tag, and that is a change of the family
                yield _change("source", path, f"is now called {now}")
            family = self.new.selectors.get(now)
            if family is not None and name not in self.old.selectors and family not in self.old.messages:
                yield _change("source", path, f"now selects the payload of {family}: its values are constants, not plain strings")

    def token(self, path: Path, old: TokenDecl, new: TokenDecl) -> Iterator[Change]:
        if (old.enum is None) != (new.enum is None):
            if old.base != new.base:
                yield _change("wire", path, "is no longer a closed set" if new.enum is None else "is now a closed set")
            elif new.enum is None:
                yield _change("wire", path, "is no longer a closed set: older readers refuse the new values", "readers first")
            else:
                yield _change("wire", path, "is now a closed set: other values are refused", "publishers first")
        elif old.enum is not None and new.enum is not None:
            for kind, problem, deploy in changed_values(old.enum, new.enum):
                yield _change(kind, (*path, "enum"), problem, deploy)
            yield from _dropped((*path, "aliases"), old.aliases, new.aliases)
        else:
            if old.newtype != new.newtype:
                yield _change("source", (*path, "newtype"), f"{old.newtype} is now called {new.newtype}")
            if old.base != new.base:
                yield _change("wire", (*path, "base"), f"is {new.base} instead of {old.base}")
                return
            if (old.format or "d") != (new.format or "d"):
                yield _change("wire", (*path, "format"), f"is written {new.format or 'd'} instead of {old.format or 'd'}")
            yield from _bounds(path, old, new)
            excluded = (*path, "exclude")
            added = [value for value in new.exclude if value not in old.exclude]
            dropped = [value for value in old.exclude if value not in new.exclude]
            if added:
                problem = f"{', '.join(added)} excluded instead of not: values that were valid are refused"
                yield _change("wire", excluded, problem, "publishers first")
            if dropped:
                yield _change("consumer", excluded, f"{', '.join(dropped)} no longer excluded: older readers refuse it")

    # ---- [messages]

    def message(self, name: str, old: MessageDecl) -> Iterator[Change]:
        path, now = ("messages", name), self.renames.messages.get(name)
        if now is None:
            yield _change("wire", path, "removed: newer readers do not know it", "publishers first")
            return
        if now != name:
            yield _change("source", path, f"is now called {now}")
            return
        new = self.new.messages[name]
        yield from _sizes(path, old, new)
        if old.id != new.id:
            problem = f"is {new.id or 'none'} instead of {old.id or 'none'}: duplicates are recognized by another field"
            yield _change("wire", (*path, "id"), problem)
        if old.by != new.by:
            was, tag = (f"a family by {by}" if by else "one payload" for by in (old.by, new.by))
            yield _change("wire", (*path, "by"), f"is {tag} instead of {was}")
        if (old.by is None) != (new.by is None):
            return
        yield from self.fields((*path, "fields"), old.fields, new.fields)
        for value in old.params:
            if value in new.params:  # one that is not has left the token, or the tag is another
                yield from self.fields((*path, "params", value), old.params[value], new.params[value])

    def fields(self, path: Path, old: dict[str, FieldDecl], new: dict[str, FieldDecl]) -> Iterator[Change]:
        for name, decl in new.items():
            if name not in old and _absent(decl) is None:
                yield _change("wire", (*path, name), "is new and required: older writers omit it", "publishers first")
        no_new = all(decl.new is msgspec.UNSET for decl in new.values())
        for name, decl in old.items():
            if name not in new:
                needed = "older readers require it" if _absent(decl) is None else "older readers take it for absent"
                yield _change("wire", (*path, name), f"removed: {needed}", "readers first")
                continue
            yield from self.field((*path, name), decl, new[name])
            if decl.new is not msgspec.UNSET and new[name].new is msgspec.UNSET:
                if no_new:
                    yield _change("source", (*path, name, "new"), "dropped, and it was the last: .new() no longer exists")
                elif _absent(new[name]) is None:
                    yield _change("source", (*path, name, "new"), f"dropped: .new() needs {name}")

    def field(self, path: Path, old: FieldDecl, new: FieldDecl) -> Iterator[Change]:
        found = dict.fromkeys(self.renames.types(fieldtypes.parse(old.type), fieldtypes.parse(new.type)))
        for kind in KINDS:
            mine = [one for one in found if one[0] == kind]
            orders: set[Deploy] = {deploy for _, _, deploy in mine}
            if mine:
                deploy = orders.pop() if len(orders) == 1 else "side by side"
                yield _change(kind, path, "; ".join(problem for _, problem, _ in mine), deploy)
        if any(kind == "wire" for kind, _, _ in found):
            return
        yield from _bounds(path, old, new)
        yield from _spellings(path, old, new)
        was, now = _absent(old), _absent(new)
        key = (*path, "default")
        if now is None and was is not None:
            yield _change("wire", key, "dropped: it is required, and older writers may leave it out", "publishers first")
        elif was is None and now is not None:
            if not any(kind == "consumer" for kind, _, _ in found):  # reported already as made nullable
                yield _change("consumer", key, "is new: older readers refuse a message without it")
        elif was != now:
            problem = f"is {now} instead of {was}: an omitted value has another meaning"
            yield _change("consumer", key, problem, "side by side")

    # ---- [subjects]

    def subject(self, name: str, old: SubjectDecl) -> Iterator[Change]:
        path, now = ("subjects", name), self.renames.subjects[name]
        if now is None:
            yield _change("wire", path, "removed: newer readers do not receive it", "publishers first")
            return
        new = self.new.subjects[now]
        if now != name:
            yield _change("source", path, f"is now called {now}")
        others = replaced(self.old, old.pattern, self.new, new.pattern, self.renames.tokens)
        if others is None:
            yield _change("wire", (*path, "pattern"), f"is {new.pattern} instead of {old.pattern}")
        elif others:
            called = ", ".join(f"{{{one}}} is now called {{{other}}}" for one, other in others.items())
            yield _change("source", (*path, "pattern"), called)
        if not self.renames.same_message(old.message, new.message):
            kind: Kind = "source" if self.renames.same_form(old.message, new.message) else "wire"
            yield _change(kind, (*path, "message"), f"carries {new.message} instead of {old.message}")
        if self.renames.stream(old) != new.stream:
            where, was = (f"stored in {stream}" if stream else "core NATS" for stream in (new.stream, old.stream))
            yield _change("wire", (*path, "stream"), f"is {where} instead of {was}")
        if old.dead_letters and not new.dead_letters:
            yield _change("consumer", (*path, "dead_letters"), "dropped: no more dead letters are published here")

    def new_subjects(self) -> Iterator[Change]:
        """New subjects that existing filters and consumers receive, and cannot read."""
        fresh = set(self.new.subjects).difference(filter(None, self.renames.subjects.values()))
        known = {self.renames.skeleton(self.old, decl) for decl in self.old.subjects.values()}
        filters: dict[str, tuple[str, ...]] = {
            f"the filter of {now}": wildcards(self.new, self.new.subjects[now]) for now in self.renames.subjects.values() if now
        }
        for name, consumer in self.old.consumers.items():
            if name in self.new.consumers and not list(self.consumer(name, consumer)):
                filters[f"consumer {name}"] = taken(self.new, self.new.consumers[name])
        for name in sorted(fresh):
            decl = self.new.subjects[name]
            if self.renames.skeleton(self.new, decl) in known:
                continue
            paths = paths_of(self.new, decl)
            who = [one for one, subjects in filters.items() if patterns.any_overlap(map(patterns.positions, subjects), paths)]
            if who:
                problem = f"is new and received by {', '.join(who)}: older programs do not know it"
                yield _change("consumer", ("subjects", name, "pattern"), problem)

    # ---- [streams], [consumers]

    def streams(self) -> Iterator[Change]:
        for name, old in self.old.streams.items():
            path, now = ("streams", name), self.renames.streams.get(name)
            if now is None:
                yield _change("wire", path, "removed: its messages are lost", "publishers first")
                continue
            if now != name:
                yield _change("wire", path, f"is now called {now}: its messages stay in the old stream")
                continue
            lost = [one for one in old.subjects if not carried(one, self.new.streams[name].subjects) and not self.left(name, one)]
            if lost:
                yield _change("wire", (*path, "subjects"), f"no longer captures {', '.join(lost)}, or only part of it")
            yield from _flow(path, old, self.new.streams[name])
            yield from _kept(path, old, self.new.streams[name])

    def left(self, stream: str, pattern: str) -> bool:
        """Whether `pattern` captured only subjects whose own change reports that they left the
        stream.
        """
        captured = [patterns.positions(pattern)]
        inside = [
            name
            for name, decl in self.old.subjects.items()
            if decl.stream == stream and patterns.any_overlap(captured, paths_of(self.old, decl))
        ]
        return bool(inside) and not any(map(self.stays, inside))

    def stays(self, subject: str) -> bool:
        """Whether an old subject is unchanged: the same pattern on the wire, in the same stream."""
        old, now = self.old.subjects[subject], self.renames.subjects[subject]
        if now is None or self.renames.stream(old) != self.new.subjects[now].stream:
            return False
        return replaced(self.old, old.pattern, self.new, self.new.subjects[now].pattern, self.renames.tokens) is not None

    def consumer(self, name: str, old: ConsumerDecl) -> Iterator[Change]:
        path, new = ("consumers", name), self.new.consumers.get(name)
        if new is None:
            yield _change("source", path, f"removed: code that uses consumers.{names.snake(name)} no longer runs")
            return
        stream: str | None = self.renames.streams.get(old.stream, old.stream)
        moved = {self.new.subjects[now].stream for now in map(self.renames.subjects.get, self.straight(old)) if now}
        if moved:
            stream = moved.pop() if len(moved) == 1 else None
        if stream != new.stream:
            yield _change("consumer", (*path, "stream"), f"consumes {new.stream} instead of {old.stream}")
            return
        if sorted(map(self.renamed, old.chosen)) == sorted(sorted(table.items()) for table in new.chosen):
            return  # whatever else it receives now is a change of the subject, or of the stream
        now, was = (", ".join(sorted(taken(spec, decl))) for spec, decl in ((self.new, new), (self.old, old)))
        if now != was:
            yield _change("consumer", (*path, "filter"), f"receives {now} instead of {was}")

    def domains(self) -> Iterator[Change]:
        """Consumers that were declared for some domains, or for all, and are so no longer."""
        new = domains.expanded(self.new).consumers
        for name in domains.expanded(self.old).consumers:
            if name not in new and (name not in self.old.consumers or name in self.new.consumers):
                problem = f"consumer {name} is not declared any more: `smith domains move` moves its domains, without loss"
                yield _change("consumer", ("domains",), problem)

    def straight(self, consumer: ConsumerDecl) -> list[str]:
        """The subjects of an old consumer's filters that its stream itself stores, not a source."""
        subjects = [table["subject"] for table in consumer.chosen]
        return [name for name in subjects if self.old.subjects[name].stream == consumer.stream]

    def renamed(self, table: dict[str, str]) -> list[tuple[str, str]]:
        """An old filter in the words of the new spec."""
        tokens = {self.renames.tokens.get(token, token): value for token, value in table.items() if token != "subject"}
        return sorted({**tokens, "subject": self.renames.subjects[table["subject"]] or ""}.items())
