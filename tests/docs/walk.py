"""Follows pages as a newcomer does: `python walk.py WHEEL PAGE...`.

Each page gets a new virtual environment that has what its own `pip install` lines say and nothing
else, and a new directory; then `page_runner.py` carries out its steps there. Standard library only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from doc_blocks import Block, checked_blocks, shell_lines, steps, words

RUNNER = Path(__file__).with_name("page_runner.py")
PROJECT = "smith-sdk"


def installed(blocks: list[Block], wheel: Path) -> list[str]:
    """The requirements of a page's `pip install` lines, with `wheel` in place of the project."""
    found: list[str] = []
    for block in blocks:
        for line in shell_lines(block.code) if block.is_shell else ():
            if words(line)[:2] == ["pip", "install"]:
                found += [one.replace(PROJECT, str(wheel), 1) if one.startswith(PROJECT) else one for one in words(line)[2:]]
    return found


def follow(page: Path, wheel: Path, directory: Path) -> int:
    blocks = checked_blocks(page.read_text())
    requirements = installed(blocks, wheel)
    if not requirements:
        print(f"{page}: no `pip install` line: a newcomer would not know what to install")
        return 1
    home = directory / "home"
    home.mkdir()
    venv.create(directory / "venv", with_pip=True, symlinks=True)
    scripts = directory / "venv" / "bin"
    subprocess.run([scripts / "python", "-m", "pip", "install", "--quiet", *requirements], check=True)
    (directory / "steps.json").write_text(json.dumps(steps(blocks)))
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("NATS_", "SMITH_", "PYTHON", "VIRTUAL_ENV"))
    }
    path = f"{scripts}{os.pathsep}{kept['PATH']}"
    return subprocess.run(
        [scripts / "python", RUNNER, directory / "steps.json"],
        cwd=home,
        env={**kept, "HOME": str(home), "PATH": path, "COLUMNS": "120"},
        check=False,
    ).returncode


def main(wheel: str, *pages: str) -> int:
    failed = 0
    for page in pages:
        began = time.monotonic()
        directory = Path(tempfile.mkdtemp(prefix="smith-walk-"))
        try:
            status = follow(Path(page).resolve(), Path(wheel).resolve(), directory)
        finally:
            shutil.rmtree(directory)
        print(f"{page}: {'failed' if status else 'every step holds'} ({time.monotonic() - began:.0f} s)", flush=True)
        failed += status != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
