# generated from subjects.toml by smith-codegen; do not edit
# fmt: off
# isort: skip_file
# ruff: noqa
# ruff: noqa: PGH004
# mypy: allow-any-decorated, allow-any-explicit, allow-any-expr
# mypy: disable-error-code="explicit-override, redundant-expr"
# pyright: reportCallInDefaultInitializer=false, reportImplicitOverride=false, reportImportCycles=false
# pyright: reportMissingSuperCall=false, reportPrivateUsage=false, reportUnknownVariableType=false
# pyright: reportUnnecessaryIsInstance=false, reportUnusedFunction=false
"""What an intent asks for; selects its payload."""

from ..protocol._capability import _every as all
from ..protocol._capability import archive_read_v1 as archive_read_v1
from ..protocol._capability import bench_report_v1 as bench_report_v1
from ..protocol._capability import fs_read_v1 as fs_read_v1
from ..protocol._capability import fs_write_v1 as fs_write_v1
from ..protocol._capability import git_clone_v1 as git_clone_v1
from ..protocol._capability import http_fetch_v1 as http_fetch_v1
from ..protocol._capability import shell_exec_v1 as shell_exec_v1
from ..protocol._capability import sqlite_query_v1 as sqlite_query_v1

__all__ = [
    "all",
    "archive_read_v1",
    "bench_report_v1",
    "fs_read_v1",
    "fs_write_v1",
    "git_clone_v1",
    "http_fetch_v1",
    "shell_exec_v1",
    "sqlite_query_v1",
]
