"""The names of `smith_sdk`: what checkers see, what Python finds, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest

import smith_sdk
from smith_sdk import protocol


def test_checkers_and_python_see_the_same_names() -> None:
    tree = ast.parse(Path(smith_sdk.__file__).read_text())
    (branch,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {}
    for node in branch.body:
        assert isinstance(node, ast.ImportFrom)
        seen.update({alias.name: f".{node.module or ''}" for alias in node.names})
    assert sorted(seen) == sorted(smith_sdk.__all__) == smith_sdk.__all__ == dir(smith_sdk)
    for name, module in seen.items():
        there = import_module(module, "smith_sdk") if module != "." else smith_sdk
        assert getattr(smith_sdk, name) is getattr(there, name)


def test_no_name_is_also_one_of_the_protocol() -> None:
    """`from smith_sdk import *` and `from smith_sdk.protocol import *` may stand in one file."""
    assert set(smith_sdk.__all__).isdisjoint(protocol.__all__)


def test_the_version_is_the_distribution_s() -> None:
    assert smith_sdk.__version__ == metadata.version("smith-sdk")
    assert any(url.startswith("Homepage, https://") for url in metadata.metadata("smith-sdk").get_all("Project-URL") or [])


def test_a_misspelt_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match=r"'smith_sdk' has no attribute 'SmithBuss'"):
        _ = smith_sdk.SmithBuss  # type: ignore[attr-defined]


def test_importing_it_imports_neither_nats_nor_asyncio() -> None:
    script = "import sys, smith_sdk; print(sorted({'nats', 'asyncio', 'smith_sdk.aio', 'smith_sdk.protocol'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True).stdout == "[]\n"
