"""Who is told of alerts: the log, health events, a webhook, a function."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec

from .._core.execution.thread_pool import run_in_thread
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.alerts import Alert
from .._core.monitoring.webhook import Secret, Webhook, secret_bytes, secret_in
from ..errors import OptionsError, SmithError
from ..options import Backoff, Duration, TLSFiles, to_seconds
from ..protocol import HealthEvent
from ..subjects import events
from .bus import AsyncSmithBus
from .consumer import session_of

log: Final = sdk_logger("alerts")

_LONGEST_CALL: Final = 30.0
_ATTEMPT: Final = 10.0
_KEEP: Final = 3600.0
_AGAIN: Final = Backoff(initial=1, max=60, multiplier=2, jitter=0.5)


class Sender:
    """Delivers one alert after another."""

    name: str
    """For logs, without credentials: "webhook https://hooks.example.com"."""
    timeout: float
    """Seconds that one attempt may take."""
    retry: Backoff | None = None
    """The pauses between attempts; None: there is one only."""
    keep: float = 0.0
    """Seconds after which an alert is given up."""

    async def send(self, alert: Alert) -> None:
        """One attempt. Raises whatever it fails with; `NotDelivered` says more."""
        raise NotImplementedError

    def restore(self, raised: Iterable[Alert]) -> None:
        """A former process has delivered these."""


class Notifier:
    """Where alerts are delivered to: made by `to_log` and the like."""

    __slots__ = ()

    def _sender(self, bus: AsyncSmithBus[Any], *, blocking: bool) -> Sender:
        raise NotImplementedError


Notify = Notifier | Callable[[Alert], Awaitable[object] | object]
"""A notifier, or a function that is called with each alert."""


def sender_of(given: Notify, bus: AsyncSmithBus[Any], *, blocking: bool) -> Sender:
    """Raises `OptionsError` for what is neither, and for what the bus cannot do."""
    if isinstance(given, Notifier):
        return given._sender(bus, blocking=blocking)
    try:
        inspect.signature(given).bind(None)
    except ValueError:  # a function in C that does not tell
        pass
    except TypeError:
        raise OptionsError(
            f"AlertMonitor.notify: {given!r}: must be to_log(), to_health(...), to_webhook(...), or a function that takes an Alert"
        ) from None
    if blocking and _is_async(given):
        raise OptionsError(
            f"AlertMonitor.notify: {given!r}: an async function needs the async face: smith_sdk.AlertMonitor; pass a plain one here"
        )
    return _Called(given)


# ---- a function


class _Called(Sender):
    timeout = _LONGEST_CALL

    def __init__(self, function: Callable[[Alert], Any]) -> None:
        self._function = function
        self._running: asyncio.Future[Any] | None = None
        """The call in a thread, which outlasts every limit."""
        self.name = f"function {getattr(function, '__qualname__', type(function).__name__)}"

    async def send(self, alert: Alert) -> None:
        if _is_async(self._function):
            await self._function(alert)
            return
        if self._running is not None:  # calls stay in order, and take one thread
            await asyncio.wait((self._running,))
        running = self._running = asyncio.ensure_future(run_in_thread(contextvars.copy_context().run, self._function, alert))
        running.add_done_callback(_retrieve)
        await asyncio.wait((running,))
        found = running.result()
        if inspect.isawaitable(found):
            await found


def _retrieve(call: asyncio.Future[Any]) -> None:
    """Take note of its error: nothing else may, once its time is over."""
    if not call.cancelled():
        call.exception()


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


# ---- the log


class _Log(Notifier):
    __slots__ = ()

    def _sender(self, bus: AsyncSmithBus[Any], *, blocking: bool) -> Sender:
        return _LogSender()


class _LogSender(Sender):
    name, timeout = "log", _ATTEMPT

    async def send(self, alert: Alert) -> None:
        is_worst = alert.state == "raised" and alert.severity == "critical"
        log.log(logging.ERROR if is_worst else logging.WARNING, "alert %s", alert.text, extra=LogFields(rule=alert.rule))


def to_log() -> Notifier:
    """The logger `smith_sdk.alerts`: level ERROR for a critical alert that is raised, else WARNING.

    Each record has the field `rule`.
    """
    return _Log()


# ---- health events


class _Health(Notifier):
    __slots__ = ("service",)

    def __init__(self, service: str) -> None:
        self.service = service

    def _sender(self, bus: AsyncSmithBus[Any], *, blocking: bool) -> Sender:
        return _HealthSender(bus, self.service)


class _HealthSender(Sender):
    timeout, keep, retry = _ATTEMPT, _KEEP, _AGAIN

    def __init__(self, bus: AsyncSmithBus[Any], service: str) -> None:
        self._bus = bus
        self._service = service
        self._raised: set[str] = set()
        self.name = f"health events of {service}"
        try:
            session_of(bus).contract.require(events.health.of(_event(service, True, {})))
        except SmithError as error:
            raise OptionsError(f"to_health(service)={service!r}: {error}") from None

    async def send(self, alert: Alert) -> None:
        if alert.state == "raised":
            self._raised.add(alert.rule)
        else:
            self._raised.discard(alert.rule)
        event = _event(self._service, not self._raised, msgspec.to_builtins(alert))
        # Of an attempt whose acknowledgement was lost, the next one is a duplicate.
        msg_id = f"alert.{self._service}.{alert.rule}.{alert.state}.{alert.since.isoformat()}"
        await self._bus.publish(events.health.of(event), event, msg_id=msg_id)

    def restore(self, raised: Iterable[Alert]) -> None:
        self._raised.update(one.rule for one in raised)


def _event(service: str, healthy: bool, detail: dict[str, Any]) -> HealthEvent:
    return HealthEvent.new(service=service, healthy=healthy, detail=detail)


def to_health(service: str) -> Notifier:
    """Publish each alert as a `HealthEvent` to `smith.events.health.{service}`.

    `healthy` is whether no alert is raised; `detail` has the fields of the alert. A publish that
    fails is tried again for an hour. Raises `OptionsError` for a service that is not a valid token.
    """
    if not isinstance(service, str):
        raise OptionsError(f"to_health(service)={service!r}: must be a token of a subject, such as 'monitor'")
    try:
        events.health.of(_event(service, True, {}))
    except SmithError as error:
        raise OptionsError(f"to_health(service)={service!r}: {error}") from None
    return _Health(service)


# ---- a webhook


class _ToWebhook(Notifier):
    __slots__ = ("hook", "keep", "retry", "timeout")

    def __init__(self, hook: Webhook, timeout: float, keep: float, retry: Backoff) -> None:
        self.hook = hook
        self.timeout = timeout
        self.keep = keep
        self.retry = retry

    def _sender(self, bus: AsyncSmithBus[Any], *, blocking: bool) -> Sender:
        return _WebhookSender(self)

    def __repr__(self) -> str:
        return f"<Notifier {self.hook.name}>"


class _WebhookSender(Sender):
    def __init__(self, given: _ToWebhook) -> None:
        self.name = given.hook.name
        self.timeout = given.timeout
        self.retry = given.retry
        self.keep = given.keep
        self._hook = given.hook

    async def send(self, alert: Alert) -> None:
        await self._hook.send(alert)


def to_webhook(
    url: str,
    *,
    secret: Secret | None = None,
    secret_file: str | os.PathLike[str] | None = None,
    secret_env: str | None = None,
    tls: TLSFiles | ssl.SSLContext | None = None,
    timeout: Duration = _ATTEMPT,
    retry: Backoff = _AGAIN,
    keep: Duration = _KEEP,
) -> Notifier:
    """Post each alert to `url` as JSON, signed if there is a secret: `verify_webhook` checks it.

    - `url`: https:// or http://. Logs, errors and reprs show its host only.
    - `secret`, `secret_file`, `secret_env`: the secret itself (16 bytes or more), a file with it,
      which is read for each request, or the name of an environment variable with it; at most one.
    - `tls`: certificates to trust other than the system's, or one to identify by.
    - `timeout`: seconds that one attempt may take, connecting included.
    - `retry`: the pauses between attempts. A receiver may ask for longer ones by `Retry-After`.
    - `keep`: seconds after which an alert that is not delivered is given up, which is logged.

    Any status from 200 to 299 means that it is delivered. A redirect is not followed. An answer
    that says that the request itself is wrong (such as 400 or 410) is final; after any other, and
    after none, the alert is sent again. Raises `OptionsError`.
    """
    given = [
        name
        for name, value in (("secret", secret), ("secret_file", secret_file), ("secret_env", secret_env))
        if value is not None
    ]
    if len(given) > 1:
        raise OptionsError(f"to_webhook: give one of {' and '.join(given)}")
    if not isinstance(retry, Backoff):
        raise OptionsError(f"to_webhook(retry)={retry!r}: must be a Backoff, such as Backoff(initial=1, max=60)")
    hook = Webhook(
        url,
        _secret(secret, secret_file, secret_env),
        tls.context() if isinstance(tls, TLSFiles) else tls,
    )
    return _ToWebhook(hook, to_seconds("to_webhook(timeout)", timeout), to_seconds("to_webhook(keep)", keep), retry)


def _secret(secret: Secret | None, file: str | os.PathLike[str] | None, variable: str | None) -> Callable[[], bytes] | None:
    if file is not None:
        return lambda: secret_in(file)
    if variable is not None:
        found = secret_bytes(f"secret_env: the environment variable {variable}", os.environ.get(variable, "").strip())
    elif secret is not None:
        found = secret_bytes("to_webhook(secret)", secret)
    else:
        return None
    return lambda: found
