"""The file in which a monitor keeps what is raised, for the process that comes after it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import msgspec

from ...errors import OptionsError
from ..log_records import LogFields, sdk_logger
from .alerts import Alert

log: Final = sdk_logger("alerts")


class _Kept(msgspec.Struct, frozen=True):
    raised: tuple[Alert, ...]


class AlertStore:
    """Reads and replaces the file at `path`. What fails is logged: alerts matter more than it.

    Raises `OptionsError` for a path that cannot be one.
    """

    def __init__(self, path: Any) -> None:
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise OptionsError(f"AlertMonitor.state_file={path!r}: must be a path")
        self._path = Path(path).expanduser()
        if not self._path.parent.is_dir():
            raise OptionsError(f"AlertMonitor.state_file={os.fspath(path)!r}: there is no directory {self._path.parent}")
        self._written: tuple[Alert, ...] | None = None
        self._fails = False

    def read(self) -> tuple[Alert, ...]:
        """What was raised; nothing if there is no file."""
        try:
            self._written = msgspec.json.decode(self._path.read_bytes(), type=_Kept).raised
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError) as error:
            self._report("%s cannot be read, so what holds is raised again: %s", error)
            return ()
        return self._written

    def write(self, raised: tuple[Alert, ...]) -> None:
        """Keep `raised`, unless that is what the file has."""
        if raised == self._written:
            return
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            new.write_bytes(msgspec.json.encode(_Kept(raised)))
            new.replace(self._path)  # never half of it
        except OSError as error:
            if not self._fails:
                self._report("%s cannot be written, so a new process raises what holds again: %s", error)
            self._fails = True
        else:
            self._written, self._fails = raised, False

    def _report(self, text: str, error: Exception) -> None:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        log.error(text, self._path, why, extra=LogFields(error_type=type(error).__name__))
