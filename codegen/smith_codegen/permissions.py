"""The permissions of a role, derived from a spec: what nats-server has to allow its user.

A role is what one program does with the SDK. Nothing here imports `smith_sdk`; what each call of
the SDK needs is shown by tests/server/test_roles.py, on a server with these permissions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from . import domains, sharded
from .patterns import LITERAL, any_overlap, covers, positions
from .permissions_text import RESPONSE_TTL as RESPONSE_TTL
from .permissions_text import Permissions as Permissions
from .permissions_text import User as User
from .permissions_text import as_conf as as_conf
from .permissions_text import as_json as as_json
from .permissions_text import as_nsc as as_nsc
from .permissions_text import authorization as authorization
from .placeholders import placeholders, split, taken, wildcards
from .spec import MOST_SHARDS, Spec, SubjectDecl
from .topology_spec import ConsumerDecl, ShardingDecl

API: Final = "$JS.API"
"""The prefix of the JetStream API of an account that has it itself."""
_DOMAIN: Final = re.compile(r"\$JS\.[^.]+\.API")
_TOKEN: Final = re.compile(r"""[^\s.*>"\\\x00-\x20\x7f-\x9f]+""")
"""A token of a prefix of the JetStream API."""
_ACK: Final = "$JS.ACK"
_NONCES: Final = "KV_SMITH_NONCES"
"""The stream in which admission remembers what it has let through."""
_CONTROL: Final = "KV_SMITH_CONTROL"
"""The stream of the switches that back pressure sets, and admission watches."""
_RULES_KEYS: Final = ("backpressure.*", "held.*.*", "quarantine.*")
"""The keys of that bucket that back pressure writes."""
_HEALTH_KEY: Final = "health"
"""The key of that bucket that each look at the health of a bus writes."""
_ADMISSION: Final = "admission"
"""The consumer of that name is read by `Admission`."""
_RESULTS: Final = "results"
_HEALTH_EVENTS: Final = "events.health"
_RAW: Final = "intents.raw"
_QUARANTINE: Final = "intents.quarantine"
_DECISIONS: Final = "audit.policy"
_SECURITY: Final = "audit.security"
_DISCARDED: Final = "quarantine_discarded"
"""The type of the event about discarded bytes that were no intent."""
_AUDIT: Final = "audit."
_INTENT: Final = "Intent"
_SERVICES: Final = "$SRV"
"""The root of the requests to micro-services, which workers answer."""
_NOT_IN_SERVICES: Final = re.compile(r"[^a-zA-Z0-9_-]")
_SDK: Final = "smith_sdk"
_LONGEST_NAME: Final = 128
"""Characters of a user's name, which becomes a token of its inbox prefix."""


class RoleError(ValueError):
    """A role that the spec does not have, or that lacks what it needs. Its text names what
    exists."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a role is for. Which of these it needs, and which it takes, depends on the role."""

    subjects: tuple[str, ...] = ()
    """Subjects by their names in the spec; `name:token=value` for some of its subjects."""
    consumers: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    replay_protection: bool = False
    once: str = ""
    """The bucket of a worker's `Once`."""
    shardings: tuple[str, ...] = ()
    """Shardings by their names; `name:generation=2,shards=32` with the shards of another layout."""


def block(
    spec: Spec,
    role: str,
    *,
    subjects: Sequence[str] = (),
    consumers: Sequence[str] = (),
    streams: Sequence[str] = (),
    inbox_prefix: str = "",
    api_prefix: str = API,
    replay_protection: bool = False,
    once: str = "",
    shardings: Sequence[str] = (),
) -> Permissions:
    """The least permissions with which the SDK can do all that `role` does (one of `ROLES`).

    `inbox_prefix` is `_INBOX_<role>` by default, of a worker `_INBOX_<consumer>`, so that no role
    can read what is answered to another. `api_prefix` is `$JS.<domain>.API` for a JetStream domain.
    Raises `RoleError`.
    """
    if role not in ROLES:
        known = f"a role is needed, one of {', '.join(ROLES)}"
        raise RoleError(f"{role!r} is not a role: {known}" if role else known)
    wanted = Wanted(
        subjects=tuple(subjects),
        consumers=tuple(consumers),
        streams=tuple(streams),
        replay_protection=replay_protection,
        once=once,
        shardings=tuple(shardings),
    )
    given = {name: bool(getattr(wanted, name)) for name in Wanted.__struct_fields__}
    for name, is_given in given.items():
        if is_given and name not in ROLES[role].takes:
            takes = ", ".join(map(_option, ROLES[role].takes)) or "no option of that kind"
            raise RoleError(f"role {role} does not take {_option(name)}: it takes {takes}")
    rights = _Rights(_with_derived(spec, consumers), _require_api(api_prefix.removesuffix(".")))
    ROLES[role].grant(rights, wanted)
    name = "-".join((*consumers, *(one.partition(":")[0] for one in shardings))) if role == "worker" else role
    name = name if len(name) <= _LONGEST_NAME else role
    inbox = _require_inbox(spec, inbox_prefix or f"_INBOX_{name}")
    return Permissions(
        role=role,
        name=name,
        inbox_prefix=inbox,
        publish=tuple(_needed(rights.publish)),
        subscribe=tuple(_needed([*rights.subscribe, f"{inbox}.>"])),
        may_reply=rights.may_reply,
    )


def _with_derived(spec: Spec, names: Iterable[str]) -> Spec:
    """`spec` with the consumers that the server is to have, and those of `names` that code
    derives with `for_domains`."""
    every = domains.expanded(spec)
    found = {name: decl for name in names if (decl := domains.named(spec, name)) is not None and name not in spec.consumers}
    return msgspec.structs.replace(every, consumers={**every.consumers, **found})


def _option(name: str) -> str:
    known = {"consumers": "--consumer", "shardings": "--sharding"}
    return known.get(name, f"--{name.replace('_', '-')}")


def api_of(domain: str) -> str:
    """The prefix of the JetStream API of `domain`. Raises `RoleError`."""
    if not _TOKEN.fullmatch(domain):
        raise RoleError(f"{domain!r} is not a valid JetStream domain: one token, without white space, wildcards and quotes")
    return f"$JS.{domain}.API"


def _require_api(prefix: str) -> str:
    if not all(map(_TOKEN.fullmatch, prefix.split("."))):
        raise RoleError(
            f"the API prefix {prefix!r} is not a valid subject: tokens joined by dots, without white space, wildcards and quotes"
        )
    return prefix


def _require_inbox(spec: Spec, prefix: str) -> str:
    if not all(map(LITERAL.fullmatch, prefix.split("."))):
        raise RoleError(f"the inbox prefix {prefix!r} is not a valid subject: letters, digits, - and _, tokens joined by dots")
    inbox = [positions(f"{prefix}.>")]
    for name, decl in spec.subjects.items():  # its user would receive all messages there
        if any_overlap(inbox, [positions(one) for one in wildcards(spec, decl)]):
            raise RoleError(f"the inbox prefix {prefix!r} holds subject {name} of the spec: take one that no subject begins with")
    return prefix


def _needed(patterns: Iterable[str]) -> Iterator[str]:
    """Each pattern once, without those that another one covers."""
    once = list(dict.fromkeys(patterns))
    for one in once:
        if not any(other != one and covers(positions(other), positions(one)) for other in once):
            yield one


# ---- what roles are made of


class _Rights:
    """The permissions of one role while they are put together."""

    def __init__(self, spec: Spec, api_prefix: str) -> None:
        self.spec = spec
        # A server of the domain itself maps the domain's API to its own, and then checks that.
        self._apis = (api_prefix, API) if _DOMAIN.fullmatch(api_prefix) else (api_prefix,)
        self.publish: list[str] = []
        self.subscribe: list[str] = []
        self.may_reply = False

    def ask(self, *verbs: str) -> None:
        """Requests of the JetStream API."""
        for api in self._apis:
            self.publish += [f"{api}.{verb}" for verb in verbs]

    def send(self, name: str, given: dict[str, str] | None = None) -> None:
        """Publishing to a subject of the spec."""
        decl = self.spec.subjects[name]
        self.publish += wildcards(self.spec, decl, given)
        if sharding := sharded.of_subject(self.spec, name):  # in whichever layout, which it looks up
            words = split(self.publish.pop())
            self.publish.append(".".join((*words[:-2], "*", words[-1])))
            self.look_up(f"KV_{sharding.bucket}")
        for stream in self.spec.streams_of(name):
            self.ask_interest(stream)

    def ask_interest(self, stream: str | None) -> None:
        """What publishing to an interest stream asks: it drops what no consumer takes."""
        if stream is not None and self.spec.streams[stream].retention == "interest":
            self.ask(f"CONSUMER.LIST.{stream}")

    def ask_batches(self, stream: str | None) -> None:
        """What a bulk asks of a stream with batches: whether the server's takes them, too."""
        if stream is not None and (self.spec.streams[stream].allow_batched or self.spec.streams[stream].allow_atomic):
            self.ask(f"STREAM.INFO.{stream}")

    def look_up(self, stream: str | None) -> None:
        """Reading single messages of a stream."""
        if stream is not None:
            self.ask(f"STREAM.MSG.GET.{stream}")

    def put_keys(self, stream: str, pattern: str = ">") -> None:
        """Creating keys of a key-value bucket, and looking at them."""
        keys = f"$KV.{stream.removeprefix('KV_')}.{pattern}"
        # Of another domain or account, keys are reached through its API alone.
        self.publish += [keys if api == API else f"{api}.{keys}" for api in self._apis]
        self.ask(f"STREAM.INFO.{stream}", f"STREAM.MSG.GET.{stream}")

    def read(self, stream: str) -> None:
        """Reading a stream in order, without a durable consumer."""
        self.ask(f"STREAM.INFO.{stream}", f"STREAM.MSG.GET.{stream}")
        if self.spec.streams[stream].retention == "limits":  # others are looked up message by message
            self.ask(f"CONSUMER.CREATE.{stream}.*", f"CONSUMER.MSG.NEXT.{stream}.*", f"CONSUMER.DELETE.{stream}.*")

    def work(self, consumer: str) -> None:
        """A worker of `consumer`: pulls, acks, dead letters, isolated attempts, outputs."""
        decl = self.spec.consumers[consumer]
        self.pull(decl.stream, consumer)
        self.put_outputs(decl)
        self.serve(_NOT_IN_SERVICES.sub("_", consumer))

    def pull(self, stream: str, consumer: str) -> None:
        """Pulls, acks, dead letters and isolated attempts; `*`: of all consumers of `stream`."""
        where = f"{stream}.{consumer}"
        self.ask(f"CONSUMER.INFO.{where}", f"CONSUMER.MSG.NEXT.{where}")
        self.ask(f"STREAM.INFO.{stream}")  # a stream that was created again has the former one's sequences
        self.publish.append(f"{_ACK}.{where}.>")
        if self.letters is not None:
            root, letters = self.letters
            self.publish += [f"{root}.{where}.*", f"{root}.{where}.*.trial", f"{root}.{where}.*.unrun"]
            self.look_up(letters)

    def put_outputs(self, decl: ConsumerDecl) -> None:
        """What handlers of a consumer publish, and the answers to callers whose intent fails."""
        for name in decl.publishes:
            self.send(name)
            for one in sharded.made_of(self.spec, name):  # what has a key goes there
                self.send(one)
        if self._takes_intents(decl):
            self.send(_RESULTS)
            self.look_up(self.spec.subjects[_RESULTS].stream)

    def work_shards(self, name: str, layouts: Sequence[ShardingDecl], once: str) -> None:
        """A worker of the shards of a sharding, in `layouts`: the shards, and its bucket.

        `once` is the bucket of its `Once`; "" if it has none.
        """
        spread = layouts[0].streams > 1
        for decl in layouts:
            streams = sharded.streams_of(self.spec.subjects[decl.subject].stream or "", decl)
            for number in range(decl.shards):
                # A stream of its own has no other consumers: there one pattern is for all.
                stream, durable = streams[number % decl.streams], "*" if spread else sharded.durable(name, decl, number)
                self.pull(stream, durable)
                self.ask(f"CONSUMER.UNPIN.{stream}.{durable}")
                if once:
                    self.put_keys(f"KV_{once}", f"{stream}.{durable}.*")
        self.put_outputs(self.spec.consumers[sharded.durable(name, layouts[0], 0)])
        bucket = f"KV_{layouts[0].bucket}"
        for what in ("members", "owners", "moves", "halted"):
            self.put_keys(bucket, f"shards.{name}.{what}.*")
        self.read(bucket)
        self.serve(_NOT_IN_SERVICES.sub("_", name))

    def serve(self, service: str) -> None:
        """Answering those who ask a worker for its state, as `nats micro` does."""
        self.subscribe += [f"{_SERVICES}.*", f"{_SERVICES}.*.{service}", f"{_SERVICES}.*.{service}.*"]
        self.may_reply = True

    def ask_services(self) -> None:
        """Asking all workers for their state."""
        self.publish.append(f"{_SERVICES}.>")

    @property
    def letters(self) -> tuple[str, str] | None:
        """The root of the subjects of the dead letters, and their stream."""
        for decl in self.spec.subjects.values():
            if decl.dead_letters and decl.stream is not None:
                return ".".join(split(decl.pattern)[:-3]), decl.stream
        return None

    def _takes_intents(self, decl: ConsumerDecl) -> bool:
        """Whether all that it receives are intents, so that a caller may wait for the result."""
        if _RESULTS not in self.spec.subjects or self.spec.home(("messages", _INTENT)) != _SDK:
            return False  # another contract's message of that name is not the SDK's
        mine = [positions(one) for one in taken(self.spec, decl)]
        found = {
            one.message for one in self.spec.subjects.values() if any_overlap(map(positions, wildcards(self.spec, one)), mine)
        }
        return found == {_INTENT}

    # ---- what is named by the caller

    def require(self, section: str, name: str, why: str = "") -> None:
        known = getattr(self.spec, section)
        if name not in known:
            kind = section.removesuffix("s")
            why += " (domains are not known from a hash of them)" if "-domains--" in name else ""
            raise RoleError(f"{self.spec.file} declares no {kind} {name}{why}: {', '.join(known) or f'it declares no {kind}'}")

    def each_subject(self, chosen: Sequence[str]) -> Iterator[tuple[str, SubjectDecl, dict[str, str]]]:
        """Subjects as in `Wanted.subjects`, with the values of their tokens."""
        for one in chosen:
            name, _, rest = one.partition(":")
            self.require("subjects", name)
            decl = self.spec.subjects[name]
            yield name, decl, dict(self._values(name, decl, rest.split(",") if rest else []))

    def _values(self, name: str, decl: SubjectDecl, pairs: Sequence[str]) -> Iterator[tuple[str, str]]:
        tokens = {piece.name: piece for piece in placeholders(decl.pattern)}
        for pair in pairs:
            token, sign, value = pair.partition("=")
            if not sign or token not in tokens:
                raise RoleError(f"{name}:{pair}: name:token=value is needed, with a token of {decl.pattern}")
            is_tail = tokens[token].is_tail
            allowed = None if is_tail else self.spec.token(decl, token).enum
            if allowed is not None and value not in allowed:
                raise RoleError(f"{name}:{pair}: {token} is one of {', '.join(allowed)}")
            if allowed is None and not all(map(LITERAL.fullmatch, split(value) if is_tail else [value])):
                raise RoleError(f"{name}:{pair}: {value!r} is not a valid token")
            yield token, value


# ---- the roles


def layouts_of(spec: Spec, wanted: str) -> tuple[str, tuple[ShardingDecl, ...]]:
    """A sharding as in `Wanted.shardings`: its name, and its layouts, the declared one first."""
    name, _, rest = wanted.partition(":")
    decl = spec.sharding.get(name)
    if decl is None:
        raise RoleError(f"{spec.file} declares no sharding {name}: {', '.join(spec.sharding) or 'it declares no sharding'}")
    if not rest:
        return name, (decl,)
    pairs = {key: value for key, _, value in (pair.partition("=") for pair in rest.split(","))}
    if set(pairs) != {"generation", "shards"} or not all(
        value.isdecimal() and 0 < int(value) <= 0xFFFF for value in pairs.values()
    ):
        raise RoleError(f"{wanted}: name:generation=2,shards=32 is needed, as `smith shards ls` shows the layout in use")
    if int(pairs["shards"]) > MOST_SHARDS:
        raise RoleError(f"{wanted}: at most {MOST_SHARDS:,} shards")
    other = msgspec.structs.replace(decl, **{key: int(value) for key, value in pairs.items()})
    return name, (decl,) if other == decl else (decl, other)


class Role(msgspec.Struct, frozen=True):
    """`grant` adds what it needs; `takes` are the fields of `Wanted` that it uses."""

    doc: str
    grant: Callable[[_Rights, Wanted], None]
    takes: tuple[str, ...] = ()


def _publisher(rights: _Rights, wanted: Wanted) -> None:
    if not wanted.subjects:
        raise RoleError(f"role publisher: name its subjects with --subjects: {', '.join(rights.spec.subjects)}")
    for name, _, given in rights.each_subject(wanted.subjects):
        rights.send(name, given)
        for stream in rights.spec.streams_of(name):
            rights.ask_batches(stream)


def _executer(rights: _Rights, wanted: Wanted) -> None:
    rights.require("subjects", _RESULTS, ", which `execute` waits for")
    chosen = wanted.subjects or (_RAW,)
    for name, decl, given in rights.each_subject(chosen):
        if decl.message != _INTENT:
            raise RoleError(f"role executer: {name} carries {decl.message}, not intents")
        rights.send(name, given)
    results = rights.spec.subjects[_RESULTS]
    rights.subscribe += wildcards(rights.spec, results)
    rights.look_up(results.stream)


def _worker(rights: _Rights, wanted: Wanted) -> None:
    if not wanted.consumers and not wanted.shardings:
        known = (name for name in rights.spec.consumers if ("consumers", name) not in rights.spec.derived)
        more = f", or its sharding with --sharding: {', '.join(rights.spec.sharding)}" if rights.spec.sharding else ""
        raise RoleError(f"role worker: name its consumer with --consumer: {', '.join(known)}{more}")
    if wanted.once:
        rights.require("streams", f"KV_{wanted.once}", ", the bucket of once=Once(...)")
    for one in wanted.shardings:
        rights.work_shards(*layouts_of(rights.spec, one), wanted.once)
    for name in wanted.consumers:
        rights.require("consumers", name)
        rights.work(name)
        if wanted.once:
            rights.put_keys(f"KV_{wanted.once}", f"{rights.spec.consumers[name].stream}.{name}.*")


def _admission(rights: _Rights, wanted: Wanted) -> None:
    rights.require("consumers", _ADMISSION, ", which admission reads")
    rights.work(_ADMISSION)
    for name in rights.spec.consumers[_ADMISSION].publishes:  # whether an output is there, after a crash
        for one in (name, *sharded.made_of(rights.spec, name)):
            for stream in rights.spec.streams_of(one):
                rights.look_up(stream)
    if _CONTROL in rights.spec.streams:
        rights.read(_CONTROL)
    if wanted.replay_protection:
        rights.require("streams", _NONCES, ", in which admission remembers intents")
        rights.put_keys(_NONCES)


def _reader(rights: _Rights, wanted: Wanted) -> None:
    if not wanted.subjects and not wanted.streams:
        raise RoleError("role reader: name what it reads with --streams or --subjects")
    for name in wanted.streams:
        rights.require("streams", name)
        rights.read(name)
    for name, decl, given in rights.each_subject(wanted.subjects):
        rights.subscribe += wildcards(rights.spec, decl, given)
        for stream in rights.spec.streams_of(name):
            rights.read(stream)


def _auditor(rights: _Rights, wanted: Wanted) -> None:
    trail = {decl.stream for name, decl in rights.spec.subjects.items() if name.startswith(_AUDIT) and decl.stream is not None}
    if not trail:
        raise RoleError(f"role auditor: {rights.spec.file} declares no subject audit.* that is kept in a stream")
    for stream in sorted(trail):
        rights.read(stream)


def _health(rights: _Rights, wanted: Wanted) -> None:
    rights.ask("INFO", "STREAM.LIST")
    for name in rights.spec.streams:
        rights.ask(f"STREAM.INFO.{name}", f"CONSUMER.LIST.{name}")
    for name, decl in rights.spec.consumers.items():
        rights.ask(f"CONSUMER.INFO.{decl.stream}.{name}")
    for name in wanted.streams:  # how old their oldest messages are
        rights.require("streams", name)
        rights.look_up(name)
    rights.ask_services()
    if _CONTROL in rights.spec.streams:  # proves that messages are stored, and reads who has paused a consumer
        rights.put_keys(_CONTROL, _HEALTH_KEY)


def _monitor(rights: _Rights, wanted: Wanted) -> None:
    spec = rights.spec
    read = dict.fromkeys(decl.stream for decl in spec.consumers.values())
    _health(rights, msgspec.structs.replace(wanted, streams=wanted.streams or tuple(read)))
    if _HEALTH_EVENTS in spec.subjects:
        rights.send(_HEALTH_EVENTS)


def _back_pressure(rights: _Rights, wanted: Wanted) -> None:
    spec = rights.spec
    rights.require("streams", _CONTROL, ", in which processes agree on rules")
    for pattern in _RULES_KEYS:
        rights.put_keys(_CONTROL, pattern)
    rights.read(_CONTROL)
    rights.ask(*(f"STREAM.INFO.{name}" for name in spec.streams))
    for name in wanted.streams:
        rights.require("streams", name)
        rights.look_up(name)
    for name in wanted.consumers:
        rights.require("consumers", name)
    for name in wanted.consumers or spec.consumers:
        where = f"{spec.consumers[name].stream}.{name}"
        rights.ask(*(f"CONSUMER.{verb}.{where}" for verb in ("INFO", "CREATE", "PAUSE")))


def _dlq_operator(rights: _Rights, wanted: Wanted) -> None:
    letters = rights.letters
    if letters is None:
        raise RoleError(f"role dlq-operator: {rights.spec.file} declares no subject for dead letters")
    root, stream = letters
    for name in wanted.consumers:
        rights.require("consumers", name)
    rights.read(stream)
    rights.ask(f"STREAM.MSG.DELETE.{stream}")
    chosen = wanted.consumers or tuple(rights.spec.consumers)
    for name in chosen:
        _handle_letters(rights, root, name)
    for one in dict.fromkeys(rights.spec.derived.get(("consumers", name)) for name in chosen):
        if one is not None:  # letters of shards go to those of now, whose number it looks up
            rights.send(rights.spec.sharding[one].sharded)
    for name, decl in rights.spec.streams.items():
        if any(one.startswith("$JS.EVENT.ADVISORY.CONSUMER.") for one in decl.subjects):
            rights.read(name)


def _handle_letters(rights: _Rights, root: str, consumer: str) -> None:
    """Replaying the dead letters of `consumer`, and the audit of them with its repairs."""
    decl = rights.spec.consumers[consumer]
    where = f"{decl.stream}.{consumer}"
    rights.publish += [f"{root}.{where}.>", f"{_ACK}.{where}.>"]
    rights.publish += taken(rights.spec, decl)
    rights.ask_interest(decl.stream)
    rights.ask(f"STREAM.INFO.{decl.stream}", f"STREAM.MSG.GET.{decl.stream}", f"CONSUMER.INFO.{where}")


def _quarantine_operator(rights: _Rights, wanted: Wanted) -> None:
    for name in (_QUARANTINE, _RAW, _DECISIONS, _SECURITY):
        rights.require("subjects", name, ", which role quarantine-operator needs")
    subjects = rights.spec.subjects
    stream = subjects[_QUARANTINE].stream
    rights.ask(f"STREAM.INFO.{stream}", f"STREAM.MSG.DELETE.{stream}")
    rights.send(_RAW)
    rights.send(_DECISIONS)
    rights.send(_SECURITY, {"event_type": _DISCARDED})
    for name in (_QUARANTINE, _RAW, _DECISIONS):
        rights.look_up(subjects[name].stream)
    if _CONTROL in rights.spec.streams:  # whether back pressure is on
        rights.look_up(_CONTROL)


def _operator(rights: _Rights, wanted: Wanted) -> None:
    rights.ask(">")
    rights.ask_services()
    rights.publish.append(f"{_ACK}.>")
    shared = {f"KV_{decl.bucket}" for decl in rights.spec.sharding.values()}
    for stream in sorted({_CONTROL, *shared} & {*rights.spec.streams}):
        rights.put_keys(stream)
    if (letters := rights.letters) is not None:
        rights.publish.append(f"{letters[0]}.>")
        for decl in rights.spec.consumers.values():
            rights.publish += taken(rights.spec, decl)
        for sharding in rights.spec.sharding.values():
            rights.send(sharding.sharded)  # letters of shards go to those of now


ROLES: Final = {
    "publisher": Role("publishes to some subjects", _publisher, ("subjects",)),
    "executer": Role("publishes intents and waits for their results (execute)", _executer, ("subjects",)),
    "worker": Role("handles the messages of a consumer", _worker, ("consumers", "shardings", "once")),
    "admission": Role("decides about raw intents", _admission, ("replay_protection",)),
    "reader": Role("reads streams and subscribes to subjects", _reader, ("streams", "subjects")),
    "auditor": Role("reads the audit trail", _auditor),
    "health": Role("looks at streams and consumers, and writes one key", _health, ("streams",)),
    "monitor": Role("watches streams and consumers for alerts, and publishes health events", _monitor, ("streams",)),
    "back-pressure": Role(
        "measures consumers and streams, limits and pauses consumers, quarantines", _back_pressure, ("consumers", "streams")
    ),
    "dlq-operator": Role("lists, replays and discards dead letters", _dlq_operator, ("consumers",)),
    "quarantine-operator": Role("lists, releases and discards quarantined intents", _quarantine_operator),
    "operator": Role("applies the topology, and handles dead letters", _operator),
}
"""What a program can be, by name."""
