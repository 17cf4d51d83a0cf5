# generated from subjects.toml by smith-codegen; do not edit
"""The payload `LifecycleEvent`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from smith_sdk.contract import Payload, is_token, now_ns, refuse_token

from ._tokens import ExecutorId


class LifecycleEvent(Payload, frozen=True, kw_only=True):
    """An executor process changed its state."""

    executor_id: ExecutorId
    state: Literal["starting", "ready", "draining", "stopped"]
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    detail: str | None = None

    def __post_init__(self) -> None:
        if not is_token(self.executor_id):
            refuse_token("smith.events.executor.lifecycle.{executor_id}", "executor_id", self.executor_id, "", "LifecycleEvent")

    @classmethod
    def new(
        cls,
        *,
        executor_id: str,
        state: Literal["starting", "ready", "draining", "stopped"],
        timestamp_ns: int | None = None,
        detail: str | None = None,
    ) -> LifecycleEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            executor_id=ExecutorId(executor_id),
            state=state,
            timestamp_ns=now_ns() if timestamp_ns is None else timestamp_ns,
            detail=detail,
        )
