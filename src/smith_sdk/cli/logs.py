"""How `smith worker` logs: to stderr, as text or as JSON lines, or as a file of `logging` says.

A module that configures logging itself is left alone: its handlers and formats stay.
"""

from __future__ import annotations

import configparser
import json
import logging
import logging.config
import sys
import threading
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from .._core.foreign_text import without_secrets
from .._core.log_records import extra_fields, sdk_logger
from .._core.log_values import TextFormatter, raw_json
from ..errors import OptionsError
from .output import plain, printable_json

log: Final = sdk_logger("cli")

Level = Literal["debug", "info", "warning", "error", "critical"]
Format = Literal["text", "json"]

_OURS: Final = ("timestamp", "level", "logger", "message", "pid", "exception", "stack")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: what every record has, then the fields that it was given."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, Any] = {
            "timestamp": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        for name, value in extra_fields(record).items():
            fields[f"{name}_" if name in _OURS else name] = value
        if exception := self._exception(record):
            fields["exception"] = exception
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return without_secrets(_encoded({name: raw_json(value) for name, value in fields.items()}))

    def _exception(self, record: logging.LogRecord) -> str:
        if record.exc_text:
            return record.exc_text
        return self.formatException(record.exc_info) if record.exc_info else ""


def _encoded(fields: dict[str, msgspec.Raw]) -> str:
    return printable_json(msgspec.json.encode(fields).decode())


# ---- configuring


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """The options of the command line about logging. Picklable, for the processes of handlers."""

    level: Level | None = None
    format: Format | None = None
    config: Path | None = None

    def __post_init__(self) -> None:
        if self.config is not None and self.format is not None:
            raise OptionsError("--log-format and --log-config exclude each other: the file says how records are written")

    @property
    def arguments(self) -> list[str]:
        """The same options for another process."""
        given = {"--log-level": self.level, "--log-format": self.format, "--log-config": self.config}
        return [text for name, value in given.items() if value is not None for text in (name, str(value))]

    def before_import(self) -> None:
        """Configure what does not depend on the user's module. Raises `OptionsError`."""
        if self.config is not None:
            _configure_from(self.config)

    def after_import(self) -> None:
        """Configure the rest, unless the module has done so. Safe to repeat."""
        root = logging.getLogger()
        if self.config is None and not root.handlers:
            self._configure()
        elif self.format is not None and not _is_ours(root):
            log.warning("the module has configured logging itself, so --log-format %s is not used", self.format)
        if self.level is not None:
            root.setLevel(self.level.upper())

    def _configure(self) -> None:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter() if self.format == "json" else TextFormatter())
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        if self.format == "json":  # whatever reaches stderr otherwise would not be JSON
            logging.captureWarnings(True)
            sys.excepthook = _log_uncaught
            threading.excepthook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _is_ours(root: logging.Logger) -> bool:
    return any(isinstance(one.formatter, (TextFormatter, JsonFormatter)) for one in root.handlers)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
    if not issubclass(kind, SystemExit):
        log.critical("%s is not caught", kind.__name__, exc_info=(kind, error or kind(), trace))


def report(text: str) -> None:
    """Report an error of the command: as the line that every command prints, or in the JSON log."""
    if any(isinstance(one.formatter, JsonFormatter) for one in logging.getLogger().handlers):
        log.error("%s", text)
    else:
        print(f"smith: {plain(without_secrets(text))}", file=sys.stderr, flush=True)


def _configure_from(file: Path) -> None:
    try:
        match file.suffix:
            case ".json":
                _configure_dict(json.loads(file.read_text()))
            case ".toml":
                _configure_dict(tomllib.loads(file.read_text()))
            case ".ini" | ".cfg" | ".conf":
                parser = configparser.RawConfigParser()
                parser.read_string(file.read_text())
                logging.config.fileConfig(parser, disable_existing_loggers=False)
            case _:
                raise OptionsError(f"--log-config {file}: a .json or .toml file of logging.config.dictConfig, or an .ini file")
    except OptionsError:
        raise
    except OSError as error:
        raise OptionsError(f"--log-config {file} cannot be read: {error.strerror}") from None
    except Exception as error:  # of any class that the file names
        reason = f"{error}: {error.__cause__}" if error.__cause__ else f"{error}"
        raise OptionsError(f"--log-config {file} is not valid: {reason}") from None


def _configure_dict(config: Any) -> None:
    if not isinstance(config, dict):
        raise ValueError("an object with the keys of logging.config.dictConfig is needed")
    # Otherwise the loggers that exist already, which are those of the SDK, would be silent.
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, **config})
