# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.domains`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from .._core.blocking.faces import Blocking
from .._core.domains.moves import MoveStep
from .._core.domains.usage import DomainUsage
from ..display import Rows

__all__ = ["DomainUsage", "Domains", "MoveStep"]


class Domains(Blocking):
    """The domains of the contract's consumers: `bus.domains`.

    Those are the consumers whose filters have a wildcard for the domain, and those that
    `for_domains` derived from them.
    """

    __slots__ = ()

    def list(self) -> Rows[DomainUsage]:
        """Each domain with each consumer that serves it, its lag and rate.

        Lists what the contract declares, what is on the server, and the domains of stored messages,
        whoever has chosen them. A rate takes two calls, at least half a second apart. Raises what a
        call of the JetStream API raises.
        """
        found: Rows[DomainUsage] = self._portal.call(self._aio.list)
        return found

    def move(
        self,
        domain: str,
        *,
        to: str | Sequence[str] | None = None,
        timeout: float | timedelta = 300.0,
        dry_run: bool = False,
        progress: Callable[[MoveStep], object] | None = None,
    ) -> Rows[MoveStep]:
        """Have the declared consumers serve `domain`, in place of those that do on the server.

        `to` names one declared consumer, or several; None: all that the contract declares for the
        domain. Those on the server that are not declared, and share a domain with them, are
        replaced, all their domains at once. For each: its domains are held at admission, the old
        consumers finish what they have, the new ones are created and the old ones deleted, and
        admission goes on. No intent is lost, and none is executed twice. Workers of the old
        consumers end with `ConsumerNotFound`; those of the new ones can be started at any time
        after the move, and it takes as long as the workers need to finish.

        Returns the steps that were done; with `dry_run` those that would be, and nothing is
        changed; none if all is as declared. `progress` is called with each when it is done, in the
        event loop. Within `timeout` seconds the old consumers must have nothing left, or
        `DeadlineExceeded` is raised, and nothing is changed. An interrupted move is run again, by
        the same call: domains are held, and an old consumer is paused, for a minute at most
        after that, unless the new ones exist; then until it is run again.

        Raises `InvalidToken`, and `OptionsError` for a domain that no declared consumer serves, an
        unknown name in `to`, and a declared domain that would be left without a consumer;
        `TopologyRefused` for a stream that keeps what was acknowledged; `ChangeRefused` for a
        server before 2.11, and a paused consumer.
        """
        found: Rows[MoveStep] = self._portal.call(
            self._aio.move, domain, to=to, timeout=timeout, dry_run=dry_run, progress=progress
        )
        return found
