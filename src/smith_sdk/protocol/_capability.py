# generated from subjects.toml by smith-codegen; do not edit
"""The values of the token `capability`, each bound to the payload that it selects."""

from __future__ import annotations

from typing import Any, Final

from smith_sdk.contract import Cap

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

fs_read_v1: Final[Cap[FsReadV1Intent]] = FsReadV1Intent.SELECTOR
fs_write_v1: Final[Cap[FsWriteV1Intent]] = FsWriteV1Intent.SELECTOR
http_fetch_v1: Final[Cap[HttpFetchV1Intent]] = HttpFetchV1Intent.SELECTOR
git_clone_v1: Final[Cap[GitCloneV1Intent]] = GitCloneV1Intent.SELECTOR
archive_read_v1: Final[Cap[ArchiveReadV1Intent]] = ArchiveReadV1Intent.SELECTOR
sqlite_query_v1: Final[Cap[SqliteQueryV1Intent]] = SqliteQueryV1Intent.SELECTOR
bench_report_v1: Final[Cap[BenchReportV1Intent]] = BenchReportV1Intent.SELECTOR
shell_exec_v1: Final[Cap[ShellExecV1Intent]] = ShellExecV1Intent.SELECTOR

ALL: Final[dict[str, Any]] = {
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


def every() -> tuple[Capability, ...]:
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
