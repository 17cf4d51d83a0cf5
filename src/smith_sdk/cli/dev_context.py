"""The context of the nats command that `smith dev` writes, so that no URL has to be copied.

It holds the password of the server, so its owner alone may read it. It is removed when the server
ends, and a context that `smith dev` has not written is never overwritten.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from .output import warn

NAME: Final = "smith-dev"
_MARK: Final = "smith dev, process "
"""How a description begins that this module wrote; the number of a process follows."""


@contextlib.contextmanager
def dev_context(name: str, url: str) -> Iterator[Path | None]:
    """The file of context `name` for `url`, for the block; None, with a warning, if it cannot be
    written. Raises `OptionsError` if `name` is not a valid name."""
    from .._core.connection.contexts import context_file

    file = context_file(name)
    written = _written(file, url)
    try:
        yield file if written else None
    finally:
        if written and _owner(file) == os.getpid():
            with contextlib.suppress(OSError):
                file.unlink()


def _written(file: Path, url: str) -> bool:
    if file.is_symlink() or file.exists():
        owner = _owner(file)
        if owner is None:
            warn(f"{file} was not written by `smith dev`, so it is left as it is; --context NAME chooses another name")
            return False
        if owner != os.getpid() and _is_alive(owner):
            warn(
                f"{file} is of another `smith dev`, process {owner}, so it is left as it is; --context NAME chooses another name"
            )
            return False
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.hostname}:{parts.port}"
    facts = {"description": f"{_MARK}{os.getpid()}", "url": place, "user": parts.username, "password": parts.password}
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as out:
            json.dump(facts, out, indent=2)
        os.replace(beside, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        warn(f"the context {file} cannot be written: {error.strerror}")
        return False
    return True


def _owner(file: Path) -> int | None:
    """The process whose `smith dev` wrote the file; None if none did."""
    try:
        facts: Any = json.loads(file.read_bytes())
        mark, _, number = str(facts["description"]).rpartition(" ")
        return int(number) if f"{mark} " == _MARK else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
