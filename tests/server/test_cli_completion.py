"""`smith completion`: the script is loaded by a real bash, which completes with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli import Smith

_COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
$(complete -p smith | sed -E 's/.*-F ([^ ]+) .*/\\1/') smith "${@: -1}" "${@: -2:1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def smith(capsys: pytest.CaptureFixture[str]) -> Smith:
    return Smith(capsys)


@pytest.fixture
def script(smith: Smith, tmp_path: Path) -> Path:
    file = tmp_path / "smith.bash"
    file.write_text(smith("completion", "bash").out)
    return file


def completed(script: Path, *words: str) -> set[str]:
    """What bash offers for the last of `words`."""
    bash = shutil.which("bash")
    assert bash is not None
    command = [bash, "--norc", "-c", _COMPLETE, "bash", str(script), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=script.parent)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_completes_commands_options_and_files(script: Path) -> None:
    assert {"streams", "dlq", "execute", "publish", "completion"} <= completed(script, "smith", "")
    assert completed(script, "smith", "str") == {"streams"}
    assert completed(script, "smith", "dlq", "re") == {"replay"}
    assert {"--context", "--creds", "--nkey", "--tlsca"} <= completed(script, "smith", "consumers", "ls", "--")
    assert completed(script, "smith", "dlq", "replay", "--in-doubt", "k") == {"keep"}
    (script.parent / "user.creds").touch()
    assert completed(script, "smith", "streams", "ls", "--creds", "us") == {"user.creds"}


def test_every_shell_has_a_script_and_it_is_installed_where_the_shell_looks(
    smith: Smith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "group-by" in smith("completion", shell).out
        assert smith.status == 0
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert smith("completion").status == 1
    assert "tcsh" in smith.err
    environment = {**os.environ, "HOME": str(tmp_path), "SHELL": "/bin/bash"}
    command = [sys.executable, "-m", "smith_sdk.cli", "--install-completion"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=True)
    file = Path(done.stdout.strip())
    assert file.is_relative_to(tmp_path)
    assert completed(file, "smith", "cons") == {"consumers"}
