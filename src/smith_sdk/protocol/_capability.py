# generated from subjects.toml by smith-codegen; do not edit
"""The values of the token `capability`, each bound to the payload that it selects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from smith_sdk.contract import Cap

if TYPE_CHECKING:
    from ._messages import (
        ArchiveReadV1Intent,
        BenchReportV1Intent,
        FsReadV1Intent,
        FsWriteV1Intent,
        GitCloneV1Intent,
        HttpFetchV1Intent,
        ShellExecV1Intent,
        SqliteQueryV1Intent,
    )


fs_read_v1: Final[Cap[FsReadV1Intent]] = Cap("fs.read.v1")
fs_write_v1: Final[Cap[FsWriteV1Intent]] = Cap("fs.write.v1")
http_fetch_v1: Final[Cap[HttpFetchV1Intent]] = Cap("http.fetch.v1")
git_clone_v1: Final[Cap[GitCloneV1Intent]] = Cap("git.clone.v1")
archive_read_v1: Final[Cap[ArchiveReadV1Intent]] = Cap("archive.read.v1")
sqlite_query_v1: Final[Cap[SqliteQueryV1Intent]] = Cap("sqlite.query.v1")
bench_report_v1: Final[Cap[BenchReportV1Intent]] = Cap("bench.report.v1")
shell_exec_v1: Final[Cap[ShellExecV1Intent]] = Cap("shell.exec.v1")

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
