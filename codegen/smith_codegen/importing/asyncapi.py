"""A draft of a spec from an AsyncAPI document: 2.x, or 3.0 as `smith-codegen docs` writes it, or
others do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from .. import names
from ..documents.message_schemas import FACTS
from ..name_checks import is_name
from ..patterns import LITERAL
from .document import DocumentError, Node, References, Remote
from .schemas import Messages, Table

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_KEPT: Final = ("streams", "consumers", "domains", "profiles", "sharding", "buckets", "objects")
"""Sections that our own documents hold as they are."""


class Draft(msgspec.Struct, frozen=True):
    """The sections of a spec, and what the document says that they do not."""

    sections: dict[str, dict[str, Any]]
    notes: tuple[str, ...]


class Channel(msgspec.Struct, frozen=True):
    """A channel of either version. `messages` are nodes, each with its name and where it stands."""

    id: str
    at: str
    address: str
    doc: str
    parameters: Table
    messages: tuple[tuple[str, Any, str], ...]
    facts: Table
    reply: tuple[tuple[str, Any, str], ...] = ()
    errors: Table = {}


def draft(document: Node, *, package: str | None = None) -> Draft:
    """Draft a spec. Raises `DocumentError`."""
    return _Importer(document).draft(package)


class _Importer:
    def __init__(self, document: Node) -> None:
        self._document = document
        self._references = References(document)
        self._notes: dict[str, None] = {}
        self._facts: Table = _table(_table(document.get("info")).get(FACTS))
        self._messages = Messages(self._references, self._note, is_ours="hash" in self._facts)
        self._tokens: dict[str, Table] = {}
        version = str(document.get("asyncapi", ""))
        if not version.startswith(("2.", "3.")):
            raise DocumentError(f"asyncapi is {version!r}: write 2.x or 3.0" if version else "has no version: asyncapi = ...")
        self._is_old = version.startswith("2.")
        self._own: Table = _table(document.get(FACTS))

    def draft(self, package: str | None) -> Draft:
        facts = {key: value for key, value in self._facts.items() if key != "hash"}
        self._tokens = dict(_table(self._own.get("tokens")))
        channels = [one for one in self._channels() if "sharding" not in one.facts]
        subjects = dict(self._subjects(channels))
        if facts:  # ours: payloads of buckets, and those that no subject carries
            self._messages.declare_all(_table(_table(self._document.get("components")).get("schemas")))
        self._unsaid()
        head = {**facts, **({"package": package} if package else {})} if facts else self._head(channels, package)
        kept = {section: dict(_table(self._own.get(section))) for section in _KEPT}
        sections = {
            "spec": head,
            "tokens": self._tokens,
            "enums": self._messages.enums,
            "messages": self._messages.messages,
            "unions": self._messages.unions,
            "subjects": subjects,
            **kept,
        }
        if not kept["streams"] and subjects:
            self._note("channels", "which streams store what: add [streams], and `stream` to their subjects")
        return Draft(sections, tuple(self._notes))

    def _note(self, at: str, text: str) -> None:
        self._notes.setdefault(f"{at}: {text}")

    def _head(self, channels: list[Channel], package: str | None) -> Table:
        info = _table(self._document.get("info"))
        name = re.sub(r"[^a-z0-9]+", "_", str(info.get("title", "bus")).lower()).strip("_") or "bus"
        name = name if is_name(name) else f"bus_{name}"
        version = re.match(r"\d+", str(info.get("version", "1")))
        roots = list(dict.fromkeys(_subject(one.address).partition(".")[0] for one in channels))
        roots = [root for root in roots if LITERAL.fullmatch(root)] or [name]
        found: Table = {"name": name, "version": max(1, int(version[0][:6])) if version else 1}
        found |= {"root": roots[0] if len(roots) == 1 else roots, "package": package or f"{name}_bus"}
        text = info.get("description")
        return {**found, **({"doc": text} if isinstance(text, str) and text else {})}

    def _unsaid(self) -> None:
        if self._document.get("servers"):
            self._note("servers", "a spec names no servers: they are configuration")
        if _table(self._document.get("components")).get("securitySchemes"):
            self._note(
                "components/securitySchemes", "a spec has no credentials: smith-codegen permissions makes what servers allow"
            )

    # ---- channels of both versions

    def _channels(self) -> Iterator[Channel]:
        replies = {} if self._is_old else dict(self._replies())
        answers = {id(node) for node, _, _ in replies.values()}
        for name, node in _table(self._document.get("channels")).items():
            at = f"channels/{name}"
            try:
                channel, _ = self._references.follow(node)
            except Remote as remote:
                self._note(at, f"{remote} is not fetched: the channel is left out")
                continue
            channel = _table(channel)
            if id(channel) in answers:
                continue
            address = name if self._is_old else channel.get("address")
            if not isinstance(address, str):
                self._note(at, "has no address: it is left out")
                continue
            listed = self._old_messages(channel, at) if self._is_old else self._listed(channel.get("messages"), at)
            _, reply, errors = replies.get(id(channel), (None, (), {}))
            yield Channel(
                id=name,
                at=at,
                address=address,
                doc=str(channel.get("description") or channel.get("summary") or ""),
                parameters=_table(channel.get("parameters")),
                messages=tuple(listed),
                facts=_table(channel.get(FACTS)),
                reply=tuple(reply),
                errors=errors,
            )

    def _listed(self, messages: Any, at: str) -> Iterator[tuple[str, Any, str]]:
        for name, node in _table(messages).items():
            yield name, node, f"{at}/messages/{name}"

    def _old_messages(self, channel: Table, at: str) -> Iterator[tuple[str, Any, str]]:
        for action in ("publish", "subscribe"):
            message = _table(channel.get(action)).get("message")
            if message is None:
                continue
            many = message.get("oneOf") if isinstance(message, dict) else None
            for index, node in enumerate(many if isinstance(many, list) else [message]):
                yield "", node, f"{at}/{action}/message" + (f"/oneOf/{index}" if many else "")

    def _replies(self) -> Iterator[tuple[int, tuple[Any, list[tuple[str, Any, str]], Table]]]:
        """For the channel of each request: the channel of its reply, its messages, its errors."""
        for name, node in _table(self._document.get("operations")).items():
            at = f"operations/{name}"
            try:
                operation, _ = self._references.follow(node)
                reply = _table(_table(operation).get("reply"))
                if not reply:
                    continue
                channel, _ = self._references.follow(_table(operation).get("channel"))
                target, _ = self._references.follow(reply.get("channel", {}))
            except Remote as remote:
                self._note(at, f"{remote} is not fetched: the reply is left out")
                continue
            errors = _table(_table(reply.get(FACTS)).get("errors"))
            yield id(channel), (target, list(self._listed(_table(target).get("messages"), at)), errors)

    # ---- subjects

    def _subjects(self, channels: list[Channel]) -> Iterator[tuple[str, Table]]:
        taken: set[str] = set()
        for channel in channels:
            pattern = channel.facts.get("pattern") or self._pattern(channel)
            if pattern is None:
                continue
            found: Table = {"pattern": pattern, "message": self._message(channel.messages, channel, channel.facts.get("message"))}
            streams = channel.facts.get("streams")
            if streams:
                found["stream"] = streams[0]
            found |= {key: channel.facts[key] for key in ("dead_letters", "headers", "deprecated") if key in channel.facts}
            if "headers" not in found and (headers := self._headers(channel)):
                found["headers"] = headers
            if channel.reply:
                found["reply"] = self._message(channel.reply, channel)
                errors = {name: _error(name, _table(one)) for name, one in channel.errors.items()}
                found |= {"errors": errors} if errors else {}
            found |= {"doc": channel.doc} if channel.doc else {}
            name = self._name(channel, taken)
            taken.add(name)
            yield name, found

    def _name(self, channel: Channel, taken: set[str]) -> str:
        if channel.facts:
            return channel.id
        text = _subject(channel.address) if self._is_old or not re.fullmatch(r"[\w.-]+", channel.id) else channel.id
        words = [re.sub(r"[^a-z0-9_]+", "_", _snake(word)).strip("_") for word in _PLACEHOLDER.sub("", text).split(".")]
        parts = [word if is_name(word) else f"n_{word}" for word in words if word]
        parts = parts[1:] if len(parts) > 1 and text == _subject(channel.address) else parts
        name = plain = ".".join(parts) or "channel"
        number = 2
        types = (self._messages.messages, self._messages.unions, self._messages.enums)
        if any(names.camel(name) in one for one in types):  # its class would have that name, too
            name = plain = f"{plain}_subject"
        while name in taken:
            name, number = f"{plain}_{number}", number + 1
        return name

    def _pattern(self, channel: Channel) -> str | None:
        """The pattern of a subject; None if there can be none."""
        address = _subject(channel.address)
        if "/" in channel.address:
            self._note(channel.at, f"its address has slashes: the subject is {address}")
        found = _PLACEHOLDER.sub(lambda match: f"{{{self._token(match[1], channel)}}}", address)
        for piece in found.split("."):
            if not re.fullmatch(r"\$?[A-Za-z0-9_-]*(\{\w+\}[A-Za-z0-9_-]*)?", piece) or not piece:
                self._note(
                    channel.at, f"{piece or 'an empty token'!r} in {address} cannot be in a subject: the channel is left out"
                )
                return None
        return found

    def _token(self, name: str, channel: Channel) -> str:
        """The token for a parameter; it is declared."""
        try:
            node, _ = self._references.follow(channel.parameters.get(name, {}))
        except Remote as remote:
            self._note(f"{channel.at}/parameters/{name}", f"{remote} is not fetched: any token is valid")
            node = {}
        parameter = _table(node)
        values = parameter.get("enum") or _table(parameter.get("schema")).get("enum")
        text = parameter.get("description")
        doc = {"doc": text} if isinstance(text, str) and text else {}
        plain = re.sub(r"[^a-z0-9_]+", "_", _snake(name)).strip("_")
        plain = chosen = plain if is_name(plain) else f"token_{plain}".rstrip("_")
        texts = [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
        made: Table = {"enum": list(dict.fromkeys(texts)), **doc} if texts else {"newtype": names.camel(chosen), **doc}
        number = 2
        while chosen in self._tokens and self._tokens[chosen].get("enum") != made.get("enum"):
            chosen, number = f"{plain}_{number}", number + 1
            if not texts:
                made["newtype"] = names.camel(chosen)
        self._tokens.setdefault(chosen, made)
        return chosen

    # ---- messages

    def _message(self, messages: tuple[tuple[str, Any, str], ...], channel: Channel, wanted: Any = None) -> str:
        schemas = _table(_table(self._document.get("components")).get("schemas"))
        if isinstance(wanted, str) and wanted in schemas:  # of our own documents: also a family or a union
            where = f"components/schemas/{wanted}"
            return self._messages.payload({"$ref": f"#/{where}"}, wanted, where)
        found = list(dict.fromkeys(self._payload(name, node, at) for name, node, at in messages))
        if len(found) == 1:
            return found[0]
        said = f"one of {', '.join(found)}: declare [unions.X] with a tag" if found else "has no message"
        self._note(channel.at, f"{said}; the payload is bytes")
        return "bytes"

    def _headers(self, channel: Channel) -> Table:
        """The headers of all messages of a channel, each with its type."""
        found: Table = {}
        for _, node, at in channel.messages:
            try:
                message, _ = self._references.follow(node)
                headers, _ = self._references.follow(_table(message).get("headers", {}))
            except Remote as remote:
                self._note(at, f"{remote} is not fetched: its headers are left out")
                continue
            found |= self._messages.headers(_table(headers), f"{at}/headers")
        return found

    def _payload(self, name: str, node: Any, at: str) -> str:
        try:
            message, referred = self._references.follow(node)
        except Remote as remote:
            self._note(at, f"{remote} is not fetched: the payload is bytes")
            return "bytes"
        message = _table(message)
        if message.get("traits"):
            self._note(f"{at}/traits", "traits are left out")
        if message.get("contentType", "application/json") not in ("application/json", "application/vnd.aai.asyncapi+json"):
            if FACTS not in self._document:
                self._note(at, f"the payload is {message['contentType']}: it is bytes")
            return "bytes"
        if "payload" not in message:
            self._note(at, "has no payload: it is bytes")
            return "bytes"
        payload = message["payload"]
        if isinstance(payload, dict) and "schemaFormat" in payload:
            payload = payload.get("schema", {})
        return self._messages.payload(payload, str(message.get("name") or referred or name or "Payload"), f"{at}/payload")


def _table(value: Any) -> Table:
    return value if isinstance(value, dict) else {}


def _error(name: str, error: Table) -> Any:
    code, doc = error.get("code", name), str(error.get("doc", ""))
    return doc if code == name else {"code": code, "doc": doc}


def _snake(text: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()


def _subject(address: str) -> str:
    return address.strip("/").replace("/", ".") if "/" in address else address
