"""Spans and metrics of what a bus does: the tracer that `_core.events` calls.

Spans of one message, in the words of the conventions: the context of its "send" span is its
creation context. "process" is a child of that and links to it, so that a message has one trace from
program to program. A message that is sent with a context of its own (a dead letter, what an outbox
has kept) keeps it, and its "send" span links to it.
"""

from __future__ import annotations

import contextvars
import weakref
from collections.abc import Mapping, Sequence
from time import perf_counter, time_ns
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TracerProvider

from .. import __version__
from .._core.connection.headers import MSG_ID
from .._core.dead_letters.format import REPLAY_OF
from .._core.events import (
    NO_OPERATION,
    Delivery,
    Enter,
    Incoming,
    Operation,
    Outgoing,
    Settled,
    Source,
    Tracer,
)
from .._core.foreign_text import error_text, one_line
from .._core.jetstream.delivery import NAK, TERM, parse
from .._core.jetstream.delivery import Delivery as Place
from .._core.jetstream.session import Session
from ..errors import OptionsError, RetryLater
from . import _names
from ._context import detached, extract, injected, span_of
from ._destinations import Attributes, Destinations, consumer_attributes, place_of
from ._metrics import Key, Metrics

_MOST_LINKS: Final = 128
"""Links of one span: as many as an SDK keeps by default."""
_TRACEPARENT: Final = "traceparent"
_LONGEST_ID: Final = 256
"""Characters of a message id: any publisher may choose it."""


def start(session: Session, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None) -> None:
    """Instrument `session`, unless it is. Raises `OptionsError`."""
    if tracer_provider is not None and not isinstance(tracer_provider, TracerProvider):
        raise OptionsError(f"instrument(tracer_provider={tracer_provider!r}): an OpenTelemetry TracerProvider is needed")
    if meter_provider is not None and not isinstance(meter_provider, MeterProvider):
        raise OptionsError(f"instrument(meter_provider={meter_provider!r}): an OpenTelemetry MeterProvider is needed")
    if _of(session) is None:
        meters = _metrics_of(meter_provider)
        session.events.add(BusTracer(session, trace.get_tracer(_names.SCOPE, __version__, tracer_provider), meters))
        meters.gauges.add(session)


def stop(session: Session) -> None:
    found = _of(session)
    if found is not None:
        session.events.remove(found)
        found.metrics.gauges.remove(session)


def _of(session: Session) -> BusTracer | None:
    return next((one for one in session.events.observers if isinstance(one, BusTracer)), None)


_meters: Final[weakref.WeakKeyDictionary[MeterProvider, Metrics]] = weakref.WeakKeyDictionary()
"""The instruments of each provider. There may be one of each name: a second one is not read."""
_of_global: Final[list[Metrics]] = []
"""Those of the global provider, which stands for another one until that is set."""


def _metrics_of(provider: MeterProvider | None) -> Metrics:
    current = metrics.get_meter_provider()
    chosen = current if provider is None else provider
    found = _meters.get(chosen)
    if found is None and chosen is current and _of_global:
        found = _of_global[0]
    if found is None:
        found = Metrics(metrics.get_meter(_names.SCOPE, __version__, chosen))
    if chosen is current and not _of_global:
        _of_global.append(found)
    _meters[chosen] = found
    return found


class BusTracer(Tracer):
    """Reports on one session. All but `on_receive` are called in the loop of its bus."""

    def __init__(self, session: Session, tracer: trace.Tracer, meters: Metrics) -> None:
        self._connection = session.connection
        self._tracer = tracer
        self.metrics: Final = meters
        self._destinations = Destinations(session.contract)
        self._common: dict[tuple[str, str], Attributes] = {}
        self._counted: dict[tuple[str, str], Attributes] = {}
        """Attributes of spans, and of metrics, by operation and destination."""
        self._keys: dict[tuple[str, str, tuple[tuple[str, str], ...]], Key] = {}
        self._server = self._destinations.server(session.connection.url)
        self._reconnects = session.connection.reconnects

    def counted(self, operation: str, template: str) -> Attributes:
        """The attributes that every metric of such an operation has. Not to be changed."""
        found = self._counted.get((operation, template))
        if found is None:
            found = self._counted[operation, template] = {
                _names.SYSTEM: _names.NATS,
                _names.OPERATION_NAME: operation,
                _names.TEMPLATE: template,
                **self._server,
            }
        return found

    def key(self, operation: str, template: str, *more: tuple[str, str]) -> Key:
        """`counted` and `more` as the key of a counter."""
        found = self._keys.get((operation, template, more))
        if found is None:
            found = self._keys[operation, template, more] = (*self.counted(operation, template).items(), *more)
        return found

    def _common_to(self, operation: str, template: str) -> Attributes:
        """The attributes that every span of such an operation has. Not to be changed."""
        found = self._common.get((operation, template))
        if found is None:
            found = self.counted(operation, template)
            if operation != _names.EXECUTE:  # not one of the types that there are
                found = {**found, _names.OPERATION_TYPE: operation}
            self._common[operation, template] = found
        return found

    def begin(
        self,
        operation: str,
        template: str,
        kind: SpanKind,
        more: Attributes,
        *,
        context: Context | None = None,
        links: Sequence[SpanContext | None] = (),
        since: int | None = None,
    ) -> Span:
        span = self._tracer.start_span(
            f"{operation} {template}",
            context,
            kind,
            {**self._common_to(operation, template), **more},
            [Link(one) for one in links if one is not None],
            since,
        )
        if not span.get_span_context().is_valid:  # no SDK: newer versions of the API do the same
            return NonRecordingSpan(trace.get_current_span(context).get_span_context())
        return span

    def template(self, subject: str, stream: str | None) -> str:
        return self._destinations.template(subject, stream)

    # ---- publishing

    def on_create(self, message: Outgoing) -> Operation:
        if message.headers and span_of(extract(message.headers)) is not None:
            return NO_OPERATION
        template = self.template(message.subject, message.stream)
        span = self.begin(_names.CREATE, template, SpanKind.PRODUCER, _sent(message))
        headers = injected(message.headers, trace.set_span_in_context(span))
        return _Plain(span, headers)

    def on_send(self, message: Outgoing) -> Operation:
        template = self._destinations.pattern(message.subject)
        if template is None:  # the SDK's own: a key of a bucket, or a marker beside a dead letter
            return NO_OPERATION
        headers = message.headers or {}
        given = extract(headers) if headers else None
        own = None if given is None else span_of(given)
        if own is None:
            span = self.begin(_names.SEND, template, SpanKind.PRODUCER, _sent(message))
            return _Sending(self, template, span, injected(headers, trace.set_span_in_context(span)))
        if REPLAY_OF in headers:
            # Another attempt, perhaps weeks later: a trace of its own, which leads to the first.
            span = self.begin(_names.SEND, template, SpanKind.PRODUCER, _sent(message), links=[own])
            renewed = injected(headers, trace.set_span_in_context(span))
            if renewed is not None:
                renewed[_names.REPLAY_CONTEXT] = _traceparent(headers)
            return _Sending(self, template, span, renewed)
        # It has its context: from whoever has created it. A trace goes on where no span is current.
        context = given if span_of() is None else None
        span = self.begin(_names.SEND, template, SpanKind.CLIENT, _sent(message), context=context, links=[own])
        return _Sending(self, template, span, None)

    # ---- receiving

    def on_receive(self, messages: Sequence[Incoming], source: Source, since: int) -> None:
        template = self._received_from(messages, source)
        more: Attributes = consumer_attributes(
            None if source.stream is None or source.consumer is None else (source.stream, source.consumer)
        )
        contexts = [extract(one.headers) for one in messages[:_MOST_LINKS] if one.headers]
        links = [span_of(one) for one in contexts]
        context = None
        if len(messages) == 1:
            more |= _message(messages[0])
            if links and links[0] is not None and span_of() is None:
                context = contexts[0]
        else:
            more[_names.BATCH] = len(messages)
        span = self.begin(_names.RECEIVE, template, SpanKind.CLIENT, more, context=context, links=links, since=since)
        span.end()
        if messages:
            group = () if source.consumer is None else ((_names.GROUP, source.consumer),)
            self.metrics.consumed.add(len(messages), self.key(_names.RECEIVE, template, *group))
        self.metrics.operation.record(max(0.0, (time_ns() - since) / 1e9), self.counted(_names.RECEIVE, template))

    def _received_from(self, messages: Sequence[Incoming], source: Source) -> str:
        found = {self.template(one.subject, source.stream) for one in messages}
        return found.pop() if len(found) == 1 else source.filter

    # ---- processing

    def on_process(self, message: Delivery) -> Operation:
        headers = message.headers
        delivery = parse(message.reply)
        if delivery is None:  # of no consumer: a worker has none of these
            return NO_OPERATION
        place = delivery.stream, delivery.consumer
        template = self.template(message.subject, delivery.stream)
        context = extract(headers)
        creation = span_of(context)
        links = [creation]
        if headers and creation is not None and REPLAY_OF in headers:
            if (former := headers.get(_names.REPLAY_CONTEXT)) is not None:
                links.append(span_of(extract({_TRACEPARENT: former})))
            else:  # replayed by a program without telemetry, in the context of the message that failed
                context = extract(None)
        more = {
            **consumer_attributes(place),
            **_message(message),
            _names.SEQ: delivery.stream_seq,
            _names.ATTEMPT: delivery.num_delivered,
        }
        span = self.begin(_names.PROCESS, template, SpanKind.CONSUMER, more, context=context, links=links)
        self.metrics.consumed.add(1, self.key(_names.PROCESS, template, (_names.GROUP, delivery.consumer)))
        current = trace.set_span_in_context(span, context)
        return _Processing(self, message, delivery, template, span, current, creation)

    def on_settled(self, event: Settled) -> None:
        place = (_names.STREAM, event.stream), (_names.CONSUMER, event.consumer)
        self.metrics.settled.add(1, (*place, (_names.VERDICT, event.verdict)))
        if event.verdict == "dead_letter":
            self.metrics.dead_letters.add(1, place)
        if event.verdict in ("ack", "dead_letter"):
            self.metrics.attempts.record(event.attempt, dict(place))
        running = _running.get()
        if running is not None and running.is_about(event):
            running.event = event

    def on_settle(self, message: Delivery, answer: bytes) -> Operation:
        running = _running.get()
        place: tuple[str, str] | None
        if running is not None and running.message is message:
            template, place, creation = running.template, running.place, running.creation
        else:
            place = place_of(message.reply)
            template = self.template(message.subject, None if place is None else place[0])
            creation = span_of(extract(message.headers))
        word = "nak" if answer.startswith(NAK) else "term" if answer.startswith(TERM) else "ack"
        more = {**consumer_attributes(place), **_message(message), _names.ANSWER: word}
        context = None
        if creation is not None and span_of() is None:
            context = extract(message.headers)
        span = self.begin(_names.SETTLE, template, SpanKind.CLIENT, more, context=context, links=[creation])
        return _Timed(self, _names.SETTLE, template, span)

    # ---- the rest

    def on_execute(self, subject: str, intent_id: str) -> Operation:
        template = self.template(subject, None)
        more: Attributes = {_names.CONVERSATION: intent_id[:_LONGEST_ID]}
        span = self.begin(_names.EXECUTE, template, SpanKind.CLIENT, more)
        return _Executing(span)

    def on_detach(self) -> Enter | None:
        return detached()

    def on_state(self, state: str, reason: str) -> None:
        server = self._destinations.server(self._connection.url)
        if server != self._server:
            self._server = server
            self._common.clear()
            self._counted.clear()
            self._keys.clear()
        now = self._connection.reconnects
        if now > self._reconnects:
            self.metrics.reconnects.add(now - self._reconnects, ())
            self._reconnects = now


# ---- operations


def _finish(span: Span, error: BaseException | None, *, with_traceback: bool = False) -> None:
    try:
        if error is not None and span.is_recording():
            span.set_attribute(_names.ERROR_TYPE, type(error).__name__)
            span.set_status(Status(StatusCode.ERROR, one_line(error_text(error))))
            if with_traceback:
                span.record_exception(error)
    finally:  # an exception without a text, for one
        span.end()


class _Plain(Operation):
    """A span, and headers to send."""

    __slots__ = ("_headers", "_span")

    def __init__(self, span: Span, headers: Mapping[str, str] | None) -> None:
        self._span, self._headers = span, headers

    @property
    def headers(self) -> Mapping[str, str] | None:
        return self._headers

    def end(self, error: BaseException | None = None) -> None:
        _finish(self._span, error)


class _Timed(Operation):
    """A span and a duration."""

    __slots__ = ("_began", "_name", "_span", "_template", "_tracer")

    def __init__(self, tracer: BusTracer, name: str, template: str, span: Span) -> None:
        self._tracer, self._name, self._template, self._span = tracer, name, template, span
        self._began = perf_counter()

    def end(self, error: BaseException | None = None) -> None:
        seconds = perf_counter() - self._began
        _finish(self._span, error)
        self._tracer.metrics.operation.record(seconds, self._attributes(error))

    def _attributes(self, error: BaseException | None) -> Attributes:
        common = self._tracer.counted(self._name, self._template)
        return common if error is None else {**common, _names.ERROR_TYPE: type(error).__name__}


class _Sending(_Timed):
    """A publish."""

    __slots__ = ("_headers",)

    def __init__(self, tracer: BusTracer, template: str, span: Span, headers: Mapping[str, str] | None) -> None:
        super().__init__(tracer, _names.SEND, template, span)
        self._headers = headers

    @property
    def headers(self) -> Mapping[str, str] | None:
        return self._headers

    def end(self, error: BaseException | None = None) -> None:
        super().end(error)
        failed = () if error is None else ((_names.ERROR_TYPE, type(error).__name__),)
        self._tracer.metrics.sent.add(1, self._tracer.key(_names.SEND, self._template, *failed))


class _Executing(Operation):
    """An intent and its result, in the context of its span."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span
        self._token = otel_context.attach(trace.set_span_in_context(span))

    def end(self, error: BaseException | None = None) -> None:
        otel_context.detach(self._token)
        _finish(self._span, error)


class _Processing(Operation):
    """A delivery in a worker, in the context of its span."""

    __slots__ = (
        "_began",
        "_context",
        "_delivery",
        "_running",
        "_span",
        "_tracer",
        "creation",
        "event",
        "message",
        "place",
        "template",
    )

    def __init__(
        self,
        tracer: BusTracer,
        message: Delivery,
        delivery: Place,
        template: str,
        span: Span,
        context: Context,
        creation: SpanContext | None,
    ) -> None:
        self._tracer, self._span = tracer, span
        self.message, self.template, self.creation = message, template, creation
        self._delivery = delivery
        self.place = delivery.stream, delivery.consumer
        self.event: Settled | None = None
        """How it was settled."""
        self._began = perf_counter()
        self._context = otel_context.attach(context)
        self._running = _running.set(self)

    def is_about(self, event: Settled) -> bool:
        """Whether it is this delivery that was settled, not one of a worker that was begun here."""
        own = self._delivery
        return (own.stream, own.consumer, own.stream_seq) == (event.stream, event.consumer, event.seq)

    def end(self, error: BaseException | None = None) -> None:
        seconds = perf_counter() - self._began
        _running.reset(self._running)
        otel_context.detach(self._context)
        event, span = self.event, self._span
        if event is not None:
            error = event.error or error
            span.set_attribute(_names.VERDICT, event.verdict)
        if isinstance(error, RetryLater):  # it has asked for that
            error = None
        _finish(span, error, with_traceback=True)
        attributes = {**self._tracer.counted(_names.PROCESS, self.template), _names.GROUP: self._delivery.consumer}
        if error is not None:
            attributes[_names.ERROR_TYPE] = type(error).__name__
        self._tracer.metrics.process.record(seconds, attributes)


_running: Final[contextvars.ContextVar[_Processing | None]] = contextvars.ContextVar("smith_sdk.otel", default=None)
"""The delivery that is processed in this context."""


# ---- attributes of messages


def _sent(message: Outgoing) -> Attributes:
    return {_names.MESSAGE_ID: message.msg_id[:_LONGEST_ID], _names.BODY_SIZE: len(message.data)}


def _message(message: Incoming) -> Attributes:
    found: Attributes = {_names.BODY_SIZE: len(message.data)}
    if message.headers and (msg_id := message.headers.get(MSG_ID)):
        found[_names.MESSAGE_ID] = msg_id[:_LONGEST_ID]
    return found


def _traceparent(headers: Mapping[str, Any]) -> str:
    """The header of that name, which was valid if a context was found; another format has none."""
    return next((value for name, value in headers.items() if name.lower() == _TRACEPARENT), "")
