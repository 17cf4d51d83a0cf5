"""What `smith` imports: a command line that only asks for the version or for help costs little."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SHOW = "from smith_sdk.cli import main\ntry: main()\nfinally: print(*sys.modules, sep=chr(10), file=sys.stderr)"
SLOW = {"cyclopts", "rich", "msgspec", "nats", "asyncio", "ssl", "typing", "importlib.metadata", "re", "json"}
"""The libraries and the modules of Python that take long to import."""
FACES = {"smith_sdk.aio", "smith_sdk.sync", "smith_sdk.contract", "smith_sdk._core.connection", "nats"}


def imported(*arguments: str) -> set[str]:
    """The modules that a command line has imported at its end."""
    command = [sys.executable, "-X", "frozen_modules=on", "-I", "-S", "-c", f"{_PATH}{_SHOW}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return set(done.stderr.split())


# Without `site`, so that nothing of the environment is imported, such as coverage.py.
_PATH = f"import sys; sys.path[:] = {sys.path!r}\n"


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("-h",), ()])
def test_version_and_help_import_next_to_nothing(arguments: tuple[str, ...]) -> None:
    found = imported(*arguments)
    assert found & SLOW == set()
    assert {name for name in found if name.startswith("smith_sdk")} == {
        "smith_sdk",
        "smith_sdk._lazy_names",
        "smith_sdk.cli",
        "smith_sdk.cli.commands",
    }


@pytest.mark.parametrize("command", ["streams", "consumers", "dlq", "dev", "codegen", "execute", "top", "publish", "completion"])
def test_help_of_a_command_imports_no_face(command: str) -> None:
    found = imported(command, "--help")
    assert "cyclopts" in found
    assert found & FACES == set()


def test_every_command_is_in_the_help_with_a_line_that_fits() -> None:
    from smith_sdk.cli.app import app
    from smith_sdk.cli.commands import COMMANDS, HELP

    assert {name for name in app if not name.startswith("-")} == set(COMMANDS)
    assert max(map(len, HELP.splitlines())) <= 80
    for name in COMMANDS:
        assert app[name].help, f"{name} has no help of its own"
