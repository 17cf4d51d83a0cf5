"""Carries out the steps of one page, in order, in one process and against one server: `python
page_runner.py STEPS.json`.

It works in the current directory. The first step that fails ends it: what went wrong is printed,
and the exit status is 1. What a reader would start by its name runs here too where that is the same
thing: `smith` and `smith-codegen` are called as their entry points call them. Programs that run
until SIGTERM, pytest and git are processes of their own.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from doc_blocks import matches, nox_sessions, words

ROOT = Path(__file__).parents[2]
DEADLINE = 40.0
"""Seconds for one command, and for each half of one that runs until SIGTERM."""
_GIT = ["git", "-c", "user.name=reader", "-c", "user.email=reader@example.com", "-c", "init.defaultBranch=main"]
_PROFILED = ("plan", "apply", "verify")


class Failed(Exception):
    """A step did not do what its page says."""


class Page:
    """The state of a page between its steps: what was printed last, and the names of the program
    that may be continued."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.printed = ""
        self.names: dict[str, Any] = {}

    def do(self, step: dict[str, Any]) -> None:
        match step["do"]:
            case "python":
                self.names = {"__name__": "__main__"}
                self.python(step)
            case "continue":
                self.python(step)
            case "until sigterm":
                Path("program.py").write_text(step["code"])
                self.printed = self.until_sigterm([sys.executable, "program.py"])
            case "file":
                self.file(step["name"], step["code"])
            case "shell":
                self.shell(step)
            case "output":
                if not matches(step["code"], self.printed):
                    raise Failed(f"the page says\n{step['code']}\nbut it printed\n{self.printed}")

    def python(self, step: dict[str, Any]) -> None:
        """Run a block at its own line numbers, on the main thread, as a script would run."""
        code = compile("\n" * step["line"] + step["code"], "page", "exec", dont_inherit=True)
        with captured() as output:
            try:
                exec(code, self.names)
            except SystemExit as end:
                if end.code not in (None, 0):
                    raise Failed(f"exit status {end.code}\n{output.getvalue()}") from None
            except BaseException:
                raise Failed(f"{traceback.format_exc()}\n{output.getvalue()}") from None
        self.printed = output.getvalue()

    def file(self, name: str, code: str) -> None:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        if path.suffix == ".py" and not path.name.startswith("test_"):
            importlib.invalidate_caches()
            importlib.import_module(path.stem)

    # ---- shell

    def shell(self, step: dict[str, Any]) -> None:
        self.printed = ""
        for number, line in enumerate(step["lines"], 1):
            if step["sigterm"]:
                self.printed += self.until_sigterm(self.program(words(line)))
                continue
            status, printed = self.command(line)
            self.printed += printed
            wanted = step["status"] if number == len(step["lines"]) else 0
            if status != wanted:
                raise Failed(f"{line}: exit status {status}, not {wanted}\n{printed}")

    def command(self, line: str) -> tuple[int, str]:
        given = words(line)
        if nox_sessions(line):
            return self.nox(line)
        match given[0]:
            case "smith":
                return in_process(smith, given[1:])
            case "smith-codegen":
                return in_process(smith_codegen, given[1:])
            case "pip":
                return self.pip(given)
            case "export":
                name, _, value = given[1].partition("=")
                # the page's server has another port
                os.environ[name] = self.url if value == "nats://127.0.0.1:4222" else value
                return 0, ""
            case "git" | "mkdir" | "touch" | "sed" | "pytest" | "python":
                return self.process(self.program(given))
            case _:
                raise Failed(f"{line}: this runner does not know how to run {given[0]}")

    def program(self, given: list[str]) -> list[str]:
        """The arguments that start what a reader starts by its name, on this Python."""
        match given[0]:
            case "git":
                return [*_GIT, *given[1:]]
            case "mkdir" | "touch" | "sed":
                return given
            case "smith":
                return [sys.executable, "-m", "smith_sdk.cli", *given[1:]]
            case "python":
                return [sys.executable, *given[1:]]
            case name:
                return [sys.executable, "-m", name, *given[1:]]

    def process(self, command: list[str]) -> tuple[int, str]:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        return done.returncode, done.stdout

    def until_sigterm(self, command: list[str]) -> str:
        def is_ready(printed: str) -> bool:
            # `smith dev`, `smith monitor`, or a worker
            return "export SMITH_NATS_URL=" in printed or "smith_sdk.cli: watching" in printed or a_pull_waits(self.url)

        return run_until_sigterm(command, is_ready=is_ready, timeout=DEADLINE)

    def nox(self, line: str) -> tuple[int, str]:
        """A session is not run here: CI runs it. It has to exist."""
        missing = set(nox_sessions(line)) - declared_sessions()
        return (1, f"noxfile.py declares no session {', '.join(missing)}") if missing else (0, "")

    def pip(self, given: list[str]) -> tuple[int, str]:
        """Nothing is installed here: `nox -s walk` does that. The extras have to exist, and what is
        not ours has to be in the group that the tests have installed."""
        declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
        project, groups = declared["project"], declared["dependency-groups"]
        others = {
            re.split(r"[^\w-]", one)[0]
            for group in ("test", "notebook", "web", "typing")
            for one in groups[group]
            if isinstance(one, str)
        }
        for requirement in given[2:]:
            if requirement in others:
                continue
            extras = re.fullmatch(rf"{project['name']}(?:\[([\w,]+)\])?", requirement)
            if given[1] != "install" or extras is None:
                return 1, f"{shlex.join(given)}: only this project and the tests' own libraries are installed"
            unknown = set(filter(None, (extras[1] or "").split(","))) - set(project["optional-dependencies"])
            if unknown:
                return 1, f"there is no extra {', '.join(unknown)}"
        return 0, ""


def run_until_sigterm(command: list[str], *, is_ready: Callable[[str], bool], timeout: float) -> str:
    """Run a program until `is_ready(what it printed)`, send SIGTERM, wait for its end; what it
    printed.

    `timeout` is in seconds, for each of the two. Raises `Failed` where it ends before, is not ready
    in time, does not end, or ends with another status than 0.
    """
    with tempfile.TemporaryFile("w+") as output:

        def printed() -> str:
            output.seek(0)
            return output.read()

        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output.fileno(),
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what it starts can be ended with it
        )
        try:
            deadline = time.monotonic() + timeout
            while not is_ready(printed()):
                if process.poll() is not None:
                    raise Failed(f"ended before it was ready:\n{printed()}")
                if time.monotonic() >= deadline:
                    raise Failed(f"not ready after {timeout:g} s:\n{printed()}")
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise Failed(f"still running {timeout:g} s after SIGTERM:\n{printed()}") from None
            if process.returncode != 0:
                raise Failed(f"exit status {process.returncode} after SIGTERM:\n{printed()}")
            return printed()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def a_pull_waits(url: str) -> bool:
    """Whether a consumer has a pull request waiting: a worker is at work."""
    from smith_sdk import SmithBus

    with SmithBus(url) as bus:
        return any(consumer.num_waiting for stream in bus.streams.info() for consumer in stream.consumers)


def declared_sessions() -> set[str]:
    """Names of the functions that noxfile.py declares as sessions."""
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {function.name for function in functions if any("nox.session" in ast.unparse(d) for d in function.decorator_list)}


def in_process(main: Callable[[list[str]], int], arguments: list[str]) -> tuple[int, str]:
    with captured() as output:
        try:
            status = main(arguments)
        except SystemExit as end:  # argparse
            status = end.code if isinstance(end.code, int) else 1
    return status, output.getvalue()


def smith(arguments: list[str]) -> int:
    from smith_sdk.cli.app import run

    if arguments[:1] == ["streams"] and arguments[1] in _PROFILED and "--profile" not in arguments:
        arguments = [*arguments, "--profile", "dev"]  # the default wants three servers
    return run(arguments)


def smith_codegen(arguments: list[str]) -> int:
    from smith_codegen.cli import main

    return main(arguments)


@contextlib.contextmanager
def captured() -> Iterator[io.StringIO]:
    """Standard output and error together, as a terminal shows them; standard input is empty."""
    output = io.StringIO()
    stdin, sys.stdin = sys.stdin, io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            yield output
    finally:
        sys.stdin = stdin


def main(file: str) -> int:
    from smith_sdk import SmithBus
    from smith_sdk.embedded import EmbeddedServer

    sys.path.insert(0, os.getcwd())  # as for a script in this directory
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("the page took too long"))
    with EmbeddedServer() as server:
        os.environ["SMITH_NATS_URL"] = server.url
        os.environ.setdefault("XDG_CONFIG_HOME", str(Path("config").absolute()))  # where `smith dev` writes a context
        with SmithBus(server.url, manage="apply", profile="dev"):
            pass
        page = Page(server.url)
        for step in json.loads(Path(file).read_text()):
            try:
                page.do(step)
            except Failed as failure:
                print(f"line {step['line']}: {failure}")
                return 1
            except subprocess.TimeoutExpired as error:
                print(f"line {step['line']}: {error}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
