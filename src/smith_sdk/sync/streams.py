# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.streams`."""

from __future__ import annotations

from .._core.blocking.faces import Blocking
from .._core.topology.plan import Caution, Change, Difference, Plan
from ..aio.streams import StreamInfo

__all__ = ["Caution", "Change", "Difference", "Plan", "StreamInfo", "Streams"]


class Streams(Blocking):
    """The declared streams and consumers of the bus's contract: `bus.streams`."""

    __slots__ = ()

    def plan(self, profile: str = "prod", *, prune: bool = False) -> Plan:
        """Compare what the contract declares under `profile` with the server; with `prune`, plan to
        delete what it does not declare.

        Pruned are streams that capture subjects of the contract only, and durable consumers of its
        streams. Raises `OptionsError` for an unknown profile, `TopologyRefused` where the server is
        too old for a declared key, `JetStreamDisabled`.
        """
        found: Plan = self._portal.call(self._aio.plan, profile, prune=prune)
        return found

    def apply(self, plan: Plan | None = None, *, profile: str = "prod", prune: bool = False) -> Plan:
        """Carry out `plan`, exactly as it is (None: what `plan(profile)` says now), and return it.
        Safe to repeat, and for two at once.

        Deletes nothing, unless `prune` says so here and where the plan was made; the plan that is
        returned lists it. Raises `TopologyRefused` when the server refuses a step, and before
        anything is done when one is impossible; `PlanOutdated` when the server is no longer as
        `plan` saw it, nor yet as declared: what was done before that step stays done.
        """
        found: Plan = self._portal.call(self._aio.apply, plan, profile=profile, prune=prune)
        return found

    def verify(self, profile: str = "prod") -> None:
        """Raise `TopologyDrift`, listing every difference, unless the server is as the contract
        declares.
        """
        self._portal.call(self._aio.verify, profile)

    def info(self) -> list[StreamInfo]:
        """The contract's streams as the server has them; those that are not there are left out."""
        found: list[StreamInfo] = self._portal.call(self._aio.info)
        return found

    def get(self, stream: str) -> StreamInfo:
        """One of the contract's streams as the server has it. Raises `OptionsError` for any other,
        `StreamNotFound`.
        """
        found: StreamInfo = self._portal.call(self._aio.get, stream)
        return found

    def purge(
        self,
        stream: str,
        *,
        subject: str | None = None,
        before_seq: int | None = None,
        keep: int | None = None,
        dry_run: bool = False,
    ) -> int:
        """Remove messages from one of the contract's streams for good; return how many those were.
        With nothing else said, all of them.

        `subject` (wildcards allowed): only those on it. `before_seq`: only those below that
        sequence. `keep`: all but the newest so many. `dry_run` removes nothing and says how many it
        would be, exactly, as long as nobody writes or acknowledges meanwhile; with both `subject`
        and `before_seq` it reads every message that it counts.

        Raises `OptionsError` for another stream, or `before_seq` beside `keep`; `ChangeRefused`
        where the stream is declared with `deny_purge`; `StreamNotFound`.
        """
        found: int = self._portal.call(
            self._aio.purge, stream, subject=subject, before_seq=before_seq, keep=keep, dry_run=dry_run
        )
        return found
