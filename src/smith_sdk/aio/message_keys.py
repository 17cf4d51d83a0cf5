"""`Worker(concurrency_key=...)`: the key of each message, and what becomes of one without."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final

from .._core.connection.parser import RawMessage
from .._core.execution.by_key import ByKey
from .._core.execution.dispatcher import Source
from .._core.foreign_text import error_text, one_line
from .._core.jetstream.session import Session
from ..contract import ConsumerSpec
from ..errors import ContractError, OptionsError
from ..options import positive_int
from .message import Message
from .message_runner import RunnerWrapper
from .middleware import Outcome
from .runners import Present

KeyFunction = Callable[[Any], Hashable | None]

_MOST: Final = 256
"""Messages of busy keys that a worker holds back, at most."""
_SHARE: Final = 4
"""One worker holds back at most 1/4 of what the server delivers without an answer: others read
from the same consumer."""
_ERRORS: Final = 1024
"""Errors of key functions that are remembered until their message runs."""


class MessageKeys:
    """The keys of the messages of one worker, at most `per_key` of each at once."""

    def __init__(self, session: Session, spec: ConsumerSpec[Any, Any], function: KeyFunction, per_key: int) -> None:
        if not callable(function) or _is_async(function):
            raise OptionsError(
                f"Worker.concurrency_key={function!r}: a plain function is needed, such as lambda message: message.payload.domain"
            )
        self._session = session
        self._spec = spec
        self._function = function
        self._per_key = positive_int("Worker.per_key", per_key)
        self._present: Present | None = None
        self._errors: dict[str, BaseException] = {}
        """What the function raised, by the ack subject of the message."""

    def show_as(self, present: Present) -> None:
        """Have the function get what `present` makes of a message."""
        self._present = present

    def dispatcher(self, loop: Source[RawMessage], slots: int, capacity: Callable[[], int]) -> ByKey[RawMessage]:
        """A dispatcher by key between `loop` and `slots` slots, `capacity` of which are in use."""
        return ByKey(
            loop,
            self.of,
            per_key=self._per_key,
            most=max(slots, min(_MOST, self._spec.max_ack_pending // _SHARE)),
            size_of=lambda raw: len(raw.data),
            capacity=capacity,
        )

    def of(self, raw: RawMessage) -> Hashable | None:
        """The key of a message. None if it has none: it cannot be decoded, or the function raised.

        What the function raised is raised again when the message runs.
        """
        message: Message[Any, Any] = Message(raw, self._session)
        try:
            message._decode_ahead()
        except ContractError:  # for the slot
            return None
        try:
            key = self._function(message if self._present is None else self._present(message))
            if inspect.isawaitable(key):
                if isinstance(key, Coroutine):
                    key.close()
                raise TypeError("it returned an awaitable: a plain function is needed")
            hash(key)
        except (Exception, SystemExit) as error:  # must cost neither the worker nor another message
            if len(self._errors) >= _ERRORS:
                self._errors.pop(next(iter(self._errors)))
            self._errors[raw.reply] = error
            return None
        return key

    def require_key(self, message: Message[Any, Any]) -> None:
        """Raise `OptionsError` if the function raised for `message`."""
        if self._errors and (error := self._errors.pop(message._raw.reply, None)) is not None:
            raise OptionsError(f"Worker.concurrency_key raised {type(error).__name__}: {one_line(error_text(error))}") from error


class KeyedRunner(RunnerWrapper):
    """`inner`, for messages that have a key; what the key function raised is a failed attempt."""

    def __init__(self, inner: Any, keys: MessageKeys) -> None:
        super().__init__(inner)
        self._keys = keys

    async def run(self, message: Message[Any, Any]) -> Outcome:
        self._keys.require_key(message)
        return await self._inner.run(message)


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
