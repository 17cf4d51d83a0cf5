"""Running the handler of a message once: `Worker(once=Once(...))`.

A key of a bucket says what has become of a message. Its life:

1. claimed: put if absent, for the time of the lease, before the handler runs
2. renewed: every third of the lease while it runs
3. done: replaced for `ttl`, after what the handler returned was published and before the ack; or
   freed, if the run has failed, so that the next delivery runs at once

A worker that dies leaves a claim behind, which expires.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, cast
from uuid import uuid4

import msgspec

from .._core.execution.turns import Turns
from .._core.jetstream.api import NANOS, StoredMessage, to_nanos
from .._core.jetstream.delivery import NAK, TERM
from .._core.jetstream.kv import Bucket
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from ..contract import ConsumerSpec, Contract, covers
from ..errors import OptionsError, SmithError
from ..options import Once
from .log_fields import message_fields
from .message import Message
from .message_runner import MessageRunner, RunnerWrapper
from .middleware import Outcome
from .once_by_result import Conclude
from .patience import Patience
from .runners import NotRun

log: Final = sdk_logger("worker")

_FREE: Final = 2.0
"""Seconds to free the claim of a run that has failed. It expires if that takes longer."""
_FREED: Final = 1.0
"""Seconds for which a bucket keeps a key that was freed: its shortest time."""
_LATE: Final = 1.0
"""Seconds by which a key may expire late."""
_LARGEST: Final = 1024
"""Bytes that a key takes at most, headers included."""
_LONGEST: Final = 3600.0
"""Seconds that another worker's lease is waited for at a time, whatever its claim says."""
_ENDS_PROCESS: Final = (KeyboardInterrupt, GeneratorExit)


class _State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The value of a key."""

    state: Literal["running", "done", "free"]
    run: str
    """Names one run."""
    owner: str
    """Names the worker that runs it, from one start to its stop."""
    lease: float = 0.0
    """Seconds, while it runs."""
    message: str = ""
    """The idempotency key of the message, for people."""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_State).decode


class _Claim:
    """The claim of one run."""

    def __init__(self, key: str, state: _State, fields: LogFields) -> None:
        self.key = key
        self.state = state
        self.value = _encode(state)
        self.revision = 0
        self.fields = fields

    def as_(self, state: Literal["done", "free"]) -> bytes:
        return _encode(msgspec.structs.replace(self.state, state=state, lease=0.0))


class OnceByClaim(RunnerWrapper):
    """`inner`, for messages that have not run yet and do not run elsewhere."""

    def __init__(
        self,
        inner: MessageRunner,
        session: Session,
        spec: ConsumerSpec[Any, Any],
        once: Once,
        conclude: Conclude,
        is_stopping: Callable[[], bool],
    ) -> None:
        super().__init__(inner)
        self._bucket = Bucket(session, once.bucket)
        self._consumer = spec.name
        self._prefix = f"{spec.stream}.{spec.name}"
        # `__post_init__` made them seconds
        self._lease, self._ttl = cast("float", once.lease), cast("float", once.ttl)
        self._conclude = conclude
        self._patience = Patience(is_stopping, name=f"worker {spec.name}", consumer=spec.name, log=log)
        self._turns = Turns()
        self._owner = ""
        self._running: set[_Claim] = set()
        self._renewing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Raises `StreamNotFound` and `TopologyRefused` for a bucket that is not as declared."""
        await self._bucket.require()
        # A new one each time: a thread of an earlier run may still be at work on its message.
        self._owner = uuid4().hex
        await super().open()
        self._renewing = asyncio.ensure_future(self._renew_all())

    def close(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        super().close()

    async def run(self, message: Message[Any, Any]) -> Outcome:
        identity = message.idempotency_key
        key = f"{self._prefix}.{hashlib.sha256(identity.encode()).hexdigest()}"
        async with self._turns.of(key):
            claim = await self._claim(key, identity, message)
            if claim is None:
                log.info("%s: %s is done, so it is not run again", self._consumer, identity, extra=message_fields(message))
                return None
            self._running.add(claim)
            try:
                outcome = await self._inner.run(message)
                await self._conclude(message, outcome)
            except _ENDS_PROCESS:
                raise
            except BaseException as error:
                self._running.discard(claim)
                # A thread may go on with the message: its claim expires.
                if self._inner.cancellable or not isinstance(error, asyncio.CancelledError):
                    await self._free(claim)
                raise
            finally:
                self._running.discard(claim)
            if message._verdict_sent.startswith((NAK, TERM)):
                await self._free(claim)
            else:
                await self._finish(claim)
        return None

    # ---- before

    async def _claim(self, key: str, identity: str, message: Message[Any, Any]) -> _Claim | None:
        """Claim the run; None if the message is done. Raises `NotRun` while it runs elsewhere."""
        state = _State(state="running", run=uuid4().hex, owner=self._owner, lease=self._lease, message=identity)
        claim = _Claim(key, state, message_fields(message))
        while True:
            there = await self._patience.before_run(partial(self._bucket.claim, key, claim.value, ttl=self._lease))
            if isinstance(there, int):
                claim.revision = there
                return claim
            found = _read(there.data)
            if found is not None and found.state == "done":
                return None
            # No run of this worker's own is at work on it: it is this key's turn.
            if found is not None and found.state == "running" and found.owner != self._owner:
                raise NotRun(_left(there, found))
            revision = await self._patience.before_run(
                partial(self._bucket.replace, key, claim.value, revision=there.seq, ttl=self._lease)
            )
            if revision is not None:
                claim.revision = revision
                return claim

    # ---- meanwhile

    async def _renew_all(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            await asyncio.gather(*(self._renew(claim) for claim in tuple(self._running)))

    async def _renew(self, claim: _Claim) -> None:
        try:
            async with asyncio.timeout(self._lease / 3):
                revision = await self._bucket.replace(claim.key, claim.value, revision=claim.revision, ttl=self._lease)
                # It has expired, or another worker has claimed it then.
                if revision is None and claim in self._running:
                    there = await self._bucket.claim(claim.key, claim.value, ttl=self._lease)
                    revision = there if isinstance(there, int) else None
        except (SmithError, TimeoutError) as error:
            log.warning(
                "%s: the claim of a message whose handler runs could not be renewed, so another worker may run it as well: %s",
                self._consumer,
                str(error) or type(error).__name__,
                extra=claim.fields | LogFields(error_type=type(error).__name__),
            )
            return
        if revision is not None:
            claim.revision = revision
        elif claim in self._running:
            self._running.discard(claim)
            self._log_lost(claim)

    def _log_lost(self, claim: _Claim) -> None:
        log.warning(
            "%s: a message whose handler runs was claimed by another worker as well: its claim had expired, for the bucket could "
            "not be reached or the event loop was blocked",
            self._consumer,
            extra=claim.fields,
        )

    # ---- after

    async def _finish(self, claim: _Claim) -> None:
        """Have the message be done, whatever other runs of it there are."""
        done = claim.as_("done")
        while True:
            revision = await self._patience.until_done(
                partial(self._bucket.replace, claim.key, done, revision=claim.revision, ttl=self._ttl)
            )
            if revision is not None:
                return
            there = await self._patience.until_done(partial(self._bucket.claim, claim.key, done, ttl=self._ttl))
            if isinstance(there, int):
                return
            found = _read(there.data)
            if found is not None and found.state == "done":
                if found.run != claim.state.run:
                    log.warning(
                        "%s: another worker has run a message meanwhile: this was the second run",
                        self._consumer,
                        extra=claim.fields,
                    )
                return
            if found is not None and found.run != claim.state.run:
                self._log_lost(claim)
            claim.revision = there.seq

    async def _free(self, claim: _Claim) -> None:
        """Have the next delivery run at once. If that fails, it waits until the claim expires."""
        with contextlib.suppress(SmithError, TimeoutError):
            async with asyncio.timeout(_FREE):
                free = claim.as_("free")
                while await self._bucket.replace(claim.key, free, revision=claim.revision, ttl=_FREED) is None:
                    there = await self._bucket.get(claim.key)  # a renewal was in flight
                    if there is None or there.value != claim.value:
                        return
                    claim.revision = there.revision


def _read(value: bytes) -> _State | None:
    """The state of a key; None if that is not one of ours: it says nothing of a run."""
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _left(there: StoredMessage, found: _State) -> float:
    """Seconds until a claim expires, unless it is renewed.

    By the clocks of the server and of this machine: one that is wrong makes it at most a lease.
    """
    lease = min(max(found.lease, _LATE), _LONGEST)
    ends = to_nanos(there.time) / NANOS + math.ceil(lease)
    return min(max(ends - time.time(), 0.0), lease) + _LATE


# ---- options


def require_bucket(contract: Contract, once: Once) -> None:
    """Raise `OptionsError` unless `contract` declares the bucket of `once` as it is needed."""
    name, keys = f"KV_{once.bucket}", f"$KV.{once.bucket}.>"
    declared = next((one for one in contract.streams if one.name == name), None)
    if declared is None:
        raise OptionsError(
            f"Worker.once: contract {contract.name} declares no stream {name}; a bucket is a stream of the spec: [streams.{name}] "
            f'with subjects = ["{keys}"], external = true, discard = "new", allow_msg_ttl = true, max_msgs_per_subject = 1 and '
            f"max_bytes"
        )
    problems = {
        f'its subjects do not cover "{keys}"': not any(covers(one, keys) for one in declared.subjects),
        "allow_msg_ttl = true is needed, so that keys expire": not declared.allow_msg_ttl,
        'discard = "new" is needed, so that no key is deleted when it is full': declared.discard != "new",
        "max_age deletes keys before their time": bool(declared.max_age),
        'retention = "limits" is needed': declared.retention != "limits",
        f"max_msg_size is below {_LARGEST} bytes, which a key may take": 0 < (declared.max_msg_size or _LARGEST) < _LARGEST,
    }
    found = [problem for problem, is_there in problems.items() if is_there]
    if found:
        raise OptionsError(f"Worker.once: stream {name} of contract {contract.name} is no bucket for it: {'; '.join(found)}")
