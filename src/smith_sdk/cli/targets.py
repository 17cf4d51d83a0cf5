"""What `smith worker` is to run: finds the workers and admissions that MODULE:NAME stands for.

A factory is called once, and a context manager stays entered until everything has ended.
"""

from __future__ import annotations

import inspect
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

from ..aio import Admission as AsyncAdmission
from ..aio import AsyncSmithBus
from ..aio import ShardedWorker as AsyncShardedWorker
from ..aio import Worker as AsyncWorker
from ..aio.shard_work import ShardWork
from ..aio.slots import Slots
from ..errors import OptionsError
from ..sync import Admission, ShardedWorker, Worker
from ..sync import SmithBus as BlockingBus

WORKERS: Final = (AsyncWorker, AsyncShardedWorker)
_ASYNC: Final = (*WORKERS, AsyncAdmission)
_BLOCKING: Final = (Worker, ShardedWorker, Admission)
_FACTORY: Final = "a function without arguments that returns or yields one or several"
_PACKAGE: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep


class Opener(Protocol):
    """Where factories of the async face run: the event loop of the workers."""

    def call(self, function: Callable[[], Any], /) -> Any:
        """Run a coroutine function in the loop."""
        ...

    def enter(self, context: AbstractAsyncContextManager[Any], /) -> Any:
        """Enter `context` in the loop until everything has ended."""
        ...

    def enter_blocking(self, context: AbstractContextManager[Any], /) -> Any:
        """Enter `context` in this thread until everything has ended."""
        ...


class NotLoaded(Exception):
    """The user's code raised `cause` before there was a worker. `status` is the exit status."""

    def __init__(self, what: str, cause: BaseException) -> None:
        super().__init__(f"{what}: {type(cause).__name__}: {cause}")
        self.cause = cause
        self.status = 2 if isinstance(cause, OptionsError) else 1
        for error in _chain(cause):
            error.with_traceback(_users_frames(error.__traceback__))


@dataclass(frozen=True)
class Part:
    """One worker or admission of either face."""

    target: str
    given: Any

    @property
    def is_async(self) -> bool:
        return isinstance(self.given, _ASYNC)

    @property
    def aio(self) -> Any:
        return self.given if self.is_async else self.given._aio

    @property
    def bus(self) -> AsyncSmithBus:
        found: AsyncSmithBus = self.aio._bus
        return found

    @property
    def name(self) -> str:
        return self.slots._spec.name

    @property
    def slots(self) -> Slots | ShardWork:
        """What runs its handlers."""
        if isinstance(self.aio, AsyncShardedWorker):
            return self.aio._work
        found: Slots = self.aio._slots if isinstance(self.aio, AsyncWorker) else self.aio._worker
        return found


def split(target: str) -> tuple[str, str]:
    """Module and name of MODULE:NAME. Raises `OptionsError`."""
    module, _, name = target.partition(":")
    if module.endswith(".py") or "/" in module:
        named = module.removesuffix(".py").strip("./").replace("/", ".")
        raise OptionsError(f"{target!r} names a file: pass its module, such as {named}:{name or 'worker'}")
    if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise OptionsError(f"{target!r} is not a valid target: pass MODULE:NAME, such as jobs.thumbnails:worker")
    return module, name


def add_working_directory() -> None:
    """Have modules found in the current directory, as `python -m` does."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def load(targets: Iterable[str], opener: Opener) -> list[Part]:
    """The parts that `targets` name, each once.

    Raises `OptionsError` if a target is not what can be run, and `NotLoaded` for what the user's
    module or factory raises.
    """
    add_working_directory()
    found = [part for target in targets for part in _parts(target, opener)]
    for part in found:
        if isinstance(part.aio, WORKERS) and not part.aio._handlers:
            raise OptionsError(
                f"{part.target}: the worker of {part.name} has no handler: decorate one with @worker.handler, in the target's "
                f"module or in one that it imports"
            )
    return list({id(part.aio): part for part in found}.values())


def load_function(target: str) -> Callable[..., Any]:
    """The function that MODULE:NAME `target` names. Raises as `load` does."""
    add_working_directory()
    module, name = split(target)
    found = _attribute(_imported(module), module, name, "functions", _functions)
    if not callable(found):
        raise OptionsError(f"{target} is {_a(found)}, not a function")
    return found  # type: ignore[no-any-return]


def _functions(module: types.ModuleType) -> Iterator[str]:
    return (name for name, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__)


def _parts(target: str, opener: Opener) -> Iterator[Part]:
    module, name = split(target)
    found = _attribute(_imported(module), module, name)
    made = _is_factory(found)
    if made:
        found = _made(target, found, opener)
    several = isinstance(found, (list, tuple))
    for one in found if several else (found,):
        if not isinstance(one, (*_ASYNC, *_BLOCKING)):
            verb = ("returned a list with" if several else "returned") if made else "contains" if several else "is"
            raise OptionsError(
                f"{target} {verb} {_a(one)}, not a Worker or an Admission: pass one, a list of them, or {_FACTORY}{_bus_hint(one)}"
            )
        yield Part(target, one)
    if several and not found:
        raise OptionsError(f"{target} {'returned an empty list' if made else 'is empty'}: it must hold a Worker or an Admission")


def _imported(where: str) -> types.ModuleType:
    try:
        return import_module(where)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise NotLoaded(f"{where} cannot be imported", error) from None
        raise OptionsError(f"no module {where} in {os.getcwd()}, installed, or on PYTHONPATH{_where_else(where)}") from None
    except SystemExit as error:
        raise NotLoaded(f"{where} ends the process when it is imported", error) from None
    except Exception as error:
        raise NotLoaded(f"{where} cannot be imported", error) from None


def _where_else(where: str) -> str:
    """Where the module may be meant to be, if it is below the current directory."""
    path = Path(*where.split("."))
    for directory in sorted(one for one in Path().iterdir() if one.is_dir() and not one.name.startswith(".")):
        if (directory / path).with_suffix(".py").is_file() or (directory / path / "__init__.py").is_file():
            return f"; it is in {directory}/: start smith there, or set PYTHONPATH={directory}"
    return "; start smith in the directory that holds it"


def _attribute(
    module: types.ModuleType,
    where: str,
    name: str,
    what: str = "workers",
    others: Callable[[types.ModuleType], Iterator[str]] | None = None,
) -> Any:
    try:
        return reduce(getattr, name.split("."), module)
    except AttributeError:
        candidates = ", ".join((others or _candidates)(module)) or "none"
        raise OptionsError(f"module {where} has no attribute {name}; {what} at its top level: {candidates}") from None


def _candidates(module: types.ModuleType) -> Iterator[str]:
    """What the module has that could be meant; factories are known by their return type."""
    for name, value in vars(module).items():
        listed = value if isinstance(value, (list, tuple)) else (value,)
        if listed and all(isinstance(one, (*_ASYNC, *_BLOCKING)) for one in listed):
            yield name
        elif inspect.isfunction(value) and value.__module__ == module.__name__:
            returned = str(value.__annotations__.get("return", ""))
            if ("Worker" in returned or "Admission" in returned) and not _needed(value):
                yield name


# ---- factories


def _is_factory(found: object) -> bool:
    return callable(found) and not isinstance(found, (*_ASYNC, *_BLOCKING, list, tuple))


def _made(target: str, factory: Callable[[], Any], opener: Opener) -> Any:
    """What `factory` makes, in whichever way it does."""
    if needed := _needed(factory):
        raise OptionsError(
            f"{target} is {_a(factory)} that needs arguments ({', '.join(needed)}): pass a Worker, an Admission, or {_FACTORY}"
        )
    for is_generator, decorator in (
        (inspect.isgeneratorfunction, "contextmanager"),
        (inspect.isasyncgenfunction, "asynccontextmanager"),
    ):
        if is_generator(factory):
            raise OptionsError(f"{target} is a generator: decorate it with @contextlib.{decorator}")
    try:
        if inspect.iscoroutinefunction(factory):
            return opener.call(factory)
        found = factory()
        if inspect.isawaitable(found):
            return opener.call(lambda: found)
        if isinstance(found, (AsyncSmithBus, BlockingBus)):  # which is a context manager, but not of workers
            return found
        if isinstance(found, AbstractAsyncContextManager):
            return opener.enter(found)
        if isinstance(found, AbstractContextManager):
            return opener.enter_blocking(found)
    except (Exception, SystemExit) as error:
        raise NotLoaded(f"{target} failed", error) from None
    return found


def _needed(function: Callable[..., Any]) -> list[str]:
    """The arguments without which `function` cannot be called."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a function in C that does not tell
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in variadic]


def _a(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _bus_hint(value: object) -> str:
    return "; the worker's bus is found by itself" if isinstance(value, (AsyncSmithBus, BlockingBus)) else ""


# ---- tracebacks


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and those that led to it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def _users_frames(trace: types.TracebackType | None) -> types.TracebackType | None:
    """`trace` without the frames of the import system and of this package."""
    frames: list[types.TracebackType] = []
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not (file.startswith(("<frozen importlib", _PACKAGE)) or f"{os.sep}importlib{os.sep}" in file):
            frames.append(trace)
        trace = trace.tb_next
    users: types.TracebackType | None = None
    for one in reversed(frames):
        users = types.TracebackType(users, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return users
