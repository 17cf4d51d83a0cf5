"""A spec as an AsyncAPI 3.0 document.

What AsyncAPI has no word for, such as streams and durable consumers, is under `x-smith`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from ..model import Model, Subject, Token
from ..spec import fields_of
from ..topology_spec import Strict
from . import samples, usage
from .message_schemas import FACTS, MessageSchemas, Schema, token_schema

VERSION: Final = "3.0.0"
_SCHEMAS: Final = "#/components/schemas/"
_BINDINGS: Final = {"nats": {"bindingVersion": "0.1.0"}}
_OCTETS: Final = "bytes"
"""The message of a subject without a schema."""


def build(model: Model, examples: samples.Samples) -> Schema:
    """The whole document."""
    schemas = MessageSchemas(model, _SCHEMAS, needs_tag=True)
    channels = _Channels(model, schemas)
    own = usage.own_subjects(model)
    used = {name for subject in own for name in channels.payloads_of(subject)}
    named = {one.name for one in model.declared if not one.home} | used - {_OCTETS}
    reached = sorted(frozenset().union(*map(schemas.reached, named)))
    head = model.spec.spec
    return {
        "asyncapi": VERSION,
        "info": {
            "title": head.name,
            "version": f"{head.version}.0.0",
            **({"description": head.doc} if head.doc else {}),
            FACTS: {**_declared(head), "hash": model.spec.hash},
        },
        "defaultContentType": "application/json",
        "channels": dict(channels.every(own)),
        "operations": dict(channels.operations(own)),
        "components": {
            "messages": {
                **{name: _message(schemas, examples, name) for name in sorted(used)},
                **{
                    f"{subject.name}.{name}": _with_headers(schemas, subject.headers, _message(schemas, examples, name))
                    for subject in own
                    if subject.headers is not None
                    for name in channels.payloads(subject.message)
                },
            },
            "schemas": {name: _schema(schemas, name) for name in reached},
        },
        FACTS: _topology(model),
    }


def _schema(schemas: MessageSchemas, name: str) -> Schema:
    """The schema of a payload, with the package that declares it if that is another one."""
    made, home = schemas.of(name), schemas.declared[name].home
    return {**made, FACTS: {**made.get(FACTS, {}), "package": home}} if home else made


def _message(schemas: MessageSchemas, examples: samples.Samples, name: str) -> Schema:
    if name == _OCTETS:
        return {"name": name, "title": "Bytes", "contentType": "application/octet-stream"}
    decl = schemas.declared[name]
    id_field = getattr(decl, "id", None)
    made: Schema = {"name": name, "title": name, **({"summary": decl.doc} if decl.doc else {})}
    made["payload"] = {"$ref": f"{_SCHEMAS}{name}"}
    if id_field is not None:
        text = f"The value of `{id_field}`: a stream stores each value once within its duplicate window."
        made["headers"] = {"type": "object", "properties": {"Nats-Msg-Id": {"type": "string", "description": text}}}
    found = [{"payload": example} for example in examples.of(name) if isinstance(example, dict)]
    return {**made, **({"examples": found} if found else {})}


def _with_headers(schemas: MessageSchemas, headers: str, message: Schema) -> Schema:
    """A message with the headers that its subject declares."""
    plain = message.get("headers", {"type": "object", "properties": {}})
    declared = schemas.of(headers)
    properties = {**plain["properties"], **declared["properties"]}
    return {**message, "headers": {"type": "object", "properties": properties, "required": declared["required"]}}


class _Channels:
    def __init__(self, model: Model, schemas: MessageSchemas) -> None:
        self._model = model
        self._schemas = schemas

    def payloads(self, message: str) -> tuple[str, ...]:
        """The messages that a subject's payload may be: of a family, its members."""
        return (_OCTETS,) if message == _OCTETS else self._schemas.members(message)

    def payloads_of(self, subject: Subject) -> tuple[str, ...]:
        """Those of a subject and of its replies."""
        return (*self.payloads(subject.message), *(() if subject.reply is None else self.payloads(subject.reply)))

    def every(self, subjects: tuple[Subject, ...]) -> Iterator[tuple[str, Schema]]:
        """The channels of subjects, and those of the replies to requests."""
        for subject in subjects:
            yield subject.name, self.channel(subject)
            if subject.reply is not None:
                text = f"Where the reply to a request on {subject.name} goes: an inbox of the one who sent it."
                messages = {name: {"$ref": f"#/components/messages/{name}"} for name in self.payloads(subject.reply)}
                yield f"{subject.name}.reply", {"address": None, "description": text, "messages": messages}

    def channel(self, subject: Subject) -> Schema:
        streams = self._model.spec.streams_of(subject.name)
        within = f"{subject.name}." if subject.headers else ""
        facts: Schema = {"pattern": subject.pattern, "message": subject.message, "streams": list(streams)}
        parameters = {token.name: self._parameter(subject, token) for token in subject.tokens}
        return {
            "address": re.sub(r"[?>]\}", "}", subject.pattern),
            "title": subject.name,
            **({"description": subject.doc} if subject.doc else {}),
            "messages": {name: {"$ref": f"#/components/messages/{within}{name}"} for name in self.payloads(subject.message)},
            **({"parameters": parameters} if parameters else {}),
            "bindings": _BINDINGS,
            FACTS: {**facts, **usage.flags(self._model, subject)},
        }

    def _parameter(self, subject: Subject, token: Token) -> Schema:
        text = token.doc or f"A value of the token `{token.name}`."
        made: Schema = {"description": text, "examples": [samples.token(token)]}
        if token.values:
            made["enum"] = list(token.values)
        if token.name in subject.readable:
            made["location"] = f"$message.payload#/{token.name}"
        return {**made, FACTS: {"schema": token_schema(token)}}

    def operations(self, subjects: tuple[Subject, ...]) -> Iterator[tuple[str, Schema]]:
        """Sending to each subject, and what each consumer receives."""
        known = {subject.name for subject in subjects}
        every, routes = usage.publishers(self._model), usage.routes(self._model)
        for subject in subjects:
            publishers = every.get(subject.name, ())
            facts = {FACTS: {"consumers": list(publishers)}} if publishers else {}
            made = {**self._operation("send", subject), **facts}
            if subject.reply is not None:
                made["reply"] = self._reply(subject, subject.reply)
            yield f"send.{subject.name}", made
        for name, decl in self._model.spec.consumers.items():
            if not self._model.spec.is_own(("consumers", name)) or ("consumers", name) in self._model.spec.derived:
                continue
            for subject in routes[name]:
                if subject.name in known:
                    made = self._operation("receive", subject)
                    text = {"description": decl.doc} if decl.doc else {}
                    source = {FACTS: {"consumer": name, "stream": decl.stream}}
                    yield f"receive.{name}.{subject.name}", {**made, **text, **source}

    def _reply(self, subject: Subject, reply: str) -> Schema:
        where = f"#/channels/{subject.name}.reply"
        errors = {error.name: {"code": error.code, "doc": error.doc} for error in subject.errors}
        return {
            "channel": {"$ref": where},
            "messages": [{"$ref": f"{where}/messages/{name}"} for name in self.payloads(reply)],
            **({FACTS: {"errors": errors}} if errors else {}),
        }

    def _operation(self, action: str, subject: Subject) -> Schema:
        where = f"#/channels/{subject.name}"
        return {
            "action": action,
            "channel": {"$ref": where},
            "messages": [{"$ref": f"{where}/messages/{name}"} for name in self.payloads(subject.message)],
            "bindings": _BINDINGS,
        }


def _topology(model: Model) -> Schema:
    """The spec's own declarations that AsyncAPI has no word for, with their docs, as written."""
    spec = model.spec
    found: Schema = {}
    for section in usage.SECTIONS:
        decls: Mapping[str, Strict] = getattr(spec, section)
        own = {name: _declared(decls[name]) for name in usage.declared(spec, section)}
        if own:
            found[section] = own
    return found


def _declared(decl: Any) -> Any:
    """A declaration as plain data: what differs from its default."""
    if isinstance(decl, dict):
        return {key: _declared(value) for key, value in decl.items()}
    if isinstance(decl, tuple):
        return [_declared(value) for value in decl]
    if not isinstance(decl, Strict):
        return decl
    found = {}
    for field in fields_of(type(decl)):
        value = getattr(decl, field.name)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if value != default:
            found[field.encode_name] = _declared(value)
    return found
