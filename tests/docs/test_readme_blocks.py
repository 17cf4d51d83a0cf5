"""The runner of the README's blocks, on Markdown of its own: it runs what it should and lets nothing pass by."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from readme_blocks import (
    Block,
    MarkdownError,
    code_blocks,
    nox_sessions,
    python_blocks,
    run,
    run_until_sigterm,
    shell_lines,
    type_check,
)

SAMPLE = """
Words, and `inline` code.

```python
print("one")
```

<!-- runs until SIGTERM -->

```python
print("two")
```

<!-- fails type checking: Incompatible types in assignment -->
```python
number: int = "three"
```

- in a list:

  ~~~sh
  $ python -m pip install nox && nox -s tests lint -- -x   # words
  # only words
  ~~~

````markdown
```python
not a block
```
````
"""


def block(code: str) -> Block:
    return Block("python", code, 1)


def test_every_block_is_found_with_its_line_and_its_comment() -> None:
    assert python_blocks(SAMPLE) == [
        Block("python", 'print("one")\n', 4),
        Block("python", 'print("two")\n', 10, "runs until SIGTERM"),
        Block("python", 'number: int = "three"\n', 15, "fails type checking: Incompatible types in assignment"),
    ]
    assert [found.language for found in code_blocks(SAMPLE)] == ["python", "python", "python", "sh", "markdown"]


def test_a_comment_counts_only_directly_above() -> None:
    markdown = (
        "<!-- runs until SIGTERM -->\nwords\n```python\npass\n```\n<!-- runs until SIGTERM -->\n```\n```\n```python\npass\n```\n"
    )
    assert [found.comment for found in python_blocks(markdown)] == ["", ""]


@pytest.mark.parametrize(
    ("markdown", "problem"),
    [
        ("```python\npass\n", "line 1: .*never closed"),
        ("```py\npass\n```\n", "line 1: .*not ```py"),
        ("```python no-run\npass\n```\n", "not ```python no-run"),
        ("```Python\npass\n```\n", "not ```Python"),
        ("```{.python .skip}\npass\n```\n", "not ```{"),
        ("<!-- skip -->\n```python\npass\n```\n", "line 2: no such instruction .*skip"),
        ("<!-- fails type checking: -->\n```python\npass\n```\n", "no such instruction"),
    ],
)
def test_no_block_can_be_passed_by(markdown: str, problem: str) -> None:
    with pytest.raises(MarkdownError, match=problem):
        python_blocks(markdown)


def test_the_sessions_of_a_command_line() -> None:
    (line,) = shell_lines(SAMPLE)
    assert nox_sessions(line) == ["tests", "lint"]
    assert nox_sessions("nox -s demo -- --json") == ["demo"]
    assert nox_sessions("nox --session demo && ls -s words") == ["demo"]
    assert nox_sessions("ls -s words") == []


def test_a_block_is_run_with_its_environment(tmp_path: Path) -> None:
    outcome = run(block("import os; print(os.environ['PLANTED'])"), tmp_path, {"PLANTED": "yes"}, timeout=20)
    assert (outcome.status, outcome.output) == (0, "yes\n")


def test_a_block_that_fails_is_seen(tmp_path: Path) -> None:
    outcome = run(block("raise RuntimeError('planted')"), tmp_path, {}, timeout=20)
    assert outcome.status == 1
    assert "planted" in outcome.output


def test_a_block_that_does_not_end_is_ended_with_all_it_started(tmp_path: Path) -> None:
    code = "import subprocess, sys; print('begun'); subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with pytest.raises(AssertionError, match=r"(?s)line 1: still running after 1 s.*begun"):
        run(block(code), tmp_path, {}, timeout=1)  # and returns: the grandchild held the pipe


UNTIL_SIGTERM = """
import pathlib, signal, sys, time
def end(*_):
    print("drained")
    sys.exit({status})
signal.signal(signal.SIGTERM, {handler})
pathlib.Path("ready").touch()
time.sleep(60)
"""


def until_sigterm(tmp_path: Path, code: str, *, timeout: float = 20) -> tuple[int, str]:
    outcome = run_until_sigterm(block(code), tmp_path, {}, is_ready=(tmp_path / "ready").exists, timeout=timeout)
    return outcome.status, outcome.output


def test_a_block_for_ever_ends_by_sigterm(tmp_path: Path) -> None:
    assert until_sigterm(tmp_path, UNTIL_SIGTERM.format(status=0, handler="end")) == (0, "drained\n")


def test_a_block_that_ends_badly_after_sigterm_is_seen(tmp_path: Path) -> None:
    assert until_sigterm(tmp_path, UNTIL_SIGTERM.format(status=4, handler="end")) == (4, "drained\n")


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (UNTIL_SIGTERM.format(status=0, handler="signal.SIG_IGN"), "still running 2 s after SIGTERM"),
        ("print('planted')", "(?s)ended before it was ready.*planted"),
        ("import time; time.sleep(60)", "not ready after 2 s"),
    ],
    ids=["ignores SIGTERM", "ends by itself", "is never ready"],
)
def test_a_block_that_does_not_run_until_sigterm_is_seen(tmp_path: Path, code: str, problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        until_sigterm(tmp_path, code, timeout=2)


def test_type_checking_tells_good_from_bad(tmp_path: Path) -> None:
    good, bad = block("number: int = 3\n"), Block("python", 'number: int = "three"\n', 15)
    assert type_check([good], tmp_path).status == 0
    outcome = type_check([good, bad], tmp_path)
    assert outcome.status == 1
    assert "Incompatible types in assignment" in outcome.output
    assert f"readme_line_{bad.line}.py:1" in outcome.output


def test_the_checkout_is_not_what_blocks_import(tmp_path: Path) -> None:
    outcome = run(block("import os, sys; print(os.getcwd(), *sys.path)"), tmp_path, {}, timeout=20)
    assert os.getcwd() not in outcome.output.split()
