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
"""The payload `ResourceUsage`."""

from __future__ import annotations

from typing import Annotated as _Annotated

import msgspec as _msgspec

from smith_sdk.contract import Payload as _Payload, refuse_int as _refuse_int


class ResourceUsage(_Payload, frozen=True, kw_only=True):
    """What an execution used."""

    peak_memory_kb: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    cpu_time_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    wall_time_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    fd_count: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    disk_read_bytes: _Annotated[int, _msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]
    disk_write_bytes: _Annotated[int, _msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]
    network_tx_bytes: _Annotated[int, _msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]
    network_rx_bytes: _Annotated[int, _msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]

    def __post_init__(self) -> None:
        if type(self.disk_read_bytes) is int and self.disk_read_bytes > 18446744073709551615:
            _refuse_int("ResourceUsage", "disk_read_bytes", self.disk_read_bytes, 18446744073709551615)
        if type(self.disk_write_bytes) is int and self.disk_write_bytes > 18446744073709551615:
            _refuse_int("ResourceUsage", "disk_write_bytes", self.disk_write_bytes, 18446744073709551615)
        if type(self.network_tx_bytes) is int and self.network_tx_bytes > 18446744073709551615:
            _refuse_int("ResourceUsage", "network_tx_bytes", self.network_tx_bytes, 18446744073709551615)
        if type(self.network_rx_bytes) is int and self.network_rx_bytes > 18446744073709551615:
            _refuse_int("ResourceUsage", "network_rx_bytes", self.network_rx_bytes, 18446744073709551615)
