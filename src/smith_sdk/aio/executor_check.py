"""Whether an intent has an executor: a consumer that receives its capability and domain.

An interest stream drops what no consumer receives. What none is declared for is ruled on: denied,
or quarantined. What one is declared for, and the server does not have it, waits: that is an outage.
"""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import Any, Final, Literal, get_args

from .._core.domains.keys import HELD
from .._core.domains.unserved import Unserved
from .._core.jetstream.publish_request import PublishRequest
from .._core.jetstream.session import Session
from .._core.log_records import sdk_logger
from .._core.result_codes import ResultCode
from ..contract import covers
from ..errors import InvalidShardKey, NoInterest, OptionsError, RetryLater
from ..protocol import Intent
from ..topology import consumers
from .admission_outputs import fields_of
from .control_watch import ControlWatch
from .message import Message
from .patience import Patience
from .rulings import Keep, Refuse, storable
from .runners import NotRun
from .shard_placement import Place, VettedPlaces

log: Final = sdk_logger("admission")

NoExecutor = Literal["deny", "quarantine"]

_PAUSE: Final = 2.0
"""Seconds until an intent without an executor is delivered once more."""
_HELD_PAUSE: Final = 3.0
"""Seconds until one is delivered once more that waits; doubled with each delivery, since each of
them is on record as uncounted in the dead letters."""
_LONGEST_HELD: Final = 15.0
_LONGEST_OUTAGE: Final = 60.0
"""Its maximum in a move, and while a declared consumer is missing."""
_WAITING: Final = consumers.admission.max_ack_pending // 2
"""Intents that may wait for declared consumers at once: the others must go on."""
_REPEAT_LOG: Final = 30.0
"""Seconds between two records about the same reason to wait."""
_RULE: Final = "executor"


def require_choice(choice: Any) -> NoExecutor:
    """`choice` itself. Raises `OptionsError`."""
    if choice not in get_args(NoExecutor):
        raise OptionsError(f'Admission.no_executor={choice!r}: must be "deny" or "quarantine"')
    found: NoExecutor = choice
    return found


class ExecutorCheck:
    """The check for one admission."""

    def __init__(
        self, session: Session, patience: Patience, control: ControlWatch, places: VettedPlaces, choice: NoExecutor
    ) -> None:
        self._session = session
        self._places = places
        self._patience = patience
        self._control = control
        self._choice: NoExecutor = choice
        contract = session.contract
        self.unserved = Unserved({domain for spec in contract.consumers for domain in spec.domains})
        self._waiting: OrderedDict[int, float] = OrderedDict()
        """Raw messages that wait for a declared consumer, and when they were last delivered."""
        self._logged: dict[str, float] = {}

    # ---- as parts of a session have it

    @property
    def name(self) -> str:
        return "domains of admission"

    def describe(self) -> dict[str, object]:
        return {"unserved": dict(self.unserved.counts)}

    async def stop(self) -> None:
        pass

    def open(self) -> None:
        self._session.attach(self)

    def close(self) -> None:
        self._session.detach(self)

    # ---- for each intent

    def require_free(self, message: Message[Any, Any], intent: Intent) -> None:
        """Raise `NotRun` while a move holds the subject that `intent` is for."""
        if self._control.any(HELD) is None:
            return
        try:
            subject = self._places.of(intent).subject
        except InvalidShardKey:  # it is denied for that
            return
        hold = self._control.hold(subject)
        if hold is None:
            return
        if self._is_news(f"held {hold.since}"):
            log.warning("intents for %s wait in the raw stream: %s", subject, hold.reason, extra=fields_of(message, None))
        raise NotRun(_pause(message, _LONGEST_HELD))

    def knows(self, place: Place) -> bool:
        """Whether a consumer is known to receive what is published to `place`. For most intents."""
        return self._session.interest.knows(place.stream, place.subject)

    async def ruling(self, message: Message[Any, Any], intent: Intent, stream: str, subject: str) -> Refuse | Keep | None:
        """The ruling on an intent that no consumer receives; None if one does."""
        request = PublishRequest(subject, b"", stream, "")
        try:
            await self._patience.until_done(lambda: self._session.interest.require(request, self._session.publish_timeout))
        except NoInterest as error:
            return self.without(message, intent, stream, subject, error)
        return None

    def without(self, message: Message[Any, Any], intent: Intent, stream: str, subject: str, error: NoInterest) -> Refuse | Keep:
        """The ruling on an intent that no consumer receives.

        Raises `RetryLater` at the first delivery, since the executor may be about to be deployed,
        and `NotRun` at each one while a declared consumer is not on the server.
        """
        missing = self._declared_for(stream, subject)
        if missing is not None and self._may_wait(message.metadata.stream_seq):
            if self._is_news(missing):
                log.warning(
                    "intents for %s wait in the raw stream: consumer %s is declared and not on the server: `smith streams apply` "
                    "creates it",
                    subject,
                    missing,
                    extra=fields_of(message, intent.id, error),
                )
            raise NotRun(_pause(message, _LONGEST_OUTAGE)) from error
        reason = f"no consumer receives {subject}: is an executor for it deployed?"
        if message.metadata.num_delivered == 1:
            log.warning("intent %s waits %g s: %s", intent.id, _PAUSE, reason, extra=fields_of(message, intent.id, error))
            raise RetryLater(_PAUSE) from error
        self.unserved.add(intent.domain, monotonic())
        if self._choice == "quarantine":
            return Keep(_RULE, storable(reason))
        return Refuse(ResultCode.NO_EXECUTOR, _RULE, reason)

    def _declared_for(self, stream: str, subject: str) -> str | None:
        """The declared consumer that would receive what is published to `subject`."""
        for spec in self._session.contract.consumers:
            if spec.stream == stream and any(covers(pattern, subject) for pattern in spec.filters):
                return spec.name
        return None

    def _may_wait(self, seq: int) -> bool:
        """Whether the raw message `seq` may wait besides those that do. They are forgotten when
        they are not delivered any more."""
        now = monotonic()
        while self._waiting and now - next(iter(self._waiting.values())) > 2 * _LONGEST_OUTAGE:
            self._waiting.popitem(last=False)
        if seq not in self._waiting and len(self._waiting) >= _WAITING:
            return False
        self._waiting[seq] = now
        self._waiting.move_to_end(seq)
        return True

    def _is_news(self, reason: str) -> bool:
        now = monotonic()
        if now - self._logged.get(reason, -_REPEAT_LOG) < _REPEAT_LOG:
            return False
        self._logged = {known: at for known, at in self._logged.items() if now - at < _REPEAT_LOG}
        self._logged[reason] = now
        return True


def _pause(message: Message[Any, Any], longest: float) -> float:
    return float(min(longest, _HELD_PAUSE * 2 ** min(message.metadata.num_delivered - 1, 10)))
