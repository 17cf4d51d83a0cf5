"""The names of `smith_sdk`: what checkers see, what Python finds, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType

import pytest

import smith_sdk.aio
import smith_sdk.sync
from smith_sdk import protocol


@pytest.mark.parametrize("package", [smith_sdk, smith_sdk.aio, smith_sdk.sync], ids=lambda package: str(package.__name__))
def test_checkers_and_python_see_the_same_names(package: ModuleType) -> None:
    tree = ast.parse(Path(package.__file__ or "").read_text())
    (branch,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {}
    for node in branch.body:
        assert isinstance(node, ast.ImportFrom)
        seen.update({alias.name: f".{node.module or ''}" for alias in node.names})
    assert sorted(seen) == sorted(package.__all__) == package.__all__ == dir(package)
    for name, module in seen.items():
        there = import_module(module, package.__name__) if module != "." else package
        assert getattr(package, name) is getattr(there, name)


def test_no_name_is_also_one_of_the_protocol() -> None:
    """`from smith_sdk import *` and `from smith_sdk.protocol import *` may stand in one file."""
    assert set(smith_sdk.__all__).isdisjoint(protocol.__all__)


def test_the_version_is_the_distribution_s() -> None:
    assert smith_sdk.__version__ == metadata.version("smith-sdk")
    assert any(url.startswith("Homepage, https://") for url in metadata.metadata("smith-sdk").get_all("Project-URL") or [])


def test_a_misspelt_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match=r"'smith_sdk' has no attribute 'SmithBuss'"):
        _ = smith_sdk.SmithBuss  # type: ignore[attr-defined]


def test_a_bus_imports_nothing_that_only_admission_or_a_worker_needs() -> None:
    script = "import sys; from smith_sdk import AsyncSmithBus, SmithBus; print(sorted(sys.modules))"
    imported = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "'smith_sdk.sync.bus'" in imported
    assert [name for name in ("admission", "alerts", "worker", "sharded_worker") if f"'smith_sdk.aio.{name}'" in imported] == []


def test_importing_it_imports_neither_nats_nor_asyncio() -> None:
    script = "import sys, smith_sdk; print(sorted({'nats', 'asyncio', 'smith_sdk.aio', 'smith_sdk.protocol'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True).stdout == "[]\n"
