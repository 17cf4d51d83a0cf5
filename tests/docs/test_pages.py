"""README.md and the pages of docs/ are true: every block does what the page says, and every link
leads somewhere."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from doc_blocks import Block, checked_blocks, nox_sessions, shell_lines, steps, type_check, words, write_programs
from page_runner import declared_sessions

from smith_codegen.cli import main as generate

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
FILES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = {str(file.relative_to(ROOT)): file for file in FILES}
RUNNER = Path(__file__).with_name("page_runner.py")
DEADLINE = 100.0  # seconds for one page; some ten on a machine that has nothing else to do

NEWCOMERS_LINES = 200
"""So long may README.md be at most: it is one page for a newcomer, and the rest stands in docs/."""


def blocks_of(page: str) -> list[Block]:
    return checked_blocks(PAGES[page].read_text())


FIRST = ("README.md", "docs/tutorial.md")
"""What newcomers run is run with all other tests, the how-to pages by `nox -s pages`."""
RUNNING = [page if page in FIRST else pytest.param(page, marks=pytest.mark.pages) for page in PAGES if steps(blocks_of(page))]


def lines_of(page: str) -> list[str]:
    return [line for block in blocks_of(page) if block.is_shell for line in shell_lines(block.code)]


@pytest.mark.timeout(DEADLINE + 20)
@pytest.mark.parametrize("page", RUNNING)
def test_every_block_of_the_page_runs(page: str, tmp_path: Path, mypy_cache: Callable[[str], str]) -> None:
    plan = tmp_path / "steps.json"
    plan.write_text(json.dumps(steps(blocks_of(page))))
    directory = tmp_path / "reader"
    directory.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NATS_", "SMITH_"))}
    process = subprocess.Popen(
        [sys.executable, str(RUNNER), str(plan)],
        cwd=directory,
        env={**environment, "COLUMNS": "120", "MYPY_CACHE_DIR": mypy_cache("strict")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        process.terminate()  # it ends the programs that it has started
        output, _ = process.communicate(timeout=30)
        pytest.fail(f"still running after {DEADLINE:g} s:\n{output}")
    assert process.returncode == 0, output


@pytest.mark.timeout(DEADLINE + 20)
def test_mypy_accepts_every_block_but_those_that_it_must_refuse(tmp_path: Path, mypy_cache: Callable[[str], str]) -> None:
    written: dict[Path, tuple[str, Block]] = {}
    for page in PAGES:
        blocks = blocks_of(page)
        name = page.removesuffix(".md").replace("/", "_").replace("-", "_").lower()
        for file, block in write_programs(name, blocks, tmp_path).items():
            written[file] = (page, block)
        generate_packages(blocks, tmp_path)
    outcome = type_check(list(written), tmp_path, mypy_cache("strict"))
    found: dict[str, list[str]] = {}
    for line in outcome.output.splitlines():
        found.setdefault(line.partition(":")[0], []).append(line)
    for file, (page, block) in written.items():
        printed = "\n".join(found.pop(file.name, []))
        if block.type_error:
            assert ": error: " in printed, f"{page}, line {block.line}: mypy lets it pass"
            assert block.type_error in printed, f"{page}, line {block.line}:\n{printed}"
        else:
            assert not printed, f"{page}, line {block.line}:\n{printed}"
    assert not found, outcome.output


def generate_packages(blocks: list[Block], directory: Path) -> None:
    """The packages that a page generates from its specs: its Python may import them."""
    specs = {block.file: block.code for block in blocks if block.file.endswith(".toml") and "[spec]" in block.code}
    for line in (line for block in blocks if block.is_shell for line in shell_lines(block.code)):
        given = words(line)
        if given[0] == "smith-codegen" and given[1] in specs and "--check" not in given:
            (directory / given[1]).write_text(specs[given[1]])
            assert generate([str(directory / given[1]), str(directory / Path(given[2]).name)]) == 0


def test_the_readme_shows_the_error_that_mypy_prints() -> None:
    """`test_mypy_accepts_every_block_but_those_that_it_must_refuse` has mypy print it."""
    refused = [pair for pair in itertools.pairwise(blocks_of("README.md")) if pair[0].type_error]
    assert refused
    for block, shown in refused:
        assert shown.language == "text"
        assert shown.code.strip() == block.type_error


def test_every_nox_session_that_a_page_names_exists() -> None:
    named = {name for page in PAGES for line in lines_of(page) for name in nox_sessions(line)}
    assert {"demo", "tests"} <= named
    assert named <= declared_sessions()


def test_the_readme_is_one_page_for_a_newcomer() -> None:
    lines = lines_of("README.md")
    assert "python -m pip install nox && nox -s demo" in lines
    assert "python -m pip install nox && nox -s tests" in lines
    programs = [block for block in blocks_of("README.md") if block.is_python]
    assert any(block.runs_until_sigterm for block in programs)
    assert any(block.type_error for block in programs)
    assert any(not block.comment for block in programs)
    assert len(README.read_text().splitlines()) <= NEWCOMERS_LINES


def test_every_module_that_the_architecture_names_exists() -> None:
    text = PAGES["docs/architecture.md"].read_text()
    names = set(re.findall(r"\b(?:_core|aio|sync|cli|tests)/[\w/]+(?:\.py)?", text))
    assert len(names) > 12
    for name in names:
        where = ROOT if name.startswith("tests/") else ROOT / "src" / "smith_sdk"
        assert (where / name).exists() or (where / f"{name}.py").exists(), name


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    text = re.sub(r"^(`{3,}).*?^\1", "", PAGES[page].read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        file = (PAGES[page].parent / path).resolve() if path else PAGES[page]
        # The reference exists in the built site only, to which README.md does not belong.
        generated = page != "README.md" and file.parent == ROOT / "docs" / "reference"
        assert generated or file.exists(), target
        if anchor and not generated:
            assert anchor in anchors(file), target


def anchors(file: Path) -> set[str]:
    """The headings of a page, as its links name them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    named = re.findall(r"\{ *#([\w.-]+) *\}", file.read_text())
    return {*named, *(re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings)}
