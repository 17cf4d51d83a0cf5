# generated from subjects.toml by smith-codegen; do not edit
"""The payload `ResourceUsage`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from smith_sdk.contract import Payload, refuse_int


class ResourceUsage(Payload, frozen=True, kw_only=True):
    """What an execution used."""

    peak_memory_kb: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    cpu_time_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    wall_time_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    fd_count: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    disk_read_bytes: Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]
    disk_write_bytes: Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]
    network_tx_bytes: Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]
    network_rx_bytes: Annotated[int, msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]

    def __post_init__(self) -> None:
        if type(self.disk_read_bytes) is int and self.disk_read_bytes > 18446744073709551615:
            refuse_int("ResourceUsage", "disk_read_bytes", self.disk_read_bytes, 18446744073709551615)
        if type(self.disk_write_bytes) is int and self.disk_write_bytes > 18446744073709551615:
            refuse_int("ResourceUsage", "disk_write_bytes", self.disk_write_bytes, 18446744073709551615)
        if type(self.network_tx_bytes) is int and self.network_tx_bytes > 18446744073709551615:
            refuse_int("ResourceUsage", "network_tx_bytes", self.network_tx_bytes, 18446744073709551615)
        if type(self.network_rx_bytes) is int and self.network_rx_bytes > 18446744073709551615:
            refuse_int("ResourceUsage", "network_rx_bytes", self.network_rx_bytes, 18446744073709551615)
