"""What is known of a handler when it is registered: what it is for, and what it returns."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from .._core.topology.work_queues import overlap
from ..contract import ConsumerSpec, Contract, Envelope, Payload
from ..errors import OptionsError, Reject
from ..protocol import IntentResult

_M_co = TypeVar("_M_co", covariant=True)
_K_co = TypeVar("_K_co", covariant=True)

RETURNS: Final = "return an IntentResult, subject.envelope(payload), or nothing"
"""What a handler may return."""


class NotPublishable(Reject):
    """A handler has returned what a worker does not publish. Another run would return the same."""


class Kind(Protocol[_M_co, _K_co]):
    """For type checkers: a class of payloads `_K_co`, which are among those of a consumer."""

    def _as_message(self) -> _M_co: ...
    def _as_itself(self) -> _K_co: ...
    def __call__(self, *args: Any, **kwargs: Any) -> _K_co: ...  # an instance has all but this


def brought(contract: Contract, spec: ConsumerSpec[Any, Any]) -> frozenset[Any]:
    """The classes of payloads that `spec` delivers; empty if the contract does not know."""
    return frozenset(cls for filter in spec.filters for cls in _on(contract, filter))


def _on(contract: Contract, filter: str) -> Iterator[Any]:
    for leaf in contract.leaves_on(filter):
        for cls in leaf.payloads:
            selector = getattr(cls, "SELECTOR", None)
            tag = "" if selector is None else str(cls.__struct_config__.tag_field)
            if tag in getattr(leaf.cls, "__struct_fields__", ()):  # the subject has the token that selects the payload
                subjects: Any = leaf.cls
                if not any(overlap(filter, one) for one in subjects.filter(**{tag: selector}).patterns):
                    continue
            yield cls


def require_kind(name: str, kind: object, brings: frozenset[Any]) -> None:
    """Raise `OptionsError` unless messages of consumer `name`, which brings `brings`, may have a
    payload of class `kind`."""
    if not isinstance(kind, type) or not (kind in brings or issubclass(kind, Payload)):
        raise OptionsError(f"handler_for({kind!r}): a class of payloads is needed, such as FsReadV1Intent")
    if brings and kind not in brings:
        every = ", ".join(sorted(cls.__name__ for cls in brings))
        problem = f"handler_for({kind.__name__}): consumer {name} never delivers it, but {every}"
        if any(issubclass(cls, kind) for cls in brings):
            problem += ": write one handler for each, or worker.handler for all"
        raise OptionsError(problem)


def require_outcome(name: str, function: Callable[..., Any]) -> None:
    """Raise `OptionsError` if `function`, of the worker of `name`, is annotated to return what a
    handler must not."""
    while isinstance(function, functools.partial):
        function = function.func
    target = function if inspect.isroutine(function) else getattr(type(function), "__call__", function)  # noqa: B004
    try:
        returns = get_type_hints(target).get("return")
    except Exception:  # names that exist for type checkers only: what it returns is checked when it returns it
        return
    wrong = [cls.__name__ for cls in _classes(returns) if not issubclass(cls, (IntentResult, Envelope))]
    if wrong:
        raise OptionsError(f"the worker of {name}: its handler is annotated to return {' | '.join(wrong)}: {RETURNS}")


def _classes(annotation: Any) -> Iterator[type]:
    """The classes of which an annotation has instances, but for None and what says nothing."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for one in get_args(annotation):
            yield from _classes(one)
    elif isinstance(origin, type) and issubclass(origin, Awaitable):
        yield from _classes(get_args(annotation)[-1])
    elif isinstance(found := origin or annotation, type) and found not in (type(None), object, Any) and not _is_open(found):
        yield found


def _is_open(cls: type) -> bool:
    """Whether it is a protocol or abstract class, which an allowed class may be one of."""
    return inspect.isabstract(cls) or getattr(cls, "_is_protocol", False) or issubclass(cls, Awaitable)
