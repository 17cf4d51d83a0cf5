"""A handler for Python's `logging` that sends records over the bus, as `LogEntry` messages.

`SmithLogHandler(bus, service="reader")` works with a bus of either face. Where entries go:

| subject | records |
|---|---|
| `smith.logs.security.{service}.{event}` | with `extra={"security_event": "login_failed"}` |
| `smith.logs.performance.{service}` | with `extra={"performance_category": "latency"}` |
| `smith.logs.errors.{service}` | others at level ERROR and above |
| `smith.logs.{service}.{level}` | the rest, with the level in lower case: `trace` to `warn` |
"""

from __future__ import annotations

import logging
import re
import secrets
import socket
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from math import inf
from typing import Any, Final

import msgspec

from . import subjects
from ._core import codec
from ._core.blocking.faces import Blocking
from ._core.foreign_text import bounded, without_secrets
from ._core.log_records import CORRELATION, extra_fields, traceback_text
from ._core.log_sender import Line, LogSender, sending
from ._core.log_values import TextFormatter, raw_json, text_of
from .aio import AsyncSmithBus
from .aio.consumer import session_of
from .contract import is_token
from .errors import OptionsError
from .options import positive_int, to_seconds
from .protocol import EventType, Level, LogEntry, LogMetadata, LogService, Service
from .sync import SmithBus

__all__ = ["SmithLogHandler", "correlation_id"]

correlation_id: Final[ContextVar[str]] = CORRELATION
"""The `correlation_id` of entries whose record has no `intent_id`: set it where a request begins.

A worker sets it to the id of the intent that a handler runs for."""

_LEVELS: Final[tuple[tuple[int, Level], ...]] = (
    (logging.ERROR, "error"),
    (logging.WARNING, "warn"),
    (logging.INFO, "info"),
    (logging.DEBUG, "debug"),
)
_NAMED: Final = frozenset(("DEBUG", "INFO", "WARNING", "ERROR"))
_SECURITY: Final = "security_event"
_PERFORMANCE: Final = "performance_category"
_OWN: Final = "smith.logs."  # smith: raw-subject
_MAX_MESSAGE: Final = 8192
"""Characters."""
_MAX_FIELDS: Final = 64
_MAX_FIELD: Final = 8192
"""Bytes of a field, as JSON."""
_MAX_BRACKETS: Final = 100
"""Of a field: readers of an entry refuse more than 127 levels."""
_MAX_ENTRY: Final = 128 * 1024
"""Bytes of an entry with all its fields; beyond, they are left out."""
_MAX_TOKEN: Final = 256
_NOT_IN_TOKENS: Final = re.compile(r"[^A-Za-z0-9_-]")
_TEXT: Final = TextFormatter()
_NODE: Final = f"{socket.gethostname()}_{secrets.token_hex(4)}"


class SmithLogHandler(logging.Handler):
    """Sends log records to `smith.logs.*`, from any thread, and never blocks the one that logs.

    `service` is the name that the entries have. `level` is the least level, as of any handler, and
    `targets` the least levels by the beginning of a logger's name: `{"smith_sdk": "WARNING"}`.

    Records wait, at most `capacity` of them or 16 MiB, and are sent in batches, at most
    `per_second` of them; others are dropped. How many is an entry of its own. While the bus has no
    connection they are written to stderr instead, unless `to_stderr` is False. `flush` and `close`,
    which Python calls when it ends, take `timeout` seconds (or a timedelta) at most. Close the bus
    after the last record that matters: it sends what waits.

    A record's `extra` fields become the `fields` of the entry, with the traceback of an exception
    as `exception`. What is not JSON becomes text, and credentials in URLs become `***`.

    Raises `OptionsError` if an option is invalid.
    """

    def __init__(
        self,
        bus: SmithBus[Any] | AsyncSmithBus[Any],
        service: str,
        *,
        level: int | str = logging.NOTSET,
        targets: Mapping[str, int | str] | None = None,
        per_second: float = 1000.0,
        capacity: int = 10_000,
        to_stderr: bool = True,
        timeout: float | timedelta = 2.0,
    ) -> None:
        super().__init__(_level("level", level))
        if not is_token(service) or service in ("errors", "performance", "security"):
            raise OptionsError(
                f"SmithLogHandler.service={service!r}: a name is needed that can be a token of a subject, such as 'reader', "
                f"and is none of errors, performance and security"
            )
        self._service = Service(service)
        self._targets = {name: _level(f"targets[{name!r}]", least) for name, least in (targets or {}).items()}
        self._least = cache(self._least_of)
        self._timeout = to_seconds("SmithLogHandler.timeout", timeout)
        self._sender = LogSender(
            session_of(bus._aio if isinstance(bus, Blocking) else bus),
            f"log handler of {service}",
            self._report,
            per_second=_rate(per_second),
            capacity=positive_int("SmithLogHandler.capacity", capacity),
            to_stderr=to_stderr,
        )

    @property
    def dropped(self) -> int:
        """Records that were dropped so far: there were too many."""
        return self._sender.dropped

    # ---- what `logging` calls

    def handle(self, record: logging.LogRecord) -> bool:
        """Send `record` if the filters let it through. See `logging.Handler.handle`.

        Without the handler's lock: the event loop may log while another thread flushes.
        """
        found: Any = self.filter(record)
        if isinstance(found, logging.LogRecord):  # since Python 3.12
            record = found
        if found:
            self.emit(record)
        return bool(found)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue `record`, or write it to stderr while the bus has no connection."""
        if record.levelno < self._least(record.name) or _is_ours(record):
            return
        with sending() as is_first:
            if is_first and self._sender.admit():
                try:
                    self._sender.put(self._line(record))
                except Exception:
                    self.handleError(record)

    def flush(self) -> None:
        """Send what waits, within `timeout` seconds; inside the event loop this is only begun."""
        self._sender.flush(self._timeout)

    def close(self) -> None:
        """Send what waits, or write it to stderr, and end. The bus stays open."""
        self._sender.close(self._timeout)
        super().close()

    # ---- entries

    def _least_of(self, name: str) -> int:
        """The least level for the logger of that name."""
        while name not in self._targets:
            name, dot, _ = name.rpartition(".")
            if not dot:
                return self._targets.get(name, logging.NOTSET)
        return self._targets[name]

    def _line(self, record: logging.LogRecord) -> Line:
        fields = extra_fields(record)
        message = _bounded(text_of(record.getMessage()), _MAX_MESSAGE)
        category = fields.pop(_PERFORMANCE, None)
        event = fields.pop(_SECURITY, None)
        correlation = text_of(fields.get("intent_id") or fields.pop("correlation_id", None) or correlation_id.get())
        shown = {name: _field(value) for name, value in list(fields.items())[:_MAX_FIELDS]}
        if record.levelname not in _NAMED:
            shown["level_name"] = raw_json(record.levelname)
        if record.exc_info or record.exc_text:
            shown["exception"] = raw_json(traceback_text(record))
        if record.stack_info:
            shown["stack"] = raw_json(_bounded(record.stack_info, _MAX_FIELD))
        level = _level_of(record.levelno)
        metadata = LogMetadata(
            file=text_of(record.pathname) or None,
            line=record.lineno if 0 <= (record.lineno or 0) < 2**32 else None,
            module_path=text_of(record.module) or None,
            thread_id=text_of(record.threadName),
            performance_category=None if category is None else _field(category),
        )
        entry = LogEntry.new(
            timestamp=_time(record.created),
            level=level,
            service=self._service,
            target=text_of(record.name),
            message=message,
            fields=shown,
            correlation_id=correlation,
            node_id=_NODE,
            metadata=metadata,
        )
        return Line(_subject_of(self._service, level, category, event), _encoded(entry), partial(_TEXT.format, record))

    def _report(self, count: int) -> Line:
        text = f"{count:,} log records were dropped: there were too many at once"
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, (), None)
        vars(record)["dropped"] = count
        return self._line(record)


def _level_of(number: int) -> Level:
    for least, name in _LEVELS:
        if number >= least:
            return name
    return "trace"


def _subject_of(service: Service, level: Level, category: object, event: object) -> str:
    if event is not None:
        return str(subjects.logs.security(service=service, event_type=EventType(_token(text_of(event)))))
    if category is not None:
        return str(subjects.logs.performance(service=service))
    if level == "error":
        return str(subjects.logs.errors(service=service))
    return str(subjects.logs.service(log_service=LogService(service), level=level))


def _token(text: str) -> str:
    return text if is_token(text) else _NOT_IN_TOKENS.sub("_", text)[:_MAX_TOKEN] or "_"


def _field(value: object) -> msgspec.Raw:
    raw = raw_json(value)
    data = bytes(raw)
    if len(data) <= _MAX_FIELD and data.count(b"[") + data.count(b"{") <= _MAX_BRACKETS:
        return raw
    return raw_json(_bounded(text_of(value), _MAX_FIELD // 2))


def _bounded(text: str, most: int) -> str:
    """At most so many characters of `text`. What is cut off may be the end of a password, and what
    is left of that would not be known as one."""
    return bounded(without_secrets(text), most)


def _encoded(entry: LogEntry) -> bytes:
    data = codec.encode(entry)
    if len(data) > _MAX_ENTRY:
        fields = {"omitted": f"{len(entry.fields)} fields, since the entry has {len(data):,} bytes with them"}
        data = codec.encode(msgspec.structs.replace(entry, fields=fields))
    return without_secrets(data.decode()).encode() if b"://" in data else data


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether it is about an entry: that one could not be sent, say, would lead to the next."""
    return record.name.startswith("smith_sdk.") and str(vars(record).get("subject", "")).startswith(_OWN)


def _level(name: str, level: int | str) -> int:
    found = logging.getLevelNamesMapping().get(level.upper()) if isinstance(level, str) else level
    if isinstance(found, bool) or not isinstance(found, int):
        raise OptionsError(f"SmithLogHandler.{name}={level!r}: a level of logging is needed, such as logging.INFO or 'INFO'")
    return found


def _rate(per_second: float) -> float:
    if isinstance(per_second, bool) or not isinstance(per_second, (int, float)) or not 0 < per_second < inf:
        raise OptionsError(f"SmithLogHandler.per_second={per_second!r}: must be a finite number above 0")
    return float(per_second)
