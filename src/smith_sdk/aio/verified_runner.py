"""Verifying the signature of each message before its handler runs: `Worker(trust=...)`."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ..contract import ConsumerSpec, Contract
from ..errors import HandlerTimeout, OptionsError
from ..trust import Trust
from .answers import NotTrusted, has_intents
from .message import Message
from .message_runner import MessageRunner, RunnerWrapper
from .middleware import Outcome

_LIMIT: Final = 5.0
"""Seconds for the check of one message: `Trust.key_for` may hang."""


class VerifiedRunner(RunnerWrapper):
    """`inner`, for messages that `trust` lets through; `NotTrusted` for the others."""

    def __init__(self, inner: MessageRunner, trust: Trust) -> None:
        super().__init__(inner)
        self._trust = trust

    async def run(self, message: Message[Any, Any]) -> Outcome:
        limit = asyncio.timeout(_LIMIT)
        try:
            async with limit:
                refusal = await self._trust.check(message.raw, message.payload)
        except TimeoutError:
            if not limit.expired():
                raise
            raise HandlerTimeout(f"verifying the signature took longer than {_LIMIT:g} s: does Trust.key_for hang?") from None
        if refusal is not None:
            raise NotTrusted(refusal.code, refusal.reason)
        return await self._inner.run(message)


def require_trust(contract: Contract, spec: ConsumerSpec[Any, Any], trust: Trust) -> Trust:
    """`trust`. Raises `OptionsError` unless it is one and `spec` delivers signed messages."""
    if not isinstance(trust, Trust):
        raise OptionsError(f"Worker.trust={trust!r}: a Trust is needed, such as Trust(keys=[public_key])")
    if not has_intents(contract, spec):
        raise OptionsError(f"Worker.trust: consumer {spec.name} does not deliver intents, and only they are signed; leave it out")
    return trust
