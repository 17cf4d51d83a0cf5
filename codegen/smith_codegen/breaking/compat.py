"""Rules for breaking changes between two versions of a spec, as pure functions of valid specs.

wire: programs of the two versions misunderstand each other or miss each other's messages. consumer:
programs of the old version receive values they do not know. source: the wire is the same, but
Python code written for the old version fails. Additions are not changes.

Meanings are compared: each change is reported once, where it was made, and not again wherever it is
used. So tokens, messages and streams are compared by what they are on the wire, whatever they are
called.

Each change has a safe order of deployment. readers first: only older readers fail, on what newer
publishers send. publishers first: only newer readers fail, on what older publishers send or sent.
side by side: both fail, in any order. on apply: the server behaves in another way from
`smith streams apply` on, whichever programs run.

What breaks, and what to do about it, is in `rules.py`; what is compared by code is here.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from .. import domains, names, patterns, sharded
from ..bucket_spec import BucketDecl
from ..errors import dotted
from ..locate import Path
from ..message_spec import EnumDecl, UnionDecl
from ..placeholders import paths_of, taken, wildcards
from ..spec import Spec, SubjectDecl, TokenDecl
from ..topology_spec import ConsumerDecl, ConsumerLimitsDecl, OverrideDecl, ProfileDecl, StreamDecl
from . import keys, shardings
from .change import KINDS, Change, change
from .messages import Messages, bounds, unread
from .renames import Renames, carried, changed_enum, changed_values, replaced
from .rules import RULES, Kind


def compare(old: Spec, new: Spec) -> list[Change]:
    """All changes in `new` that break programs made for `old`.

    Sorted by kind (wire, consumer, source), then by key.
    """
    sharding = shardings.changes(old, new)
    old, new = sharded.without(old), sharded.without(new)
    moved = _rerooted(old, new)
    found = [*_head(old, new, moved is not None), *_Comparison(moved or old, new).changes()]
    found += [change("wire", path, problem, deploy) for path, problem, deploy in sharding]
    found = list(dict.fromkeys(_as_written(one, old, new) for one in found))  # a mixin's in each message that has it
    return sorted(found, key=lambda one: (KINDS.index(one.kind), one.key, one.problem))


def _as_written(one: Change, *specs: Spec) -> Change:
    """`one` with the key in the text, for what is written out from an inline object or a mixin."""
    for spec in specs:
        for length in range(len(one.path), 0, -1):
            if one.path[:length] in spec.written:
                path = (*spec.written[one.path[:length]], *one.path[length:])
                return msgspec.structs.replace(one, path=path, key=dotted(path))
    return one


# ---- [spec]


def _head(old: Spec, new: Spec, moved: bool) -> Iterator[Change]:
    if moved:
        yield change(
            "wire", ("spec", "root"), f"every subject begins with {new.spec.roots[0]}, no longer with {old.spec.roots[0]}"
        )
    if old.spec.package != new.spec.package:
        problem = f"is now {new.spec.package} instead of {old.spec.package}: imports fail"
        yield change("source", ("spec", "package"), problem)


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


# ---- sources and copies of a stream's messages


def _flow(path: Path, old: StreamDecl, new: StreamDecl) -> Iterator[Change]:
    if old.mirror is not None and old.mirror != new.mirror:
        yield change("wire", (*path, "mirror"), f"no longer mirrors {old.mirror.name}, or not in the same way")
    lost = [origin.name for origin in old.sources if origin not in new.sources]
    if lost:
        yield change("wire", (*path, "sources"), f"no longer takes from {', '.join(lost)}, or not in the same way")
    if old.republish is not None and old.republish != new.republish:
        yield change("wire", (*path, "republish"), f"{old.republish.dest} is no longer sent, or has changed")
    if old.subject_transform != new.subject_transform:
        yield change("wire", (*path, "subject_transform"), "messages are stored under other subjects")


def _kept(path: Path, old: StreamDecl, new: StreamDecl) -> Iterator[Change]:
    """Changes of what a stream stores, and for how long."""
    if old.retention != new.retention:
        problem = f"is {new.retention} instead of {old.retention}: messages are kept for other readers, and for another time"
        yield change("wire", (*path, "retention"), problem)
    if old.discard != new.discard:
        effect = RULES["StreamDecl.discard"].effect(f"{new.discard} instead of {old.discard}")
        assert effect.kind is not None
        yield change(effect.kind, (*path, "discard"), f"is {effect.when}: {effect.why}", effect.deploy)
    yield from keys.compare(path, old, new)
    yield from keys.sizes(path, old, new)
    if old.consumer_limits is not None or new.consumer_limits is not None:
        was, now = (decl.consumer_limits or ConsumerLimitsDecl() for decl in (old, new))
        yield from keys.compare((*path, "consumer_limits"), was, now)


def _profile(path: Path, old: ProfileDecl, new: ProfileDecl, was: Spec, now: Spec) -> Iterator[Change]:
    """Changes of a profile. A key that it does not override has the stream's own value."""
    yield from keys.compare(path, old, new)
    for name in dict.fromkeys((*old.streams, *new.streams)):
        if name not in was.streams or name not in now.streams:
            continue
        given = [decl.streams.get(name, OverrideDecl()) for decl in (old, new)]
        changed = [field for field in OverrideDecl.__struct_fields__ if getattr(given[0], field) != getattr(given[1], field)]
        before, after = (
            msgspec.structs.replace(
                OverrideDecl(), **{key: getattr(override, key) or getattr(spec.streams[name], key, None) for key in changed}
            )
            for override, spec in zip(given, (was, now), strict=True)
        )
        here = (*path, "streams", name)
        yield from keys.compare(here, before, after)
        yield from keys.sizes(here, was.streams[name], now.streams[name], before, after)


# ---- everything else


class _Comparison:
    def __init__(self, old: Spec, new: Spec) -> None:
        self.old = old
        self.new = new
        self.renames = Renames(old, new)

    def changes(self) -> Iterator[Change]:
        yield from self.homes()
        yield from self.tokens()
        messages = Messages(self.old, self.new, self.renames)
        for name, message in self.old.messages.items():
            yield from messages.message(name, message)
        for name, enum in self.old.enums.items():
            yield from self.enum(("enums", name), enum, self.renames.enums.get(name))
        for name, union in self.old.unions.items():
            yield from self.union(("unions", name), union, self.new.unions.get(name))
        for name, subject in self.old.subjects.items():
            yield from self.subject(name, subject)
        yield from self.new_subjects()
        yield from self.streams()
        for name, bucket in self.old.buckets.items():
            if name in self.new.buckets:
                yield from self.bucket(("buckets", name), bucket, self.new.buckets[name])
        for name, consumer in self.old.consumers.items():
            yield from self.consumer(name, consumer)
            if name in self.new.consumers:
                yield from keys.compare(("consumers", name), consumer, self.new.consumers[name])
        yield from self.domains()
        for name, profile in self.old.profiles.items():
            path, now = ("profiles", name), self.new.profiles.get(name)
            if now is None:
                yield change("source", path, "removed: code that names it no longer runs")
            else:
                yield from _profile(path, profile, now, self.old, self.new)
        for name, sharding in self.old.sharding.items():
            if name in self.new.sharding:
                yield from keys.compare(("sharding", name), sharding, self.new.sharding[name])

    def homes(self) -> Iterator[Change]:
        """Declarations that moved to another package."""
        for section in ("tokens", "messages", "subjects", "consumers"):
            for name in getattr(self.old, section):
                path = (section, name)
                home = self.new.spec.package if self.old.is_own(path) else self.old.home(path)
                if name in getattr(self.new, section) and self.new.home(path) != home:
                    yield change("source", path, f"belongs to {self.new.home(path)}, no longer to {self.old.home(path)}")

    # ---- [tokens]

    def tokens(self) -> Iterator[Change]:
        for name, decl in self.old.tokens.items():
            path, now = ("tokens", name), self.renames.tokens.get(name)
            if now is None:
                yield change("source", path, "removed: code that uses its type no longer runs")
                continue
            if now == name:
                yield from self.token(path, decl, self.new.tokens[name])
            elif self.new.selectors.get(now) not in self.old.messages:  # else it is a tag, and that is a change of the family
                yield change("source", path, f"is now called {now}")
            family = self.new.selectors.get(now)
            if family is not None and name not in self.old.selectors and family not in self.old.messages:
                yield change("source", path, f"now selects the payload of {family}: its values are constants, not plain strings")

    def token(self, path: Path, old: TokenDecl, new: TokenDecl) -> Iterator[Change]:
        if (old.enum is None) != (new.enum is None):
            if old.base != new.base:
                yield change("wire", path, "is no longer a closed set" if new.enum is None else "is now a closed set")
            elif new.enum is None:
                yield change("wire", path, "is no longer a closed set: older readers refuse the new values", "readers first")
            else:
                yield change("wire", path, "is now a closed set: other values are refused", "publishers first")
        elif old.enum is not None and new.enum is not None:
            for kind, problem, deploy in changed_values(old.enum, new.enum):
                yield change(kind, (*path, "enum"), problem, deploy)
            yield from unread((*path, "aliases"), old.aliases, new.aliases)
        else:
            if old.newtype != new.newtype:
                yield change("source", (*path, "newtype"), f"{old.newtype} is now called {new.newtype}")
            if old.base != new.base:
                yield change("wire", (*path, "base"), f"is {new.base} instead of {old.base}")
                return
            if (old.format or "d") != (new.format or "d"):
                yield change("wire", (*path, "format"), f"is written {new.format or 'd'} instead of {old.format or 'd'}")
            yield from bounds(path, old, new)
            excluded = (*path, "exclude")
            added = [value for value in new.exclude if value not in old.exclude]
            dropped = [value for value in old.exclude if value not in new.exclude]
            if added:
                problem = f"{', '.join(added)} excluded instead of not: values that were valid are refused"
                yield change("wire", excluded, problem, "publishers first")
            if dropped:
                yield change("consumer", excluded, f"{', '.join(dropped)} no longer excluded: older readers refuse it")

    # ---- [enums], [unions], [subjects]

    def enum(self, path: Path, old: EnumDecl, now: str | None) -> Iterator[Change]:
        if now is None:
            yield change("source", path, "removed: code that uses it no longer runs")
            return
        if now != path[-1]:
            yield change("source", path, f"is now called {now}")
        new = self.new.enums[now]
        for kind, problem, deploy in changed_enum(old.docs, old.open, new.docs, new.open):
            yield change(kind, (*path, "values" if old.open == new.open else "open"), problem, deploy)

    def union(self, path: Path, old: UnionDecl, new: UnionDecl | None) -> Iterator[Change]:
        if new is None:
            yield change("wire", path, "removed: newer readers do not know it", "publishers first")
            return
        if old.tag != new.tag:
            yield change("wire", (*path, "tag"), f"is {new.tag} instead of {old.tag}")
        key = (*path, "members")
        for kind, problem, deploy in changed_values(old.tags, new.tags):
            yield change(kind, key, problem, deploy)
        for tag, name in old.tags.items():
            now = new.tags.get(tag, name)
            if not self.renames.same_message(name, now):
                kind = "source" if self.renames.same_form(name, now) else "wire"
                yield change(kind, key, f"{tag} stands for {now} instead of {name}")

    def subject(self, name: str, old: SubjectDecl) -> Iterator[Change]:
        path, now = ("subjects", name), self.renames.subjects[name]
        if now is None:
            yield change("wire", path, "removed: newer readers do not receive it", "publishers first")
            return
        new = self.new.subjects[now]
        if now != name:
            yield change("source", path, f"is now called {now}")
        others = replaced(self.old, old.pattern, self.new, new.pattern, self.renames.tokens)
        if others is None:
            yield change("wire", (*path, "pattern"), f"is {new.pattern} instead of {old.pattern}")
        elif others:
            called = ", ".join(f"{{{one}}} is now called {{{other}}}" for one, other in others.items())
            yield change("source", (*path, "pattern"), called)
        if not self.renames.same_message(old.message, new.message):
            kind: Kind = "source" if self.renames.same_form(old.message, new.message) else "wire"
            yield change(kind, (*path, "message"), f"carries {new.message} instead of {old.message}")
        if self.renames.stream(old) != new.stream:
            where, was = (f"stored in {stream}" if stream else "core NATS" for stream in (new.stream, old.stream))
            yield change("wire", (*path, "stream"), f"is {where} instead of {was}")
        yield from self.headers((*path, "headers"), old.headers, new.headers)
        yield from self.reply(path, old, new)
        if old.dead_letters and not new.dead_letters:
            yield change("consumer", (*path, "dead_letters"), "dropped: no more dead letters are published here")

    def headers(self, path: Path, was: object, now: object) -> Iterator[Change]:
        """Changes in which headers a subject declares; others are changes of their message."""
        if was is None and isinstance(now, str):
            needed = [name for name, field in self.new.messages[now].fields.items() if field.is_required]
            if needed:
                problem = f"{', '.join(needed)} required: older publishers do not send it"
                yield change("wire", path, problem, "publishers first")
        elif isinstance(was, str) and now is None:
            yield change(
                "wire", path, "removed: older readers may require them, and with_headers() no longer exists", "readers first"
            )
        elif isinstance(was, str) and isinstance(now, str) and not self.renames.same_message(was, now):
            kind: Kind = "source" if self.renames.same_form(was, now) else "wire"
            yield change(kind, path, f"are {now} instead of {was}")

    def reply(self, path: Path, old: SubjectDecl, new: SubjectDecl) -> Iterator[Change]:
        """Changes in what a service answers with."""
        was, now = old.reply, new.reply
        if was is None or now is None:
            if was != now:
                words = f"answered with {now}" if was is None else f"no longer answered with {was}"
                yield change("wire", (*path, "reply"), f"requests are {words}: callers and services do not agree")
        elif not self.renames.same_message(was, now):
            kind: Kind = "source" if self.renames.same_form(was, now) else "wire"
            yield change(kind, (*path, "reply"), f"is {now} instead of {was}")
        gone = [name for name in old.errors if name not in new.errors]
        fresh = [name for name in new.errors if name not in old.errors]
        if gone:
            yield change("source", (*path, "errors"), f"{', '.join(gone)} removed: its exception class no longer exists")
        if fresh and was is not None:
            yield change("consumer", (*path, "errors"), f"{', '.join(fresh)} added: older callers do not know it")
        for name, decl in old.errors.items():
            former, code = decl.code or name, (new.errors[name].code or name) if name in new.errors else None
            if code is not None and code != former:
                yield change("wire", (*path, "errors", name, "code"), f"is {code} instead of {former}: it is not recognised")

    def bucket(self, path: Path, old: BucketDecl, new: BucketDecl) -> Iterator[Change]:
        """Changes in the keys and values of a bucket. Its stream is compared with the streams."""
        if not self.renames.same_message(old.message, new.message):
            kind: Kind = "source" if self.renames.same_form(old.message, new.message) else "wire"
            yield change(kind, (*path, "message"), f"is {new.message} instead of {old.message}")
        if old.key == new.key:
            return
        if old.key is None or new.key is None:
            was, now = ("any str" if one is None else one for one in (old.key, new.key))
            yield change("source", (*path, "key"), f"is {now} instead of {was}: a key is of another type")
            return
        others = replaced(self.old, old.key, self.new, new.key, self.renames.tokens)
        if others is None:
            yield change("wire", (*path, "key"), f"is {new.key} instead of {old.key}")
        elif others:
            called = ", ".join(f"{{{one}}} is now called {{{other}}}" for one, other in others.items())
            yield change("source", (*path, "key"), called)

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
                yield change("consumer", ("subjects", name, "pattern"), problem)

    # ---- [streams], [consumers]

    def streams(self) -> Iterator[Change]:
        for name, old in self.old.streams.items():
            path, now = ("streams", name), self.renames.streams.get(name)
            if now is None:
                yield change("wire", path, "removed: its messages are lost", "publishers first")
                continue
            if now != name:
                yield change("wire", path, f"is now called {now}: its messages stay in the old stream")
                continue
            lost = [one for one in old.subjects if not carried(one, self.new.streams[name].subjects) and not self.left(name, one)]
            if lost:
                yield change("wire", (*path, "subjects"), f"no longer captures {', '.join(lost)}, or only part of it")
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
            yield self.gone(path, name)
            return
        stream: str | None = self.renames.streams.get(old.stream, old.stream)
        moved = {self.new.subjects[now].stream for now in map(self.renames.subjects.get, self.straight(old)) if now}
        if moved:
            stream = moved.pop() if len(moved) == 1 else None
        if stream != new.stream:
            yield change("consumer", (*path, "stream"), f"consumes {new.stream} instead of {old.stream}")
            return
        if sorted(map(self.renamed, old.chosen)) == sorted(sorted(table.items()) for table in new.chosen):
            return  # whatever else it receives now is a change of the subject, or of the stream
        now, was = (sorted(taken(spec, decl)) for spec, decl in ((self.new, new), (self.old, old)))
        if now != was:
            key = "filters" if new.filters or old.filters else "filter"
            narrowed = not all(carried(one, now) for one in was)
            problem = f"receives {', '.join(now)} instead of {', '.join(was)}"
            yield change("consumer", (*path, key), problem, "on apply" if narrowed else "readers first")

    def gone(self, path: Path, name: str) -> Change:
        """A durable that is removed, or has another name."""
        heir, code = self.renames.consumers.get(name), f"code that uses consumers.{names.snake(name)} no longer runs"
        if heir is None:
            return change("source", path, f"removed: {code}")
        problem = f"is now called {heir}: another durable, which begins by its deliver_policy, and {code}"
        return change("consumer", path, problem, "on apply")

    def domains(self) -> Iterator[Change]:
        """Consumers that were declared for some domains, or for all, and are so no longer."""
        new = domains.expanded(self.new).consumers
        for name in domains.expanded(self.old).consumers:
            if name not in new and (name not in self.old.consumers or name in self.new.consumers):
                problem = f"consumer {name} is not declared any more: `smith domains move` moves its domains, without loss"
                yield change("consumer", ("domains",), problem)

    def straight(self, consumer: ConsumerDecl) -> list[str]:
        """The subjects of an old consumer's filters that its stream itself stores, not a source."""
        subjects = [table["subject"] for table in consumer.chosen]
        return [name for name in subjects if self.old.subjects[name].stream == consumer.stream]

    def renamed(self, table: dict[str, str]) -> list[tuple[str, str]]:
        """An old filter in the words of the new spec."""
        tokens = {self.renames.tokens.get(token, token): value for token, value in table.items() if token != "subject"}
        return sorted({**tokens, "subject": self.renames.subjects[table["subject"]] or ""}.items())
