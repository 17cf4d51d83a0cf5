"""What `smith worker` refuses to run, with the reason."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
from worker_command import MAKES, write

from smith_sdk.cli.runner import AsyncHost
from smith_sdk.cli.targets import NotLoaded, load
from smith_sdk.errors import OptionsError

MISTAKES = """
    import contextlib
    from smith_sdk import Admission
    bus = AsyncSmithBus()
    good = made(bus)
    several = [good]
    silent = Worker(bus, consumers.executor_fs_read)
    number, none, empty, mixed = 5, None, [], [good, 5]

    def make_one() -> "list[Worker]":
        return several

    def nothing():
        pass

    async def a_list():
        return ["x"]

    def no_list():
        return []

    def with_argument(config):
        return good

    def generator():
        yield good

    async def async_generator():
        yield good

    @contextlib.contextmanager
    def yields_a_bus():
        yield bus

    def raises():
        return {}["missing"]

    def misuses():
        return Worker(bus, consumers.executor_fs_read, concurrency=0)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with modules, of which none stays imported."""
    write(tmp_path / "src" / "deep.py", "")
    write(tmp_path / "jobs.py", MAKES + MISTAKES)
    write(tmp_path / "broken.py", "import inner\n")
    write(tmp_path / "inner.py", "undefined\n")
    write(tmp_path / "wrong.py", "def broken(:\n")
    write(tmp_path / "script.py", "sys.exit(3)\n")
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("jobs.py:worker", "'jobs.py:worker' names a file: pass its module, such as jobs:worker"),
        ("./src/jobs.py:good", "names a file: pass its module, such as src.jobs:good"),
        (
            "deep:worker",
            "no module deep in {cwd}, installed, or on PYTHONPATH; it is in src/: start smith there, or set PYTHONPATH=src",
        ),
        ("nobody:worker", "no module nobody in {cwd}, installed, or on PYTHONPATH; start smith in the directory that holds it"),
        ("jobs:god", "module jobs has no attribute god; workers at its top level: good, several, silent, make_one"),
        ("jobs:silent", "jobs:silent: the worker of executor-fs-read has no handler: decorate one with @worker.handler"),
        (
            "jobs:number",
            "jobs:number is an int, not a Worker or an Admission: pass one, a list of them, or a function without arguments",
        ),
        ("jobs:none", "jobs:none is None, not a Worker"),
        ("jobs:bus", "jobs:bus is an AsyncSmithBus, not a Worker"),
        ("jobs:empty", "jobs:empty is empty"),
        ("jobs:mixed", "jobs:mixed contains an int, not a Worker"),
        ("jobs:Worker", "jobs:Worker is the class Worker that needs arguments (bus, spec)"),
        ("jobs:nothing", "jobs:nothing returned None, not a Worker"),
        ("jobs:a_list", "jobs:a_list returned a list with a str, not a Worker"),
        ("jobs:no_list", "jobs:no_list returned an empty list"),
        ("jobs:with_argument", "jobs:with_argument is a function that needs arguments (config): pass a Worker"),
        ("jobs:generator", "jobs:generator is a generator: decorate it with @contextlib.contextmanager"),
        ("jobs:async_generator", "jobs:async_generator is a generator: decorate it with @contextlib.asynccontextmanager"),
        ("jobs:yields_a_bus", "jobs:yields_a_bus returned an AsyncSmithBus, not a Worker"),
    ],
)
def test_a_mistake_is_named_with_what_was_found(here: Path, target: str, says: str) -> None:
    with pytest.raises(OptionsError) as raised, contextlib.ExitStack() as closing:
        load([target], AsyncHost(closing, SimpleQueue()))
    assert says.format(cwd=here) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("target", "status", "says", "frames"),
    [
        ("jobs:raises", 1, "jobs:raises failed: KeyError: 'missing'", 1),
        ("jobs:misuses", 2, "jobs:misuses failed: OptionsError: Worker.concurrency=0", 1),
        ("broken:worker", 1, "broken cannot be imported: NameError: name 'undefined' is not defined", 2),
        ("wrong:worker", 1, "wrong cannot be imported: SyntaxError", 0),
        ("script:worker", 1, "script ends the process when it is imported: SystemExit: 3", 1),
    ],
)
def test_an_error_of_the_users_code_shows_the_users_frames(here: Path, target: str, status: int, says: str, frames: int) -> None:
    with pytest.raises(NotLoaded) as raised, contextlib.ExitStack() as closing:
        load([target], AsyncHost(closing, SimpleQueue()))
    assert str(raised.value).startswith(says)
    assert raised.value.status == status
    shown = [line for line in traceback.format_exception(raised.value.cause) if line.startswith('  File "')]
    assert len([line for line in shown if ", in " in line]) == frames
    assert all(str(here) in line for line in shown)
