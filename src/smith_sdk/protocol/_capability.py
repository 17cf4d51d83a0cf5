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
"""The values of the token `capability`, each bound to the payload that it selects."""

from __future__ import annotations

from typing import Any as _Any, Final as _Final

from smith_sdk.contract import Cap as _Cap

from ._intent import (
    ArchiveReadV1Intent,
    BenchReportV1Intent,
    Capability,
    FsReadV1Intent,
    FsWriteV1Intent,
    GitCloneV1Intent,
    HttpFetchV1Intent,
    ShellExecV1Intent,
    SqliteQueryV1Intent,
)

fs_read_v1: _Final[_Cap[FsReadV1Intent]] = FsReadV1Intent.SELECTOR
fs_write_v1: _Final[_Cap[FsWriteV1Intent]] = FsWriteV1Intent.SELECTOR
http_fetch_v1: _Final[_Cap[HttpFetchV1Intent]] = HttpFetchV1Intent.SELECTOR
git_clone_v1: _Final[_Cap[GitCloneV1Intent]] = GitCloneV1Intent.SELECTOR
archive_read_v1: _Final[_Cap[ArchiveReadV1Intent]] = ArchiveReadV1Intent.SELECTOR
sqlite_query_v1: _Final[_Cap[SqliteQueryV1Intent]] = SqliteQueryV1Intent.SELECTOR
bench_report_v1: _Final[_Cap[BenchReportV1Intent]] = BenchReportV1Intent.SELECTOR
shell_exec_v1: _Final[_Cap[ShellExecV1Intent]] = ShellExecV1Intent.SELECTOR

_ALL: _Final[dict[str, _Any]] = {
    cap: cap
    for cap in (
        fs_read_v1,
        fs_write_v1,
        http_fetch_v1,
        git_clone_v1,
        archive_read_v1,
        sqlite_query_v1,
        bench_report_v1,
        shell_exec_v1,
    )
}


def _every() -> tuple[Capability, ...]:
    """Every value, in the order of the spec."""
    return (
        fs_read_v1,
        fs_write_v1,
        http_fetch_v1,
        git_clone_v1,
        archive_read_v1,
        sqlite_query_v1,
        bench_report_v1,
        shell_exec_v1,
    )
