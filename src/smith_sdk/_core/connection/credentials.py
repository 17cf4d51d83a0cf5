"""Credentials: finding them (arguments, environment, a context of the nats command), and signing
in.

Nothing here is logged, and no error shows a value: errors name files, variables and keys.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ...errors import OptionsError, SigningNotInstalled
from ...options import DEFAULT_URL, Auth, TLSFiles, server_urls, subject_prefix
from .contexts import Context, read_context
from .server_pool import Server, parse_server

_IN_CREDS: Final = re.compile(r"-+BEGIN ([A-Z0-9 ]+)-+\s+([A-Za-z0-9_.=-]+?)\s+-+END", re.ASCII)
_SEED: Final = 18 << 3  # the letter S
_USER: Final = 20 << 3  # the letter U


INBOX_PREFIX: Final = "_INBOX"
API_PREFIX: Final = "$JS.API"
_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("", "0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Access:
    """Where to connect, as whom, and by which subjects."""

    servers: tuple[Server, ...]
    auth: Auth | None
    tls: ssl.SSLContext | None
    tls_first: bool = False
    inbox_prefix: str = INBOX_PREFIX
    """What subjects for replies begin with."""
    api_prefix: str = API_PREFIX
    """What subjects of the JetStream API begin with."""


def find_access(
    url: str | Sequence[str] | None,
    auth: Auth | None,
    tls: ssl.SSLContext | TLSFiles | None,
    context: str | Context | None,
    *,
    tls_first: bool | None = None,
    inbox_prefix: str | None = None,
    js_domain: str | None = None,
    api_prefix: str | None = None,
) -> Access:
    """The arguments, else the environment, else the context, each by itself; `js_domain` and
    `api_prefix` are two ways to say the same.

    URLs that carry users keep them, unless `auth` is given. A `Context` was read by the caller, and
    is used as it is.

    Raises `OptionsError`, naming the argument, variable or key.
    """
    _require_types(auth, tls)
    env = os.environ
    if not isinstance(context, Context):
        context = _read_supported(context if context is not None else env.get("NATS_CONTEXT") or None)
    settings = context.settings
    found = url if url is not None else _url_of_environment(env) or settings.get("url") or DEFAULT_URL
    servers = tuple(parse_server(one) for one in server_urls(found))
    if auth is None and not any(server.user for server in servers):
        auth = _auth_of_environment(env) or _auth_of_context(context.name, settings)
    tls = tls or _tls_of_environment(env) or _tls_of_context(context.name, settings)
    tls_first = _tls_first(tls_first, env, context)
    _require_encryption(servers, tls_first=tls_first, tls=tls is not None)
    return Access(
        servers,
        auth,
        tls.context() if isinstance(tls, TLSFiles) else tls,
        tls_first,
        _inbox_prefix(inbox_prefix, env, context),
        _api_prefix(js_domain, api_prefix, env, context),
    )


def _tls_first(given: bool | None, env: Mapping[str, str], context: Context) -> bool:
    if given is None:
        flag = _flag_of_environment(env, "SMITH_TLS_FIRST")
        return context.tls_first if flag is None else flag
    if not isinstance(given, bool):
        raise OptionsError(f"tls_first={given!r}: must be True or False")
    return given


def _require_encryption(servers: Sequence[Server], *, tls_first: bool, tls: bool) -> None:
    """Raise `OptionsError` for a URL that leaves no room for the TLS that was asked for."""
    for server in servers:
        if server.scheme == "ws" and (tls or tls_first):
            raise OptionsError(f"url: {server.url} is not encrypted, and TLS was requested: use wss://")


def _flag_of_environment(env: Mapping[str, str], name: str) -> bool | None:
    value = env.get(name, "").strip().lower()
    if value not in (*_TRUE, *_FALSE):
        raise OptionsError(f"{name}={value!r}: must be true or false")
    return (value in _TRUE) if value else None


def _inbox_prefix(given: str | None, env: Mapping[str, str], context: Context) -> str:
    if given is not None:
        return subject_prefix("inbox_prefix", given)
    if found := env.get("SMITH_INBOX_PREFIX"):
        return subject_prefix("SMITH_INBOX_PREFIX", found)
    if found := context.settings.get("inbox_prefix"):
        return subject_prefix(f"context {context.name}: inbox_prefix", found)
    return INBOX_PREFIX


def _api_prefix(domain: str | None, prefix: str | None, env: Mapping[str, str], context: Context) -> str:
    """The first of arguments, environment and context that names a domain or a prefix."""
    settings, at = context.settings, f"context {context.name}: "
    for name, one, other_name, other in (
        ("js_domain", domain, "api_prefix", prefix),
        ("SMITH_JS_DOMAIN", env.get("SMITH_JS_DOMAIN") or None, "SMITH_API_PREFIX", env.get("SMITH_API_PREFIX") or None),
        (
            f"{at}jetstream_domain",
            settings.get("jetstream_domain"),
            f"{at}jetstream_api_prefix",
            settings.get("jetstream_api_prefix"),
        ),
    ):
        if one is not None and other is not None:
            raise OptionsError(f"{name} and {other_name}: give one of them; a domain has the prefix $JS.<domain>.API")
        if one is not None:
            return f"$JS.{subject_prefix(name, one, tokens=False)}.API"
        if other is not None:
            return subject_prefix(other_name, other.removesuffix(".") if isinstance(other, str) else other)
    return API_PREFIX


def _read_supported(name: str | None) -> Context:
    """The context `name`. Raises `OptionsError` for a key that is not supported.

    Such a key changes the destination or the way there, so a program must not go on without it.
    """
    if name is None:
        return Context()
    found = read_context(name)
    if found.unsupported:
        raise OptionsError(
            f"context={name!r}: {', '.join(found.unsupported)} in {found.file} is not supported; "
            f"give url, auth and tls as arguments"
        )
    return found


def _require_types(auth: object, tls: object) -> None:
    if not isinstance(auth, Auth | None):  # the value is not shown: it may be a password
        raise OptionsError(f"auth: expected an Auth such as Auth(token=...), not {type(auth).__name__}")
    if not isinstance(tls, ssl.SSLContext | TLSFiles | None):
        raise OptionsError(f"tls: expected TLSFiles or an ssl.SSLContext, not {type(tls).__name__}")


def _url_of_environment(env: Mapping[str, str]) -> str | None:
    return env.get("SMITH_NATS_URL") or env.get("NATS_URL") or None


def _tls_of_environment(env: Mapping[str, str]) -> TLSFiles | None:
    return _tls("NATS_CA, NATS_CERT, NATS_KEY", *(env.get(name) for name in ("NATS_CA", "NATS_CERT", "NATS_KEY")))


def _tls_of_context(context: str, settings: Mapping[str, str]) -> TLSFiles | None:
    return _tls(f"context {context}", *(settings.get(name) for name in ("ca", "cert", "key")))


def _auth_of_environment(env: Mapping[str, str]) -> Auth | None:
    creds, nkey, token = env.get("NATS_CREDS") or None, env.get("NATS_NKEY") or None, env.get("NATS_TOKEN") or None
    user, password = env.get("NATS_USER") or None, env.get("NATS_PASSWORD") or None
    return _auth("NATS_USER, NATS_PASSWORD, NATS_TOKEN, NATS_CREDS, NATS_NKEY", user, password, token, creds, nkey)


def _auth_of_context(context: str, settings: Mapping[str, str]) -> Auth | None:
    creds, nkey = (_path(settings.get(name)) for name in ("creds", "nkey"))
    return _auth(f"context {context}", settings.get("user"), settings.get("password"), settings.get("token"), creds, nkey)


def _auth(
    source: str, user: str | None, password: str | None, token: str | None, creds: str | None, nkey: str | None
) -> Auth | None:
    if user is not None and password is None and token is None:
        user, token = None, user  # as in the nats command, a user without a password is a token
    if (user, password, token, creds, nkey) == (None,) * 5:
        return None
    try:
        return Auth(user=user, password=password, token=token, creds=creds, nkey_seed=nkey)
    except OptionsError as error:
        raise OptionsError(f"{source}: {error}") from None


def _tls(source: str, ca: str | None, cert: str | None, key: str | None) -> TLSFiles | None:
    if not (ca or cert or key):
        return None
    try:
        return TLSFiles(ca=_path(ca), cert=_path(cert), key=_path(key))
    except OptionsError as error:
        raise OptionsError(f"{source}: {error}") from None


def _path(text: str | None) -> str | None:
    return os.path.expanduser(text) if text else None


# ---- answering the server


@dataclass(frozen=True, slots=True)
class SignIn:
    """The credentials of one CONNECT. `sign` signs the server's nonce; its result is base64."""

    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    jwt: bytes | None = field(default=None, repr=False)
    public_key: str | None = field(default=None, repr=False)
    sign: Callable[[str], bytes] | None = field(default=None, repr=False)


def sign_in(auth: Auth | None, server: Server) -> SignIn:
    """The credentials for `server`: `auth`, else those of its URL.

    Files are read at each call, so a renewed one takes effect. Raises `OptionsError` for a file
    that cannot be read, `SigningNotInstalled`.
    """
    if auth is None:
        if server.password is None:
            return SignIn(token=server.user)
        return SignIn(user=server.user, password=server.password)
    if auth.creds is not None:
        text = _read("creds", auth.creds)
        parts = dict(_IN_CREDS.findall(text))
        jwt, seed = parts.get("NATS USER JWT"), parts.get("USER NKEY SEED")
        if jwt is None or seed is None:
            raise OptionsError(f"Auth: creds file {os.fspath(auth.creds)} does not contain a user JWT and its NKey seed")
        _, sign = _key_pair(seed, os.fspath(auth.creds))
        return SignIn(jwt=jwt.encode(), sign=sign)
    if auth.nkey_seed is not None:
        public_key, sign = _key_pair(_read("nkey_seed", auth.nkey_seed).strip(), os.fspath(auth.nkey_seed))
        return SignIn(public_key=public_key, sign=sign)
    return SignIn(user=auth.user, password=auth.password, token=auth.token)


def _read(name: str, path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise OptionsError(f"Auth: {name} file {os.fspath(path)} cannot be read: {why}") from None


def _key_pair(seed: str, file: str) -> tuple[str, Callable[[str], bytes]]:
    """The public NKey of a user's seed, and a function that signs with it."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    except ImportError:
        raise SigningNotInstalled(f"{file} is an NKey, which requires Ed25519: pip install 'smith-sdk[signing]'") from None
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except binascii.Error:
        raw = b""
    # Two bytes of prefix, 32 of seed, two of checksum (NKeys: github.com/nats-io/nkeys).
    kind = ((raw[0] & 7) << 5 | (raw[1] & 248) >> 3) if len(raw) == 36 else -1
    if kind != _USER or raw[0] & 248 != _SEED or _checksum(raw[:-2]) != raw[-2:]:
        raise OptionsError(f"Auth: {file} does not contain the NKey seed of a user, which begins with SU")
    key = Ed25519PrivateKey.from_private_bytes(raw[2:34])
    public = bytes([_USER]) + key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    named = base64.b32encode(public + _checksum(public)).decode().rstrip("=")
    return named, lambda nonce: base64.b64encode(key.sign(nonce.encode()))


def _checksum(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0).to_bytes(2, "little")
