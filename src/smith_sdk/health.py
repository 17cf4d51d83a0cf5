"""Probes over HTTP, for Kubernetes, load balancers and Prometheus; and health as values.

    from smith_sdk import health

    with health.serve(bus, port=8080):
        worker.run()

Both faces use this module. `bus.health()` returns a `HealthReport`.
"""

from __future__ import annotations

import atexit
import importlib.util
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from ._core.blocking.faces import Blocking
from ._core.log_records import LogFields, sdk_logger
from ._core.monitoring.health import Check, HealthReport
from ._core.monitoring.metrics import Counts
from ._core.probes.server import HttpServer
from .aio import AlertMonitor as AsyncAlertMonitor
from .aio import AsyncSmithBus
from .aio import LagMonitor as AsyncLagMonitor
from .aio.probes import Probes
from .errors import OptionsError
from .sync import AlertMonitor, LagMonitor, SmithBus

__all__ = ["Check", "HealthReport", "HealthServer", "serve"]

log: Final = sdk_logger("probes")

AnyBus = AsyncSmithBus[Any] | SmithBus[Any]
AnyMonitor = AsyncLagMonitor | LagMonitor | AsyncAlertMonitor | AlertMonitor

_HIGHEST: Final = 65535


class HealthServer:
    """The server that `serve` has started. Use it in a `with` block, or call `close()`.

    It also ends when the last of its buses is closed, and with the process.
    """

    def __init__(self, server: HttpServer, host: str, buses: Sequence[AsyncSmithBus[Any]], counts: Counts | None) -> None:
        self._server = server
        self._host = host
        self._counts = counts
        self._lock = threading.Lock()
        self._open = list(buses)
        for bus in buses:
            bus._at_close.append(self._bus_closed)
            if counts is not None:
                bus._session.events.add(counts)
        atexit.register(self.close)
        log.info("probes are served at %s", self.url, extra=LogFields(server=self.url))

    @property
    def port(self) -> int:
        """The port it listens on: the one that was picked for 0."""
        return self._server.port

    @property
    def url(self) -> str:
        """Such as "http://127.0.0.1:8080"; "/livez" and the other paths follow."""
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}"

    def close(self) -> None:
        """Close the port and every connection. Safe to repeat, in any thread.

        In a forked child it does nothing: the server is its parent's.
        """
        self._server.close()
        atexit.unregister(self.close)
        with self._lock:
            left, self._open = self._open, []
        for bus in left:
            bus._at_close.remove(self._bus_closed)
            if self._counts is not None:
                bus._session.events.remove(self._counts)

    def _bus_closed(self) -> None:
        # One that is closed may be connected again, as long as another one keeps the server.
        if not any(one._session.is_open for one in self._open):
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<HealthServer at {self.url}>"


def serve(
    bus: AnyBus | Sequence[AnyBus], port: int = 8080, host: str = "127.0.0.1", monitor: AnyMonitor | None = None
) -> HealthServer:
    """Answer probes over HTTP, from a thread of their own, until the server or the bus is closed.

    - `/livez`: 200; or 503 if an event loop has been blocked for 3 seconds, has ended, or the bus
      was closed by refused credentials: only a new start of the process helps.
    - `/readyz`: 200; or 503 without a connection, while a worker starts or drains, and if a
      consumer that a worker reads does not exist.
    - `/healthz`: the report of `bus.health()` as JSON, with 200; or 503 if it is "failing".
    - `/metrics`: the metrics for Prometheus; 501 without the extra `metrics`.

    - `bus`: of either face, or several of them: live and ready are then all of them together. It
      need not be connected yet. A bus without workers is ready while it is connected.
    - `port`: 0 picks one that is free: see `HealthServer.port`.
    - `host`: the address to listen on; "0.0.0.0" for every one of IPv4, "::" for every one of both.

    - `monitor`: a `LagMonitor` or an `AlertMonitor`, which the caller runs. /metrics then also has
      the lag of all consumers, how full the streams are, and the alerts: for one process of those
      that work on a bus, such as `smith monitor`.

    Only GET and HEAD are answered, to anyone who can reach the port: nothing secret is shown. Use
    an address that only the platform reaches. A report is used again for one second, so that many
    requests cost the bus no more than a few. Raises `OptionsError` for invalid options, and for an
    address that is in use or that this machine does not have.
    """
    return serve_all([bus] if isinstance(bus, (AsyncSmithBus, Blocking)) else bus, port, host, monitor=monitor)


def serve_all(
    buses: Iterable[Any],
    port: int,
    host: str,
    *,
    expected: Mapping[Any, int] | None = None,
    monitor: AnyMonitor | None = None,
) -> HealthServer:
    """`serve`, with how many workers each async bus is to run, if that is known."""
    if not isinstance(buses, Iterable):
        raise _no_bus(buses)
    found = list({id(one): one for one in map(_async_bus, buses)}.values())
    if not found:
        raise OptionsError("serve(bus): pass a bus, or a list of at least one")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= _HIGHEST:
        raise OptionsError(f"port={port!r}: must be a number from 0 to {_HIGHEST}")
    if not isinstance(host, str) or not host:
        raise OptionsError(f'host={host!r}: must be an address to listen on, such as "127.0.0.1"')
    counts = Counts() if _has_prometheus() else None
    watching = monitor._aio if isinstance(monitor, Blocking) else monitor
    if not (watching is None or isinstance(watching, (AsyncLagMonitor, AsyncAlertMonitor))):
        raise OptionsError(f"serve(monitor): a LagMonitor or an AlertMonitor is needed, not {type(monitor).__name__}")
    probes = Probes(found, counts, expected or {}, watching)
    return HealthServer(HttpServer(host, port, probes.answer, probes.run), host, found, counts)


def _has_prometheus() -> bool:
    if importlib.util.find_spec("prometheus_client") is None:
        return False
    # Now, and not at the first request in another thread: a fork meanwhile would leave its child
    # with the lock of the import.
    importlib.import_module("._core.monitoring.exposition", __package__)
    return True


def _async_bus(bus: Any) -> AsyncSmithBus[Any]:
    found = bus._aio if isinstance(bus, Blocking) else bus
    if not isinstance(found, AsyncSmithBus):
        raise _no_bus(bus)
    return found


def _no_bus(found: object) -> OptionsError:
    return OptionsError(f"serve(bus): a SmithBus or an AsyncSmithBus is needed, not {type(found).__name__}")
