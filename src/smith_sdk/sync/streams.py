# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.streams`."""

from __future__ import annotations

from .._core.portal import Blocking
from ..aio.streams import (
    Change,
    Difference,
    Plan,
    StreamInfo,
)

__all__ = ["Change", "Difference", "Plan", "StreamInfo", "Streams"]


class Streams(Blocking):
    """The declared streams and consumers of the bus's contract: `bus.streams`."""

    __slots__ = ()

    def plan(self, profile: str = "prod") -> Plan:
        """Compare what the contract declares under `profile` with the server. Raises `OptionsError` for an unknown profile."""
        found: Plan = self._portal.call(self._aio.plan, profile)
        return found

    def apply(self, plan: Plan | None = None, *, profile: str = "prod") -> Plan:
        """Carry out `plan` (None: what `plan(profile)` says now) and return it. Safe to repeat, and for two at once.

        Raises `TopologyRefused` when the server refuses a step, and before anything is done when a step is impossible.
        """
        found: Plan = self._portal.call(self._aio.apply, plan, profile=profile)
        return found

    def verify(self, profile: str = "prod") -> None:
        """Raise `TopologyDrift`, listing every difference, unless the server is as the contract declares."""
        self._portal.call(self._aio.verify, profile)

    def info(self) -> list[StreamInfo]:
        """The contract's streams as the server has them; those that are not there are left out."""
        found: list[StreamInfo] = self._portal.call(self._aio.info)
        return found
