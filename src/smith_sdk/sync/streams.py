# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.streams`."""

from __future__ import annotations

from .._core.blocking.faces import Blocking
from .._core.topology.plan import Caution, Change, Difference, Plan
from ..aio.streams import StreamInfo
from ..display import Rows

__all__ = ["Caution", "Change", "Difference", "Plan", "StreamInfo", "Streams"]


class Streams(Blocking):
    """The declared streams and consumers of the bus's contract: `bus.streams`."""

    __slots__ = ()

    @property
    def profile(self) -> str:
        """Name of the profile (str) that `plan`, `apply` and `verify` use unless told otherwise.

        That of the bus: its `profile`, else the one that SMITH_PROFILE names, else "prod"; for
        `SmithBus.embedded()` its `profile`, else "dev".
        """
        found: str = self._aio.profile
        return found

    def plan(self, profile: str | None = None, *, prune: bool = False) -> Plan:
        """Compare what the contract declares under `profile` with the server; None: the bus's own.

        Only declared keys are compared: what the server fills in by itself is not drift, and an
        update keeps undeclared keys as they are. With `prune`, the plan deletes undeclared streams
        that capture only subjects of the contract, and undeclared durable consumers of its streams.
        Raises `OptionsError` for an unknown profile, `TopologyRefused` if the server is too old for
        a declared key, `JetStreamDisabled`.
        """
        found: Plan = self._portal.call(self._aio.plan, profile, prune=prune)
        return found

    def apply(
        self,
        plan: Plan | None = None,
        *,
        profile: str | None = None,
        prune: bool = False,
        strand: bool = False,
        rename: bool = False,
    ) -> Plan:
        """Carry out `plan` exactly, and return it; None: what `plan(profile)` finds now.

        Safe to repeat, and for two at once. Deletes nothing, unless `prune=True` is passed here and
        to `plan`; the returned plan lists what was deleted. Leaves no stored message without a
        reader, unless `strand=True` is passed: what a `plan` says about that is counted again. A
        renamed consumer of a work queue takes the place of the old one with `rename=True` only.

        Raises `TopologyRefused` if the server refuses a step, and before anything is done if one is
        impossible or renames; `MessagesStranded` before the step that would leave messages without
        a reader; `PlanOutdated` if `plan` was made from another contract or for another server, if
        there are more such messages than it says, and if the server neither has what `plan` saw nor
        what it declares. What was done before that step stays done.
        """
        found: Plan = self._portal.call(self._aio.apply, plan, profile=profile, prune=prune, strand=strand, rename=rename)
        return found

    def verify(self, profile: str | None = None) -> None:
        """Raise `TopologyDrift`, with every difference, unless the server is as declared.

        Logs a warning if what is there was applied from a contract of another hash: that alone is
        not drift.
        """
        self._portal.call(self._aio.verify, profile)

    def info(self) -> Rows[StreamInfo]:
        """The contract's streams as the server has them; streams that do not exist are left out."""
        found: Rows[StreamInfo] = self._portal.call(self._aio.info)
        return found

    def get(self, stream: str) -> StreamInfo:
        """One of the contract's streams as the server has it.

        Raises `OptionsError` for any other, `StreamNotFound`.
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
        """Delete messages from one of the contract's streams, and return their number.

        Deletes all of them, or those that the options select. `subject` (wildcards allowed)
        selects the messages on it, `before_seq` those below that sequence, `keep` all but the
        newest `keep` ones. With `dry_run` nothing is deleted, and the number is exact as long as no
        client publishes or acknowledges meanwhile; with both `subject` and `before_seq` it reads
        every message that it counts.

        Raises `OptionsError` for another stream, an invalid subject, or `before_seq` with `keep`;
        `ChangeRefused` if the stream has `deny_purge`; `StreamNotFound`.
        """
        found: int = self._portal.call(
            self._aio.purge, stream, subject=subject, before_seq=before_seq, keep=keep, dry_run=dry_run
        )
        return found
