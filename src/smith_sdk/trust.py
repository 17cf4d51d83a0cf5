"""Trust: whose intents are let through, and how often.

`Trust` is an option of `Admission` and `Worker`, the same object on both faces. It verifies the
signature of a message over the bytes as received, and lets each intent (signer and nonce) through
once. `smith_sdk.signing` has what it is built on.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from . import signing
from ._core.execution.thread_pool import run_in_thread
from ._core.jetstream.kv import Bucket
from ._core.log_records import sdk_logger
from ._core.reread_file import RereadFile
from ._core.result_codes import ResultCode
from .contract import Received, now_ns
from .errors import OptionsError, SignatureError
from .options import Duration, to_seconds
from .protocol import Intent

if TYPE_CHECKING:
    from ._core.jetstream.session import Session

__all__ = ["Refusal", "Trust"]

log: Final = sdk_logger("trust")

BUCKET: Final = "SMITH_NONCES"
"""The key-value bucket of the intents that were let through: the stream KV_SMITH_NONCES."""
LARGE: Final = 16 * 1024
"""Bytes from which a message is verified in a thread: these take 0.3 to 2 ms, larger ones more."""
_MOST_LOOK_UPS: Final = 64
"""Threads that may call `key_for` at a time, also if their calls do not return."""
_FULL_PAUSE: Final = 0.01
_MS: Final = 1_000_000
_SECOND: Final = 1_000_000_000
_CODES: Final[dict[str, ResultCode]] = {"unsigned": ResultCode.UNSIGNED, "untrusted": ResultCode.SIGNER_UNKNOWN}


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why an intent is not let through."""

    code: ResultCode
    """The `error.code` of the result that its publisher gets."""
    reason: str
    """The same in words, with what to do about it."""


Found = bool | str | None
KeyFor = Callable[[str], Found | Awaitable[Found]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trust:
    """Which signers are trusted, and for how long an intent that was let through is remembered.

    A signer is a public Ed25519 key in base64, as in `Intent.signer`. One of `keys` and `key_for`
    is needed; with both, a signer that either of them accepts is trusted. An intent is verified
    over the bytes as received.

    Raises `OptionsError` for an invalid value, and `SigningNotInstalled` without the extra
    `signing`.
    """

    keys: Collection[str] | os.PathLike[str] | None = None
    """The trusted keys: a collection, or the path of a file with one key a line, each followed by
    any comment; lines that begin with # are comments. A collection that changes, such as a set, and
    a file that is replaced apply from the next message on. While a changed file is not valid, the
    keys from before stay in force, and an error is logged."""
    key_for: KeyFor | None = None
    """A function, plain or async, of a signer: whether it is trusted (bool), or the trusted key
    itself, None if there is none, as a look-up returns it. It is called for each signed message: a
    plain function in a thread (at most 64 at once), an async one, and methods of Python's own types
    such as `keys.get`, in the event loop. What it raises fails the attempt at that message, and so
    does taking longer than `Admission(timeout=...)`, in a worker 5 s."""
    require_signature: bool = True
    """Whether an unsigned intent is refused. A wrong or unknown signature always is."""
    max_clock_skew: Duration = 30.0
    """Seconds (or a timedelta) by which the clocks of publishers and admission may differ: an
    intent from further ahead is refused."""
    replay_window: Duration | None = None
    """Seconds (or a timedelta) for which admission remembers an intent at most; one that is valid
    for longer is refused. None: as long as each intent is valid. 0: replays are not refused."""
    _signers: _Signers = field(init=False, repr=False)
    _look_ups: _LookUps | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        for name in ("require_signature",):
            if not isinstance(getattr(self, name), bool):
                raise OptionsError(f"Trust.{name}={getattr(self, name)!r}: True or False is needed")
        set_ = object.__setattr__
        set_(self, "max_clock_skew", to_seconds("Trust.max_clock_skew", self.max_clock_skew, zero=True))
        if self.replay_window is not None:
            set_(self, "replay_window", to_seconds("Trust.replay_window", self.replay_window, zero=True))
        if self.keys is None and self.key_for is None:
            raise OptionsError("Trust(): no signer would be trusted: give keys=[...], keys=Path(file) or key_for=function")
        if self.key_for is not None and not callable(self.key_for):
            raise OptionsError(f"Trust.key_for={self.key_for!r}: a function of a signer is needed, which returns True or False")
        signing.require_installed()
        if self.key_for is not None:
            set_(self, "_look_ups", _LookUps(self.key_for))
        set_(self, "_signers", _signers(self.keys))

    @property
    def skew(self) -> float:
        """`max_clock_skew` in seconds."""
        return cast("float", self.max_clock_skew)

    async def check(self, raw: bytes, intent: Intent) -> Refusal | None:
        """Whether the signature of `intent`, decoded from `raw`, is one of a trusted signer.

        Returns why it is refused, None if it is not. Does not look at the time. Raises what
        `key_for` raises.
        """
        if not intent.signature_b64 and not self.require_signature:
            return None
        signer = intent.signer
        if not intent.signature_b64 or not signer:
            missing = "signature_b64" if signer else "signer"
            return Refusal(
                code=ResultCode.UNSIGNED,
                reason=f"the intent is not signed: its {missing} is empty; sign it with smith_sdk.signing.sign",
            )
        if not await self._is_trusted(signer):
            return Refusal(code=ResultCode.SIGNER_UNKNOWN, reason=f"the signer {signer[:64]!r} is not one of the trusted keys")
        try:
            # The signer as decoded: if another parser saw another one, it is not trusted here.
            if len(raw) < LARGE:
                signing.verify(raw, trusted={signer})
            else:
                await asyncio.to_thread(signing.verify, raw, trusted={signer})
        except SignatureError as error:
            code = _CODES.get(error.reason, ResultCode.SIGNATURE_INVALID)
            return Refusal(code=code, reason=str(error))
        return None

    async def _is_trusted(self, signer: str) -> bool:
        if self._signers.trusts(signer):
            return True
        if self._look_ups is None:
            return False
        found = await self._look_ups.find(signer)
        if isinstance(found, bool):
            return found
        if found is not None and found != signer:
            raise OptionsError(
                f"Trust.key_for returned {found!r} for the signer {signer!r}: True, False, that key or None is needed"
            )
        return found is not None

    # ---- replays

    @property
    def remembers(self) -> bool:
        """Whether an intent is let through once only."""
        return self.replay_window != 0

    async def prepare(self, session: Session) -> None:
        """Raise `StreamNotFound` if the bucket that `claim` needs does not exist."""
        if self.remembers:
            await Bucket(session, BUCKET).require()

    async def claim(
        self, session: Session, intent: Intent, message: Received[Any, Any], holder: str | None = None
    ) -> Refusal | None:
        """Claim the right to let `intent` through, which arrived as `message`.

        The right belongs to one raw message: a redelivery of it gets it again, any other message
        with the same signer and nonce does not, whatever else it contains. `holder` is what it
        belongs to instead: a release from the quarantine, of which there may be several copies.
        Returns why it is refused, None if it is not. Raises what publishing raises: `QueueFull` if
        the bucket is full, when the intent has to wait.
        """
        if not self.remembers:
            return None
        left = (intent.created_at_ns + intent.ttl_ms * _MS - now_ns()) / _SECOND
        if self.replay_window is not None and left > cast("float", self.replay_window):
            return Refusal(
                code=ResultCode.POLICY_DENIED,
                reason=f"the intent would be valid for another {left:.0f} s, and admission remembers intents for "
                f"{self.replay_window:g} s (replay_window): give it a shorter ttl_ms",
            )
        place = message.metadata
        own = (holder or f"{place.stream}.{place.stream_seq}.{place.timestamp}").encode()
        # Clocks that differ by the skew: the slowest one still calls the intent valid by then.
        there = await Bucket(session, BUCKET).create(_key(intent), own, ttl=left + self.skew)
        if there is None or there.data == own:
            return None
        return Refusal(
            code=ResultCode.REPLAYED,
            reason=f"an intent with this signer and nonce was let through before, at {there.time}: a new intent needs a nonce "
            f"of its own",
        )


def _key(intent: Intent) -> str:
    # An unsigned intent may name any signer, and must not use up a nonce of that signer's.
    kind = "" if intent.signature_b64 else "unsigned:"
    text = f"{kind}{intent.signer}\0{intent.nonce}"
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


# ---- sources of keys


class _LookUps:
    """Calls of a user's `key_for`, none of which holds up an event loop."""

    def __init__(self, key_for: KeyFor) -> None:
        self._key_for = key_for
        is_async = inspect.iscoroutinefunction(key_for) or inspect.iscoroutinefunction(getattr(key_for, "__call__", None))  # noqa: B004
        self._in_thread = not is_async and not inspect.isbuiltin(key_for)
        self._lock = threading.Lock()
        self._running = 0

    async def find(self, signer: str) -> Found:
        asked = await self._ask_in_thread(signer) if self._in_thread else self._key_for(signer)
        found: Found = await asked if inspect.isawaitable(asked) else asked
        return found

    async def _ask_in_thread(self, signer: str) -> Found | Awaitable[Found]:
        # As many hang, or work: the caller's time limit ends the wait. No event: callers may be in
        # several loops.
        while not self._begin():  # noqa: ASYNC110
            await asyncio.sleep(_FULL_PAUSE)
        return await run_in_thread(self._call, signer)

    def _begin(self) -> bool:
        with self._lock:
            if self._running >= _MOST_LOOK_UPS:
                return False
            self._running += 1
            return True

    def _call(self, signer: str) -> Found | Awaitable[Found]:
        try:
            return self._key_for(signer)
        except StopIteration as error:  # a future cannot hold it
            raise RuntimeError("Trust.key_for raised StopIteration") from error
        finally:
            with self._lock:
                self._running -= 1


class _Signers(Protocol):
    """Trusted signers, as they are now."""

    def trusts(self, signer: str) -> bool: ...


class _Nobody:
    """No keys: `key_for` decides alone."""

    def trusts(self, signer: str) -> bool:
        return False


class _Keys:
    """A collection, which may change."""

    def __init__(self, keys: Collection[str]) -> None:
        self._keys = keys
        if not keys:
            raise OptionsError("Trust.keys is empty: no signer would be trusted; give at least one public key")
        for key in keys:
            _require_key("Trust.keys", key)

    def trusts(self, signer: str) -> bool:
        return signer in self._keys


class _KeyFile:
    """A file of keys, which is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._file = RereadFile(path, _read_keys, log)

    def trusts(self, signer: str) -> bool:
        return signer in self._file.content


def _signers(keys: Collection[str] | os.PathLike[str] | None) -> _Signers:
    if keys is None:
        return _Nobody()
    if isinstance(keys, os.PathLike):
        return _KeyFile(Path(keys))
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Collection):
        raise OptionsError(
            f"Trust.keys takes a collection of public keys, or the pathlib.Path of a file of them, not {type(keys).__name__}: "
            f"write keys=[key] for one key, keys=Path(name) for a file"
        )
    return _Keys(keys)


def _read_keys(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionsError(f"the trusted keys in {path} cannot be read: {error}") from None
    found = set()
    for number, line in enumerate(lines, 1):
        key = line.partition("#")[0].split(maxsplit=1)
        if key:
            found.add(_require_key(f"line {number} of {path}", key[0]))
    if not found:
        raise OptionsError(f"{path} has no public key: write one a line, in base64; `smith keys generate` makes one")
    return frozenset(found)


def _require_key(where: str, key: object) -> str:
    try:
        return signing.require_public_key(key)
    except SignatureError as error:
        raise OptionsError(f"{where}: {error}") from None
