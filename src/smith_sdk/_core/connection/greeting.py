"""INFO, the server's greeting: what it may contain. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..foreign_text import one_line

_TEXT: Final = ("server_id", "server_name", "version", "cluster", "remote_account", "nonce", "client_ip", "host")
_FLAGS: Final = ("headers", "auth_required", "tls_required", "tls_available", "tls_verify", "ldm", "jetstream")
_LARGEST_PAYLOAD: Final = 2**63 - 1
_LONGEST: Final = 200
"""Characters of a name that the server gives itself."""


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The connected server as its greeting names it, fit to be shown; "" for what it leaves out."""

    name: str
    version: str
    id: str
    cluster: str
    """The name of its cluster; empty if it is a single server."""


def server_info(info: Mapping[str, Any]) -> ServerInfo:
    """The names in an INFO that `checked_info` has accepted."""
    keys = {"name": "server_name", "version": "version", "id": "server_id", "cluster": "cluster"}
    return ServerInfo(**{field: one_line(text, _LONGEST) if (text := info.get(key)) else "" for field, key in keys.items()})


def checked_info(info: Any) -> dict[str, Any]:
    """`info` if it is an INFO whose known fields have their types.

    Raises `ValueError` naming the field. What listens there may be anything, and no field of
    another type may fail later, where it is used. Other fields are ignored; null is no value.
    """
    if not isinstance(info, dict):
        raise ValueError("the INFO of the server is not a JSON object")
    found = {key: value for key, value in info.items() if value is not None}
    for kind, keys in ((str, _TEXT), (bool, _FLAGS)):
        for key in keys:
            if not isinstance(found.get(key, kind()), kind):
                raise ValueError(f"{key} in the INFO of the server is not a {kind.__name__}")
    urls = found.get("connect_urls", [])
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise ValueError("connect_urls in the INFO of the server is not a list of strings")
    limit = found.get("max_payload", 1)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= _LARGEST_PAYLOAD:
        raise ValueError("max_payload in the INFO of the server is not a number of bytes")
    return found
