"""OpenTelemetry for a bus: a trace of each message through all programs, and metrics.

    from smith_sdk import AsyncSmithBus, otel

    bus = AsyncSmithBus()
    otel.instrument(bus)

Needs the extra `otel`, which is opentelemetry-api alone: what becomes of spans and metrics is for
the program's own OpenTelemetry SDK. Without one, nothing is recorded, and the context of received
messages is passed on.
"""

# This room alone knows OpenTelemetry, and nothing of it is imported before the first call. It is
# told what happens by `_core.events`; names of spans, attributes and metrics are in `_names`.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..contract import Received
from ..errors import OptionsError, TelemetryNotInstalled

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from .._core.jetstream.session import Session

__all__ = ["context_of", "instrument", "uninstrument"]

_MISSING: Final = "telemetry needs opentelemetry-api: pip install 'smith-sdk[otel]'"


def instrument(bus: Any, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None) -> None:
    """Report what `bus`, of either face, does to OpenTelemetry, from now on.

    That holds for everything on it: publishes, readers, workers, admission, replays. The context of
    the current span is sent with each message, and a handler runs in that of its message.

    `tracer_provider`, `meter_provider`: where to; None for the global ones, which may be set later.
    Does no I/O, and may be called before the bus is connected. On a bus that is instrumented it
    does nothing: `uninstrument` it first to change the providers.

    Raises `TelemetryNotInstalled` without the extra `otel`, and `OptionsError` for other objects.
    """
    session, portal = _parts_of(bus)
    try:
        from ._tracer import start
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    start(session, tracer_provider, meter_provider)
    if portal is not None:
        portal.keeps_context = True


def uninstrument(bus: Any) -> None:
    """Report no more of what `bus` does. Safe to repeat. Operations in flight are reported."""
    session, portal = _parts_of(bus)
    try:
        from ._tracer import stop
    except ModuleNotFoundError:
        return  # nothing was instrumented
    stop(session)
    if portal is not None:
        portal.keeps_context = False


def context_of(message: Received[Any, Any]) -> Context:
    """The OpenTelemetry context that `message` was sent in: of its publisher.

    For spans of a program that reads messages itself, and for links. A worker's handler runs in a
    span of its message already. Without a context in the message, or with an invalid one, it is the
    current context without a span.

    Raises `TelemetryNotInstalled` without the extra `otel`.
    """
    try:
        from ._context import extract
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    return extract(message.headers)


def _parts_of(bus: Any) -> tuple[Session, Any]:
    """The session of `bus`, and the portal of a blocking one."""
    session: Session | None = getattr(getattr(bus, "_aio", bus), "_session", None)
    if session is None or not hasattr(session, "events"):
        raise OptionsError(f"instrument({bus!r}): an AsyncSmithBus or a SmithBus is needed")
    return session, getattr(bus, "_portal", None)


def _not_installed(error: ModuleNotFoundError) -> Exception:
    if (error.name or "").partition(".")[0] == "opentelemetry":
        return TelemetryNotInstalled(_MISSING)
    return error
