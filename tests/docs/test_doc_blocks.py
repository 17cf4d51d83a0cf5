"""The runner of the documentation's blocks, on Markdown of its own: it runs what it should and lets
nothing pass by."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from doc_blocks import (
    Block,
    MarkdownError,
    checked_blocks,
    code_blocks,
    matches,
    nox_sessions,
    programs,
    shell_lines,
    steps,
    type_check,
    write_programs,
)
from page_runner import Failed, Page, run_until_sigterm
from support import eventually, is_alive

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

````text
```python
not a block
```
````
"""


def of(*steps: tuple[str, str, str]) -> str:
    """A page with these blocks: comment, language and code of each."""
    return "\n".join(f"{f'<!-- {comment} -->' if comment else ''}\n```{info}\n{code}\n```" for comment, info, code in steps)


def test_every_block_is_found_with_its_line_and_its_comment() -> None:
    assert [block for block in checked_blocks(SAMPLE) if block.is_python] == [
        Block("python", 'print("one")\n', 4),
        Block("python", 'print("two")\n', 10, "runs until SIGTERM"),
        Block("python", 'number: int = "three"\n', 15, "fails type checking: Incompatible types in assignment"),
    ]
    assert [found.language for found in code_blocks(SAMPLE)] == ["python", "python", "python", "sh", "text"]
    assert [step["do"] for step in steps(checked_blocks(SAMPLE))] == ["python", "until sigterm", "shell"]


def test_a_comment_counts_only_directly_above() -> None:
    markdown = "<!-- runs until SIGTERM -->\nwords\n```python\npass\n```\n<!-- output -->\n```text\n```\n```python\npass\n```\n"
    assert [found.comment for found in checked_blocks(markdown)] == ["", "output", ""]


@pytest.mark.parametrize(
    ("markdown", "problem"),
    [
        ("```python\npass\n", "line 1: .*never closed"),
        ("```py\npass\n```\n", "line 1: .*not ```py"),
        ("```python no-run\npass\n```\n", "not ```python no-run"),
        ("```Python\npass\n```\n", "not ```Python"),
        ("```{.python .skip}\npass\n```\n", "not ```{"),
        ("<!-- skip -->\n```python\npass\n```\n", "line 2: no such instruction .*skip"),
        ("<!-- skip -->\n```sh\nls\n```\n", "line 2: no such instruction .*skip"),
        ("<!-- fails type checking: -->\n```python\npass\n```\n", "no such instruction"),
        ("```toml\nx = 1\n```\n", "no such instruction for a toml block"),
        ("```\npython -m x\n```\n", "no such instruction"),
        ("<!-- continues -->\n```python\npass\n```\n", "line 2: there is no Python block"),
        (of(("fails type checking: x", "python", "pass"), ("continues", "python", "pass")), "no Python block"),
        (of(("file: a.toml", "toml", ""), ("output", "text", "")), "not one that prints"),
        (of(("output", "text", "")), "not one that prints"),
    ],
)
def test_no_block_can_be_passed_by(markdown: str, problem: str) -> None:
    with pytest.raises(MarkdownError, match=problem):
        checked_blocks(markdown)


def test_the_sessions_of_a_command_line() -> None:
    (line,) = [line for block in code_blocks(SAMPLE) if block.is_shell for line in shell_lines(block.code)]
    assert nox_sessions(line) == ["tests", "lint"]
    assert nox_sessions("nox -s demo -- --json") == ["demo"]
    assert nox_sessions("nox --session demo && ls -s words") == ["demo"]
    assert nox_sessions("ls -s words") == []


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a  b\nc", "a b\nc\n", True),
        ("a ... c", "a b c", True),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("...\na\n...", "a", True),
        ("a ... d", "a b\nc d", False),
        ("a", "a\nb", False),
        ("a ... d", "a b c", False),
        ("a.c", "abc", False),
    ],
)
def test_printed_text_is_compared(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same


# ---- carrying steps out; no server is needed for these


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return Page("nats://127.0.0.1:1")


def carry_out(page: Page, *blocks: tuple[str, str, str]) -> None:
    for step in steps(checked_blocks(of(*blocks))):
        page.do(step)


def test_a_page_is_carried_out_step_by_step(page: Page) -> None:
    carry_out(
        page,
        ("file: planted_words.py", "python", "WORD = 'planted'"),
        ("", "python", "import planted_words\nprint(planted_words.WORD)"),
        ("output", "text", "planted"),
        ("continues", "python", "print(planted_words.WORD * 2, __name__)"),
        ("output", "text", "plantedplanted __main__"),
        ("", "sh", "export PLANTED=yes\npython -c 'import os; print(os.environ[\"PLANTED\"])'"),
        ("output", "text", "yes"),
        ("exit status 3", "sh", "python -c 'raise SystemExit(3)'"),
        ("", "sh", "pip install 'smith-sdk[server,cli]'\nnox -s lint"),
    )
    del sys.modules["planted_words"], os.environ["PLANTED"]


@pytest.mark.parametrize(
    ("blocks", "problem"),
    [
        ([("", "python", "raise RuntimeError('planted')")], "planted"),
        ([("", "python", "raise SystemExit(4)")], "exit status 4"),
        ([("", "python", "one = 1"), ("", "python", "print(one)")], "NameError"),
        ([("", "python", "print('one')"), ("output", "text", "two")], "(?s)the page says.*two.*printed.*one"),
        ([("", "sh", "python -c 'raise SystemExit(3)'")], "exit status 3, not 0"),
        ([("exit status 3", "sh", "python -c 'pass'")], "exit status 0, not 3"),
        ([("exit status 3", "sh", "python -c 'raise SystemExit(3)'\npython -c 'raise SystemExit(3)'")], "exit status 3, not 0"),
        ([("", "sh", "teleport now")], "does not know how to run teleport"),
        ([("", "sh", "pip install 'smith-sdk[teleport]'")], "no extra teleport"),
        ([("", "sh", "pip install requests")], "only this project"),
        ([("", "sh", "nox -s teleport")], "no session teleport"),
        ([("", "sh", "smith teleport")], "exit status 2"),
        ([("", "sh", "smith-codegen teleport.toml out")], "teleport.toml"),
    ],
)
def test_a_step_that_fails_is_seen(page: Page, blocks: list[tuple[str, str, str]], problem: str) -> None:
    with pytest.raises(Failed, match=problem):
        carry_out(page, *blocks)


def test_a_traceback_has_the_line_of_the_page(page: Page) -> None:
    with pytest.raises(Failed, match=r'File "page", line 4'):
        carry_out(page, ("", "python", "pass\nraise RuntimeError"))


UNTIL_SIGTERM = """
import pathlib, signal, sys, time
def end(*_):
    print("drained")
    sys.exit({status})
signal.signal(signal.SIGTERM, {handler})
pathlib.Path("ready").touch()
time.sleep(60)
"""


def until_sigterm(directory: Path, code: str, *, timeout: float = 20, begins: Callable[[], object] = str) -> str:
    """`begins` waits for the program, without a share of `timeout`."""
    program = directory / "program.py"
    program.write_text(f"import os; os.chdir({str(directory)!r})\n{code}")

    def is_ready(printed: str) -> bool:
        begins()
        return (directory / "ready").exists()

    return run_until_sigterm([sys.executable, str(program)], is_ready=is_ready, timeout=timeout)


def test_a_program_for_ever_ends_by_sigterm(tmp_path: Path) -> None:
    assert until_sigterm(tmp_path, UNTIL_SIGTERM.format(status=0, handler="end")) == "drained\n"


@pytest.mark.parametrize(
    ("code", "problem", "timeout"),
    [
        (UNTIL_SIGTERM.format(status=4, handler="end"), "(?s)exit status 4 after SIGTERM.*drained", 20),
        ("print('planted')", "(?s)ended before it was ready.*planted", 20),
        ("import time; time.sleep(60)", "not ready after 1 s", 1),
    ],
    ids=["ends badly", "ends by itself", "is never ready"],
)
def test_a_program_that_does_not_run_until_sigterm_is_seen(tmp_path: Path, code: str, problem: str, timeout: float) -> None:
    with pytest.raises(Failed, match=problem):
        until_sigterm(tmp_path, code, timeout=timeout)


def test_a_program_that_ignores_sigterm_is_seen(tmp_path: Path) -> None:
    code = UNTIL_SIGTERM.format(status=0, handler="signal.SIG_IGN")
    with pytest.raises(Failed, match="still running 1 s after SIGTERM"):
        until_sigterm(tmp_path, code, timeout=1, begins=lambda: eventually((tmp_path / "ready").exists))


def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    code = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path("pid").write_text(str(child.pid))
time.sleep(60)
"""
    pid = tmp_path / "pid"
    with pytest.raises(Failed, match="not ready"):
        until_sigterm(tmp_path, code, timeout=0, begins=lambda: eventually(lambda: pid.exists() and pid.read_text()))
    eventually(lambda: not is_alive(int(pid.read_text())))


# ---- types


def test_type_checking_tells_good_from_bad_and_knows_what_continues(tmp_path: Path, mypy_cache: Callable[[str], str]) -> None:
    markdown = of(
        ("", "python", "number: int = 3"),
        ("continues", "python", "print(number + 1)"),
        ("", "python", 'number: int = "three"'),
        ("file: planted_module.py", "python", "WORD = 'planted'"),
        ("", "python", "from planted_module import WORD\n\nprint(WORD + 1)"),
    )
    written = write_programs("page", checked_blocks(markdown), tmp_path)
    outcome = type_check(list(written), tmp_path, mypy_cache("strict"))
    assert outcome.status == 1
    assert "page_line_10.py:1: error: Incompatible types in assignment" in outcome.output
    assert 'page_line_18.py:3: error: Unsupported operand types for + ("str" and "int")' in outcome.output
    assert outcome.output.count("error:") == 2


def test_two_blocks_cannot_be_one_file(tmp_path: Path) -> None:
    with pytest.raises(MarkdownError, match=r"another block is written to a\.py"):
        write_programs("page", checked_blocks(of(("file: a.py", "python", ""), ("file: a.py", "python", ""))), tmp_path)


def test_programs_are_joined_with_what_continues_them() -> None:
    blocks = checked_blocks(of(("", "python", "a = 1"), ("continues", "python", "b = a"), ("", "python", "c = 2")))
    assert [text for _, text in programs(blocks)] == ["a = 1\n\nb = a\n", "c = 2\n"]
