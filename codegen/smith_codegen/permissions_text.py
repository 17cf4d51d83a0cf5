"""Permissions as nats-server and nsc read them, and as JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import Any, Final

import msgspec

RESPONSE_TTL: Final = "2s"
"""How long a reply may be sent. The server keeps each reply subject of what it delivers that long,
also those of JetStream messages, so this is short."""


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user of `role` may publish and subscribe to, as subjects with wildcards.

    Its program connects with `inbox_prefix`: `SmithBus(..., inbox_prefix=...)`.
    """

    role: str
    name: str
    """A name for the user: the role, of a worker its consumer."""
    inbox_prefix: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    may_reply: bool = False
    """Whether it may also send one message to the reply subject of each that it receives."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user of a server's configuration. Without `permissions` it may do everything."""

    name: str = ""
    password: str = ""
    nkey: str = ""
    """The public key of a user that signs in with an NKey; then there is no name."""
    permissions: Permissions | None = None


# ---- as text


def as_conf(permissions: Permissions, indent: str = "") -> str:
    """The `permissions` of a user in a configuration of nats-server, with a line at its end."""
    lines = ["permissions: {"]
    for verb in ("publish", "subscribe"):
        lines += [f"  {verb}: {{ allow: [", *(f"    {_quoted(one)}" for one in getattr(permissions, verb)), "  ] }"]
    if permissions.may_reply:
        lines.append(f'  allow_responses: {{ max: 1, expires: "{RESPONSE_TTL}" }}')
    return "".join(f"{indent}{line}\n" for line in (*lines, "}"))


def as_nsc(permissions: Permissions, user: str = "") -> str:
    """The command of `nsc` that makes such a user, for a shell."""
    words = ["nsc", "add", "user", "--name", user or permissions.name]
    options: list[tuple[str, ...]] = [("--allow-pub", one) for one in permissions.publish]
    options += [("--allow-sub", one) for one in permissions.subscribe]
    if permissions.may_reply:
        options += [("--allow-pub-response=1",), ("--response-ttl", RESPONSE_TTL)]
    return " \\\n  ".join([shlex.join(words), *(shlex.join(option) for option in options)]) + "\n"


def as_json(permissions: Permissions) -> str:
    """The same as JSON: role, inbox_prefix, and the permissions as nats-server has them."""
    allowed: dict[str, Any] = {verb: {"allow": list(getattr(permissions, verb))} for verb in ("publish", "subscribe")}
    if permissions.may_reply:
        allowed["allow_responses"] = {"max": 1, "expires": RESPONSE_TTL}
    content = {"role": permissions.role, "inbox_prefix": permissions.inbox_prefix, "permissions": allowed}
    return json.dumps(content, indent=2) + "\n"


def authorization(users: Iterable[User]) -> str:
    """The `authorization` block of a server's configuration for `users`, each with its
    permissions."""
    lines = ["authorization {", "  users: ["]
    for user in users:
        who = {"nkey": user.nkey} if user.nkey else {"user": user.name, "password": user.password}
        lines.append("    { " + ", ".join(f"{key}: {_quoted(value)}" for key, value in who.items()))
        if user.permissions is not None:
            lines.append(as_conf(user.permissions, "      ").rstrip("\n"))
        lines.append("    }")
    return "\n".join([*lines, "  ]", "}", ""])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # nats-server does not know \u
