"""Alerts to a webhook: a JSON body, signed with HMAC-SHA256, and the check of it by a receiver.

The signature is over the time and the body, so that a request that was overheard is worth nothing
some minutes later.
"""

from __future__ import annotations

import hmac
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from ...errors import OptionsError, SignatureError
from .alerts import Alert
from .http_post import PostFailed, Target, post, target

SIGNATURE: Final = "Smith-Signature"
"""The header that has the signature: "t=<seconds since 1970>,v1=<HMAC-SHA256 in hex>"."""
_SIGNED: Final = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")
_LEAST_SECRET: Final = 16
_MAX_AGE: Final = 300.0
_REFUSED: Final = frozenset((400, 405, 410, 413, 414, 415, 422))
"""Statuses that the same body meets again, however often it is sent."""

Secret = str | bytes


class NotDelivered(Exception):
    """One attempt has failed. The text has nothing secret."""

    def __init__(self, message: str, *, is_final: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.is_final = is_final
        """Whether another attempt would fail as well."""
        self.retry_after = retry_after
        """Seconds after which the receiver asks to be asked again."""


# ---- signing


def signature(secret: bytes, body: bytes, at: int) -> str:
    """The value of the header `SIGNATURE` for `body`, sent at `at` (seconds since 1970)."""
    return f"t={at},v1={_mac(secret, body, at)}"


def _mac(secret: bytes, body: bytes, at: int) -> str:
    return hmac.new(secret, b"%d." % at + body, sha256).hexdigest()


def verify_webhook(
    body: bytes,
    headers: Mapping[str, str],
    secret: Secret | Sequence[Secret],
    *,
    max_age: float = _MAX_AGE,
    clock: Callable[[], float] = time.time,
) -> Alert:
    """The alert in a request of a webhook, for the program that receives it.

    - `body`: exactly as received; `headers`: of the request, in whatever case their names are.
    - `secret`: the one that the sender has, or several while it is replaced.
    - `max_age`: seconds that may lie between the clock of the sender and this one.
    - `clock`: a function that returns seconds since 1970.

    A request that was answered, but whose answer was lost, is sent again: `rule`, `state` and
    `since` are then the same. Raises `SignatureError` unless it is validly signed: `reason` is
    "unsigned", "malformed", "wrong" or "expired". Raises `OptionsError` for an invalid secret, and
    for a body that is not bytes.
    """
    several = isinstance(secret, Sequence) and not isinstance(secret, (str, bytes))
    secrets = [secret_bytes("secret", one) for one in (secret if several else [secret])]
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise OptionsError(f"verify_webhook(body): must be bytes, as received, not {type(body).__name__}")
    given = next((value for name, value in headers.items() if name.lower() == SIGNATURE.lower()), None)
    if given is None:
        raise SignatureError(f"the request has no header {SIGNATURE}", reason="unsigned")
    found = _SIGNED.fullmatch(given.strip())
    if found is None:
        raise SignatureError(f"the header {SIGNATURE} is not t=...,v1=...", reason="malformed")
    at, mac = int(found[1]), found[2]
    # Each is compared, so that the time taken does not tell which it was.
    matches = [hmac.compare_digest(_mac(one, body, at), mac) for one in secrets]
    if not any(matches):
        raise SignatureError("the signature does not match the body and the secret", reason="wrong")
    if abs(clock() - at) > max_age:
        raise SignatureError(f"the request is not from the last {max_age:g} s, or the clocks differ", reason="expired")
    try:
        return msgspec.json.decode(body, type=Alert)
    except msgspec.MsgspecError:
        raise SignatureError("the request is validly signed, and has no alert", reason="malformed") from None


# ---- the secret


def secret_bytes(option: str, value: Any) -> bytes:
    """A secret as bytes. Raises `OptionsError` naming `option`, and nothing of the value."""
    found = value.encode() if isinstance(value, str) else value
    if not isinstance(found, bytes) or len(found) < _LEAST_SECRET:
        raise OptionsError(f"{option}: must be a str or bytes, {_LEAST_SECRET} bytes or more")
    return found


def secret_in(path: str | os.PathLike[str]) -> bytes:
    """The secret in a file, without white space around it. Raises `OptionsError`."""
    try:
        found = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise OptionsError(f"secret_file={os.fspath(path)!r} cannot be read: {error.strerror}") from None
    return secret_bytes(f"secret_file={os.fspath(path)!r}", found.strip())


# ---- sending


class Webhook:
    """Posts alerts to one URL. Nothing that it raises or shows has a secret."""

    def __init__(self, url: Any, secret: Callable[[], bytes] | None, tls: ssl.SSLContext | None) -> None:
        self.target: Target = target("to_webhook(url)", url)
        self._secret = secret
        self._tls = tls
        if secret is not None:
            secret()  # an invalid one is found out now

    @property
    def name(self) -> str:
        return f"webhook {self.target.origin}"

    async def send(self, alert: Alert) -> None:
        """Post `alert` once. Raises `NotDelivered`. The caller sets the deadline."""
        body = msgspec.json.encode(alert)
        headers = {"Content-Type": "application/json", "User-Agent": "smith-sdk"}
        try:
            if self._secret is not None:  # read for each: a file may have been replaced
                headers[SIGNATURE] = signature(self._secret(), body, int(time.time()))
            answer = await post(self.target, body, headers, self._context)
        except (PostFailed, OptionsError) as error:
            raise NotDelivered(str(error)) from None
        if 200 <= answer.status < 300:
            return
        if answer.status < 400:
            raise NotDelivered(f"it answers {answer.status}, a redirect, which is not followed: give the URL that it leads to")
        raise NotDelivered(f"it answers {answer.status}", is_final=answer.status in _REFUSED, retry_after=answer.retry_after)

    @property
    def _context(self) -> ssl.SSLContext | None:
        if self._tls is None and self.target.is_tls:
            self._tls = ssl.create_default_context()  # reads files, so not before it is needed
        return self._tls

    def __repr__(self) -> str:
        return f"<Webhook {self.target.origin}>"
