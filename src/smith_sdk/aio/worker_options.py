"""The options that workers share: checked, and made into what their slots need.

`owner` is the class that an error names: "Worker".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .._core.jetstream.session import Session
from ..contract import ConsumerSpec, Contract
from ..errors import OptionsError
from ..options import Once, RateLimit, RetryPolicy, positive_int
from .answers import has_intents
from .message_runner import MessageRunner
from .once_by_claim import OnceByClaim, require_bucket
from .once_by_result import OnceByResult, require_results
from .slots import Slots

_CONCURRENCY: Final = 8

Wrap = Callable[[MessageRunner], MessageRunner]


def require_concurrency(owner: str, concurrency: int | None, processes: int | None) -> int:
    """How many handlers run at once. Raises `OptionsError`."""
    if processes is None:
        return _CONCURRENCY if concurrency is None else positive_int(f"{owner}.concurrency", concurrency)
    if concurrency is not None:
        raise OptionsError(f"{owner}: each process runs one handler, so processes is the concurrency: give one of the two")
    return positive_int(f"{owner}.processes", processes)


def require_ack(owner: str, ack: Any) -> bool:
    """Whether acks are confirmed. Raises `OptionsError`."""
    if ack not in ("sent", "confirmed"):
        raise OptionsError(f'{owner}.ack={ack!r}: "sent" or "confirmed" is needed')
    return bool(ack == "confirmed")


def require_retry(owner: str, retry: Any, max_attempts: int) -> RetryPolicy:
    """`retry`, by default that of the contract. Raises `OptionsError`."""
    policy = RetryPolicy(max_attempts=max_attempts) if retry is None else retry
    if not isinstance(policy, RetryPolicy):
        raise OptionsError(f"{owner}.retry={retry!r}: a RetryPolicy is needed, such as RetryPolicy(max_attempts=3)")
    return policy


def require_rate(owner: str, rate_limit: Any) -> RateLimit | None:
    """`rate_limit`. Raises `OptionsError`."""
    if rate_limit is not None and not isinstance(rate_limit, RateLimit):
        raise OptionsError(f"{owner}.rate_limit={rate_limit!r}: a RateLimit is needed, such as RateLimit(100, per=60)")
    return rate_limit


def require_answers(owner: str, contract: Contract, spec: ConsumerSpec[Any, Any], wanted: bool | None) -> bool:
    """Whether failures are answered: by default if `spec` delivers intents and nothing else."""
    if wanted not in (None, True, False):
        raise OptionsError(f"{owner}.answer_failures={wanted!r}: True, False, or None for the default")
    if wanted is False or has_intents(contract, spec):
        return wanted is not False
    if wanted:
        raise OptionsError(
            f"{owner}.answer_failures=True: consumer {spec.name} does not deliver intents, so no caller waits for an IntentResult; "
            f"leave the option out"
        )
    return False


def once_wrapper(owner: str, session: Session, spec: ConsumerSpec[Any, Any], once: Any) -> Callable[[Slots], Wrap] | None:
    """What makes the runner of slots run each message once; None if `once` is False.

    Raises `OptionsError`.
    """
    if isinstance(once, Once):
        require_bucket(session.contract, once)
        return lambda slots: lambda runner: OnceByClaim(runner, session, spec, once, slots.conclude, lambda: slots.is_stopping)
    if not isinstance(once, bool):
        raise OptionsError(f"{owner}.once={once!r}: True for intents, or Once(bucket=..., ttl=...), is needed")
    if not once:
        return None
    require_results(session.contract, spec)
    return lambda slots: lambda runner: OnceByResult(runner, session, spec.name, slots.conclude, lambda: slots.is_stopping)
