"""Checks of subjects with a reply: what may be answered, and with which errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .errors import SpecError
from .locate import Path as Key
from .name_checks import suggest
from .spec import Spec, SubjectDecl

_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_CODE: Final = re.compile(r"[!-~]{1,64}")
_MEMBERS: Final = ("ERRORS", "HEADERS", "NAME", "ORIGIN", "PATTERN", "STREAM")
"""Attributes of subject classes."""
_OURS: Final = ("400", "500", "503", "504")
"""Codes that services of the SDK answer with by themselves."""


def check(spec: Spec) -> Iterator[SpecError]:
    """All checks of `reply` and `errors`."""
    for name, decl in spec.subjects.items():
        if decl.reply is None:
            if decl.errors:
                yield spec.error(("subjects", name, "errors"), "is for subjects with a reply", 'add reply = "..."')
            continue
        yield from _reply(spec, ("subjects", name, "reply"), decl, decl.reply)
        yield from _errors(spec, ("subjects", name, "errors"), decl)


def _reply(spec: Spec, key: Key, decl: SubjectDecl, reply: str) -> Iterator[SpecError]:
    if decl.stream is not None:
        problem = f"is for subjects without a stream: the acknowledgement of {decl.stream} would be the first reply"
        yield spec.error(key, problem, "remove the stream, or the reply")
    message = spec.messages.get(reply)
    if message is None and reply != "bytes" and reply not in spec.unions:
        yield spec.error(
            key, f"unknown message {reply!r}", suggest(reply, spec.messages, "declare it in [messages], or write bytes")
        )
    elif message is not None and message.by is not None:
        yield spec.error(key, f"{reply} is a family, of which no token of a reply selects a payload", "write one message")


def _errors(spec: Spec, key: Key, decl: SubjectDecl) -> Iterator[SpecError]:
    codes: dict[str, str] = {}
    for name, error in decl.errors.items():
        if not _NAME.fullmatch(name):
            yield spec.error((*key, name), f"{name!r} is not a valid name of an error", "write it like NOT_FOUND")
        elif name in _MEMBERS:
            yield spec.error((*key, name), f"{name} is reserved for generated code", "choose another")
        code = name if error.code is None else error.code
        if not _CODE.fullmatch(code):
            yield spec.error((*key, name, "code"), f"{code!r} is not a valid code", "use 1 to 64 printable characters, no spaces")
        elif code in _OURS:
            yield spec.error((*key, name, "code"), f"services answer with {code} by themselves", "choose another code")
        elif code in codes:
            yield spec.error((*key, name), f"has the code {code}, as {codes[code]} does", "give it another code")
        codes.setdefault(code, name)
