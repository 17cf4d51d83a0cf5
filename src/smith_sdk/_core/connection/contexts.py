"""Contexts of the nats command: files with where to connect, and as whom.

They are in `~/.config/nats`, or `$XDG_CONFIG_HOME/nats`: `context/NAME.json`, and `context.txt`
with the name of the selected one. No error and no repr shows a value of a context.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ...errors import OptionsError

SUPPORTED: Final = (
    *("url", "user", "password", "token", "creds", "nkey", "ca", "cert", "key"),
    *("inbox_prefix", "jetstream_domain", "jetstream_api_prefix"),
)
UNSUPPORTED: Final = ("socks_proxy", "nsc", "user_jwt", "user_seed")
"""Keys that change the destination or the way there, so none may be ignored in silence."""
_TLS_FIRST: Final = "tls_first"
_HARMLESS: Final = ("name", "description", "color_scheme", "jetstream_event_prefix")


@dataclass(frozen=True, slots=True)
class Context:
    """A context: its settings that are not empty, and its keys that are not supported or unknown.

    Without a name it is no context, and empty.
    """

    name: str = ""
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls_first: bool = False
    unsupported: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    file: str = ""


def read_context(name: str) -> Context:
    """The context `name`. Raises `OptionsError`, which names the file and the key."""
    file = context_file(name)
    found = _read_object(name, file)
    not_text = [key for key in SUPPORTED if not isinstance(found.get(key, ""), str | None)]
    if not_text:
        raise OptionsError(f"context={name!r}: {', '.join(not_text)} in {file} is not a string")
    tls_first = found.get(_TLS_FIRST) or False
    if not isinstance(tls_first, bool):
        raise OptionsError(f"context={name!r}: {_TLS_FIRST} in {file} is not true or false")
    settings = {key: found[key] for key in SUPPORTED if found.get(key)}
    unsupported = tuple(key for key in UNSUPPORTED if found.get(key))
    unknown = tuple(
        key for key, value in found.items() if value and key not in (*SUPPORTED, _TLS_FIRST, *UNSUPPORTED, *_HARMLESS)
    )
    return Context(name, settings, tls_first, unsupported, unknown, str(file))


def _read_object(name: str, file: Path) -> dict[str, Any]:
    """What `file`, that of the context `name`, contains. Raises `OptionsError`."""
    try:
        found: Any = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise OptionsError(f"context={name!r}: there is no {file}; `nats context ls` lists the contexts") from None
    except OSError as error:
        raise OptionsError(f"context={name!r}: {file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise OptionsError(f"context={name!r}: {file} cannot be read: it is not JSON") from None
    if not isinstance(found, dict):
        raise OptionsError(f"context={name!r}: {file} does not contain a JSON object")
    return found


def context_file(name: str) -> Path:
    """Where the context `name` is kept. Raises `OptionsError` if it is not a valid name."""
    return _directory() / "context" / f"{_valid(name)}.json"


def selected_context() -> str | None:
    """The name of the selected context; None if none is. Raises `OptionsError`."""
    file = _directory() / "context.txt"
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise OptionsError(f"{file}, which names the selected context, cannot be read: {why}") from None


def _valid(name: str) -> str:
    if not name or "/" in name or "\\" in name or ".." in name or "\0" in name:
        raise OptionsError(f"context={name!r}: expected the name of a context, as `nats context ls` lists it")
    return name


def _directory() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "nats")
