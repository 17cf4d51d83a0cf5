"""Context in the headers of messages: W3C Trace Context, or whatever propagators are set.

Anybody who may publish chooses these headers. What is not valid, or too long, is not read: no error
leaves this module, and nothing else of a message depends on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, Setter
from opentelemetry.trace import SpanContext

from .._core.connection.headers import MSG_ID, NAME, is_reserved
from .._core.events import Enter

_LONGEST: Final = 8192
"""Characters of a header that is read: W3C Baggage has the largest limit, which is this."""
_MOST: Final = 64
"""Headers that are looked through for a name in another spelling."""

_STATE: Final = "tracestate"

Headers = Mapping[str, str]


class _HeaderGetter(Getter[Headers]):
    def get(self, carrier: Headers, key: str) -> list[str] | None:
        value = carrier.get(key)
        if value is None:
            # Other clients may write "Traceparent": NATS compares names letter by letter.
            if len(carrier) > _MOST:
                return None
            wanted = key.lower()
            value = next((found for name, found in carrier.items() if name.lower() == wanted), None)
        return None if value is None or len(value) > _LONGEST else [value]

    def keys(self, carrier: Headers) -> list[str]:
        return list(carrier)


class _HeaderSetter(Setter[dict[str, str]]):
    def set(self, carrier: dict[str, str], key: str, value: str) -> None:
        # A propagator of the program's own may write anything.
        if isinstance(value, str) and value.isprintable() and NAME.fullmatch(key) and not is_reserved(key):
            carrier[key] = value


_getter: Final = _HeaderGetter()
_setter: Final = _HeaderSetter()


def without_span(context: Context | None = None) -> Context:
    """`context` (None: the current one) without its span."""
    return trace.set_span_in_context(trace.INVALID_SPAN, context)


def extract(headers: Headers | None) -> Context:
    """The context that `headers` have, within the current one without its span."""
    base = without_span()
    if not headers or (len(headers) == 1 and MSG_ID in headers):  # most of those without a context
        return base
    try:
        return propagate.extract(headers, base, _getter)
    except Exception:  # of a propagator that does not expect such a value
        return base


def span_of(context: Context | None = None) -> SpanContext | None:
    """The span of `context` (None: the current one); None if it has no valid one."""
    found = trace.get_current_span(context).get_span_context()
    return found if found.is_valid else None


def injected(headers: Headers | None, context: Context) -> dict[str, str] | None:
    """`headers` with `context` in place of one that they have; None if there is none to send."""
    added: dict[str, str] = {}
    propagate.inject(added, context, _setter)
    if not added:
        return None
    if not headers:
        return added
    names = {name.lower() for name in added} | {_STATE}  # without its traceparent it means nothing
    return {**{name: value for name, value in headers.items() if name.lower() not in names}, **added}


def detached() -> Enter:
    """The current context as something to enter in another process: it can be pickled."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, setter=_setter)
    return partial(_enter, carrier)


@contextmanager
def _enter(carrier: dict[str, str]) -> Iterator[None]:
    token = otel_context.attach(extract(carrier))
    try:
        yield
    finally:
        otel_context.detach(token)
