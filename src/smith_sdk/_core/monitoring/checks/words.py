"""What several checks say: of an answer that could not be had, and figures for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from ....errors import DeadlineExceeded, JetStreamDisabled, PermissionDenied, SmithError
from ...jetstream.api_errors import NO_QUORUM
from ..health import Check, Health, worst

NO_MAJORITY = "no majority of the servers, or no leader"
START_SERVERS = "start the servers that are down: a majority of them has to be up"


class Finding(msgspec.Struct, frozen=True):
    """One of several things that are found about the same: a check says them together."""

    status: Health
    text: str
    remedy: str = ""


def joined(name: str, findings: Sequence[Finding], also: str = "") -> Check:
    """The check of all `findings`, the worst first; `also` is said where all is well.

    What is well is left out where something is not.
    """
    status = worst(one.status for one in findings)
    order: list[Health] = ["failing", "degraded"] if status != "ok" else ["ok"]
    shown = [one for kind in order for one in findings if one.status == kind]
    texts = [one.text for one in shown] + [also] * (status == "ok")
    return Check(
        name=name,
        status=status,
        reason="; ".join(filter(None, texts)),
        remedy="; ".join(dict.fromkeys(one.remedy for one in shown if one.remedy)),
    )


def not_known(name: str, error: Exception, remedy: str) -> Check:
    """The check of what the server did not tell; `remedy` is for a server that does not answer.

    It has answered a PING: what it does not answer in time is asked of another server, or of none.
    """
    if isinstance(error, PermissionDenied):
        return Check(
            name=name,
            status="degraded",
            reason=f"not known: {error}",
            remedy=f"allow {error.subject}, as `smith-codegen permissions` does for the role health",
        )
    if isinstance(error, JetStreamDisabled):
        remedy = "enable JetStream, or correct js_domain or api_prefix of this bus"
        return Check(name=name, status="failing", reason=str(error), remedy=remedy)
    if isinstance(error, SmithError) and getattr(error, "err_code", None) == NO_QUORUM:
        return Check(name=name, status="failing", reason=f"{NO_MAJORITY} ({error})", remedy=START_SERVERS)
    why = f"no leader, or no majority ({error})" if isinstance(error, DeadlineExceeded) else str(error)
    return Check(name=name, status="failing", reason=f"not known: {why}", remedy=remedy)


def late(timeout: float) -> str:
    return f"the server has not answered within {timeout:g} s"


def without_connection(name: str) -> Check:
    """The check of what the server could tell, while there is no connection."""
    return Check(name=name, status="failing", reason="not known: there is no connection")


def without_answer(name: str, timeout: float) -> Check:
    """The same while the link answers nothing."""
    return Check(name=name, status="failing", reason=f"not known: {late(timeout)}")


def percent(share: float) -> str:
    """Rounded down: only what is full is 100 %."""
    return f"{int(share * 100)} %"


def lasting(seconds: float) -> str:
    """ "3.2 days", "40.0 min", "5 s", "12 ms"."""
    passed = timedelta(seconds=seconds)
    for unit, length in (("days", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if passed >= length:
            return f"{passed / length:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def counted(count: int, what: str) -> str:
    """ "1 message", "1,204 messages"."""
    return f"{count:,} {what}{'s' * (count != 1)}"
