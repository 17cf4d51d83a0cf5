"""YAML in the pages is YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from doc_blocks import code_blocks

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    pytest.param(block.code, id=f"{file.stem}-{block.line}")
    for file in FILES
    for block in code_blocks(file.read_text())
    if block.language in ("yaml", "yml")
]


@pytest.mark.parametrize("code", BLOCKS)
def test_a_block_of_yaml_can_be_read(code: str) -> None:
    assert all(isinstance(one, dict) for one in yaml.safe_load_all(code))
