"""INFO, the server's greeting: what it may contain. No I/O."""

from __future__ import annotations

from typing import Any, Final

_TEXT: Final = ("server_id", "server_name", "version", "cluster", "remote_account", "nonce", "client_ip", "host")
_FLAGS: Final = ("headers", "auth_required", "tls_required", "tls_available", "tls_verify", "ldm", "jetstream")
_LARGEST_PAYLOAD: Final = 2**63 - 1


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
