"""The handlers of one worker: which function handles a message, and which runner runs it.

Every message has a context of its own: what a handler or a middleware sets in context variables
ends with the message.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar, get_args

from .._core.events import Events
from .._core.log_records import CORRELATION
from ..contract import ConsumerSpec, Contract, Payload
from ..errors import OptionsError, Reject
from ..protocol import Intent
from .hooks import Hooks
from .message import Message
from .middleware import Middleware, MiddlewareChain, Outcome
from .process_runner import PresentDetached, ProcessRunner
from .registration import brought, require_kind, require_outcome
from .runners import InlineRunner, Present, Run, Runner, ThreadRunner

ResultT = TypeVar("ResultT", bound=Outcome | Awaitable[Outcome])
KindT = TypeVar("KindT", bound=Payload)
"""A class of payloads, of which a handler is for one."""

_INTENTS: Final = frozenset(get_args(Intent))


class Handlers:
    """One handler for each type of payload, and one for all other messages.

    Coroutine functions run in the event loop; plain ones in `slots` threads, or with `processes` in
    as many processes. `timeout` is seconds for each run.
    """

    def __init__(
        self,
        name: str,
        contract: Contract,
        spec: ConsumerSpec[Any, Any],
        *,
        slots: int,
        processes: bool,
        timeout: float | None,
        middleware: Sequence[Middleware],
        events: Events | None = None,
    ) -> None:
        self._name = name
        self._contract = contract
        self._spec = spec
        self._timeout = timeout
        self._blocking = False
        chain = MiddlewareChain(name, middleware)
        self._inline = InlineRunner(chain, timeout)
        self._threads = ThreadRunner(name, slots, chain)
        self.hooks = Hooks(name)
        self._processes = None
        if processes:
            self._processes = ProcessRunner(name, contract, slots, chain, timeout, self.hooks, events)
        self._used: list[Runner] = []
        self._default: Run | None = None
        self._by_kind: dict[type, Run] = {}
        self._names: dict[Run, str] = {}

    def show_as(self, present: Present, detached: PresentDetached) -> None:
        """Have handlers get what `present`, in a process `detached`, makes of a message.

        For the blocking face: async handlers are refused from now on.
        """
        self._blocking = True
        self._threads.show_as(present)
        if self._processes is not None:
            self._processes.show_as(present, detached)

    def __bool__(self) -> bool:
        return self._default is not None or bool(self._by_kind)

    def add(self, function: Callable[[Any], Any], kind: type | None) -> None:
        """Have `function` handle messages of `kind`; None: all that no other handler is for.

        Raises `OptionsError`, also if its annotations say that it returns what cannot be published.
        """
        if kind is None and self._default is not None:
            raise OptionsError(f"the worker of {self._name} has a handler already: one each, or one for each type of payload")
        if kind is not None and kind in self._by_kind:
            raise OptionsError(f"the worker of {self._name} has a handler for {kind.__name__} already")
        runner = self._runner(function)
        require_outcome(self._name, function)
        run = runner.bind(function)
        self._names[run] = getattr(function, "__qualname__", None) or repr(function)
        if runner not in self._used:
            self._used.append(runner)
        if kind is None:
            self._default = run
        else:
            self._by_kind[kind] = run

    def require_kind(self, kind: object) -> None:
        """Raise `OptionsError` unless messages with such a payload may come."""
        require_kind(self._spec.name, kind, brought(self._contract, self._spec))

    def _runner(self, function: Callable[[Any], Any]) -> Runner:
        if not callable(function):
            raise OptionsError(f"the worker of {self._name}: {function!r} is not a handler, which is a function of a message")
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
            if self._blocking:
                raise OptionsError(f"the worker of {self._name} is on the blocking face: its handler is a plain function")
            if self._processes is not None:
                raise OptionsError(f"the worker of {self._name} has processes: its handler is a plain function")
            return self._inline
        if self._processes is not None:
            return self._processes
        if self._timeout is not None:
            raise OptionsError(
                f"the worker of {self._name} has a timeout, and its handler is a plain function, which nothing can stop in a "
                f"thread: make it async, or give the worker processes"
            )
        return self._threads

    def add_hook(self, function: Callable[[], Any], hooks: list[Callable[[], Any]]) -> None:
        """Add `function` to `hooks`, which are those of start or of stop. Raises `OptionsError`."""
        plain = "has processes, where no event loop runs" if self._processes is not None else ""
        self.hooks.check(function, plain="is on the blocking face" if self._blocking else plain)
        hooks.append(function)

    def limit(self, max_messages: int) -> None:
        """Have each process replaced after that many messages."""
        assert self._processes is not None
        self._processes.max_messages = max_messages

    # ---- running

    @property
    def cancellable(self) -> bool:
        """Whether every run that is cancelled has ended by that."""
        return all(runner.cancellable for runner in self._used)

    async def open(self) -> None:
        """Run the start hooks, and start the threads and processes that the handlers need.

        Raises what a hook raises, `OptionsError` for a handler that cannot be sent to a process,
        `HandlerProcessDied`, and `RuntimeError` if the system has no more threads.
        """
        await self.hooks.run_start()
        for runner in self._used:
            await runner.open()

    def kill(self) -> bool:
        """End what runs in processes, at once. False if nothing does."""
        return self._processes is not None and self._processes.kill()

    def announce_stop(self) -> None:
        """Have `message.draining` be true in processes as well."""
        if self._processes is not None:
            self._processes.announce_stop()

    async def finish(self) -> None:
        """End idle processes and run the stop hooks: there first, then here.

        Raises the first error of a hook here.
        """
        try:
            if self._processes is not None:
                await self._processes.finish()
        finally:
            await self.hooks.run_stop()

    def close(self) -> None:
        for runner in self._used:
            runner.close()

    def name_of(self, message: Message[Any, Any]) -> str:
        """The name of the function that handles `message`, for logs and errors."""
        run = self._run_for(message)
        return "no handler" if run is None else f"handler {self._names[run]}"

    def _run_for(self, message: Message[Any, Any]) -> Run | None:
        return self._by_kind.get(type(message.payload), self._default) if self._by_kind else self._default

    def run(self, message: Message[Any, Any]) -> Awaitable[Outcome]:
        """Run the handler for `message`.

        Raises what it raises, `HandlerTimeout`, `HandlerProcessDied`, `CannotRun`, and `Reject` if
        no handler is for its payload.
        """
        run = self._run_for(message) if self._by_kind else self._default
        if run is None:
            raise Reject(f"the worker of {self._name} has no handler for {type(message.payload).__name__}")
        payload = message.payload
        CORRELATION.set(payload.id if type(payload) in _INTENTS else "")
        return run(message)
