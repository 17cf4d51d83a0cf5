"""The roles of `smith demo --secure`: for each a user with the least permissions, an inbox of its
own, TLS, and intents that are signed.

When all files are read, each role tries what belongs to another one.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from .. import signing, subjects
from .._core.connection.contexts import Context
from ..aio import AsyncSmithBus, result_of
from ..embedded import EmbeddedServer
from ..errors import PermissionDenied, SmithError
from ..options import Auth, TLSFiles
from ..protocol import FsReadV1Intent, FsReadV1Params
from ..topology import consumers
from ..trust import Trust
from .demo_roles import EXECUTOR_ROLE, Answers, ExecutorRole, Refused, Roles
from .demo_tls import TlsFiles, make_certificates

_HOST: Final = "127.0.0.1"
_ROLES: Final[dict[str, dict[str, Any]]] = {
    "publisher": {"role": "publisher", "subjects": ["intents.raw:capability=fs.read.v1"]},
    "admission": {"role": "admission", "replay_protection": True},
    "executor": {"role": "worker", "consumers": [consumers.executor_fs_read.name]},
    "collector": {"role": "worker", "consumers": [consumers.http_results.name]},
    "watcher": {"role": "reader", "subjects": ["dlq"]},
    "operator": {"role": "operator"},
}
"""The arguments of `smith_codegen.permissions.block` for each."""
_AT_MOST: Final = 10.0
"""Seconds for one attempt at what is forbidden."""
_PAUSE: Final = 0.02


@dataclass(frozen=True)
class _Place:
    """A server with a user for each role."""

    url: str
    ca: Path
    passwords: dict[str, str]
    inboxes: dict[str, str]

    def bus(self, role: str, **options: Any) -> AsyncSmithBus:
        # An empty context: that of the user's environment is about another server.
        nowhere: Any = Context()
        return AsyncSmithBus(
            self.url,
            auth=Auth(user=role, password=self.passwords[role]),
            tls=TLSFiles(ca=self.ca),
            inbox_prefix=self.inboxes[role],
            context=nowhere,
            profile="dev",
            name=f"smith-demo-{role}",
            **options,
        )

    def executors(self, trusted: list[str]) -> dict[str, str]:
        """The environment of the executors."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("NATS_")}
        role = ExecutorRole(inbox_prefix=self.inboxes["executor"], trusted=trusted)
        return {
            **inherited,
            "SMITH_NATS_URL": self.url.replace("://", f"://executor:{self.passwords['executor']}@"),
            "NATS_CA": str(self.ca),
            EXECUTOR_ROLE: json.dumps({"inbox_prefix": role.inbox_prefix, "trusted": role.trusted}),
        }


@asynccontextmanager
async def a_role_for_each() -> AsyncIterator[Roles]:
    """Each part has a user of its own, which may do what it needs and nothing else.

    Raises `SigningNotInstalled`, `ServerNotInstalled`, `ServerStartError`.
    """
    signing.require_installed()
    key = signing.generate_key()
    trusted = [signing.public_key(key)]
    async with AsyncExitStack() as closing:
        # Its owner alone may enter the directory, which holds the server's private key.
        scratch = closing.enter_context(tempfile.TemporaryDirectory(prefix="smith-demo-"))
        place = await asyncio.to_thread(_start, Path(scratch), closing)
        async with place.bus("operator") as operator:
            await operator.streams.apply()
        publisher, admission, collector, watcher = [
            await closing.enter_async_context(place.bus(role)) for role in ("publisher", "admission", "collector", "watcher")
        ]
        yield Roles(
            publisher=publisher,
            admission=admission,
            collector=collector,
            watcher=watcher,
            executors=place.executors(trusted),
            trust=Trust(keys=trusted),
            sign=lambda intent: signing.sign(intent, key),
            try_forbidden=lambda answers: _try_forbidden(place, answers),
        )


def _start(directory: Path, closing: AsyncExitStack) -> _Place:
    """Start the server. Its users are in its configuration file, which its owner alone may read."""
    from smith_codegen import permissions, sources

    spec = sources.load_package("smith_sdk")
    blocks = {name: permissions.block(spec, **arguments) for name, arguments in _ROLES.items()}
    passwords = {name: secrets.token_hex(16) for name in _ROLES}
    users = [permissions.User(name=name, password=passwords[name], permissions=allowed) for name, allowed in blocks.items()]
    files = make_certificates(directory, _HOST)
    server = EmbeddedServer(config=f"{_tls(files)}\n{permissions.authorization(users)}")
    closing.callback(server.stop)
    server.start()
    return _Place(server.url, files.ca, passwords, {name: one.inbox_prefix for name, one in blocks.items()})


def _tls(files: TlsFiles) -> str:
    return f"tls {{ cert_file: {json.dumps(str(files.cert))}, key_file: {json.dumps(str(files.key))} }}"


# ---- what is refused


Attempt = Callable[[AsyncSmithBus], Awaitable[object]]


def _intent() -> FsReadV1Intent:
    return FsReadV1Intent.new(domain="demo", params=FsReadV1Params(path="/etc/hostname"))


async def _publish_raw(bus: AsyncSmithBus) -> object:
    intent = _intent()
    return await bus.publish(subjects.intents.raw.of(intent), intent)


async def _publish_vetted(bus: AsyncSmithBus) -> object:
    intent = _intent()
    # As without this SDK: `publish` asks for the stream's consumers first, and is refused for that.
    where, data = str(subjects.intents.vetted.of(intent)), msgspec.json.encode(intent)
    return await bus._session.requests.request(where, data, timeout=_AT_MOST)


async def _forge_result(bus: AsyncSmithBus) -> object:
    result = result_of(_intent(), output="forged")
    return await bus.publish(subjects.results.of(result), result)


async def _take_raw(bus: AsyncSmithBus) -> object:
    return await bus.consumer(consumers.admission).fetch(1, timeout=1)


async def _take_vetted(bus: AsyncSmithBus) -> object:
    return await bus.consumer(consumers.executor_fs_read).fetch(1, timeout=1)


async def _take_results(bus: AsyncSmithBus) -> object:
    return await bus.consumer(consumers.http_results).fetch(1, timeout=1)


async def _purge_audit(bus: AsyncSmithBus) -> object:
    return await bus._session.api.stream_purge("AUDIT_SECURITY", {})


async def _purge_letters(bus: AsyncSmithBus) -> object:
    return await bus._session.api.stream_purge("SMITH_DLQ", {})


_PUBLISH_RAW: Final = "publish an intent", _publish_raw
_PUBLISH_VETTED: Final = "have an intent executed without admission", _publish_vetted
_FORGE_RESULT: Final = "forge a result", _forge_result
_TAKE_RAW: Final = "take intents from admission", _take_raw
_TAKE_VETTED: Final = "take intents from the executors", _take_vetted
_TAKE_RESULTS: Final = "take results from the collector", _take_results
_PURGE_AUDIT: Final = "delete audit events", _purge_audit

_FORBIDDEN: Final[dict[str, tuple[tuple[str, Attempt], ...]]] = {
    "publisher": (_PUBLISH_VETTED, _FORGE_RESULT, _TAKE_RAW, _TAKE_RESULTS, _PURGE_AUDIT),
    "admission": (_PUBLISH_RAW, _TAKE_VETTED, _TAKE_RESULTS, _PURGE_AUDIT),
    "executor": (_PUBLISH_RAW, _PUBLISH_VETTED, _TAKE_RAW, _PURGE_AUDIT),
    "collector": (_PUBLISH_RAW, _PUBLISH_VETTED, _FORGE_RESULT, _PURGE_AUDIT),
    "watcher": (_PUBLISH_RAW, _FORGE_RESULT, ("delete dead letters", _purge_letters), _PURGE_AUDIT),
    "operator": (),
}


async def _try_forbidden(place: _Place, answers: Answers) -> tuple[Refused, ...]:
    """Have each role try what is another one's, and read what is answered to another one."""
    found: list[Refused] = []
    roles = tuple(_ROLES)
    for at, (role, attempts) in enumerate(_FORBIDDEN.items()):
        other = roles[at - 1]
        async with place.bus(role) as bus:
            for tried, attempt in attempts:
                found.append(await _attempted(role, tried, attempt(bus)))
            found.append(await _attempted(role, f"read what {other} is answered", _listen(bus, place.inboxes[other])))
    found += await _unsigned(place, answers)
    return tuple(found)


async def _attempted(role: str, tried: str, attempt: Awaitable[object]) -> Refused:
    try:
        async with asyncio.timeout(_AT_MOST):
            await attempt
    except PermissionDenied as error:
        return Refused(role=role, tried=tried, refused=True, by=error.subject)
    except (SmithError, TimeoutError) as error:
        return Refused(role=role, tried=tried, refused=False, by=f"{type(error).__name__}: {error}")
    return Refused(role=role, tried=tried, refused=False, by="")


async def _listen(bus: AsyncSmithBus, prefix: str) -> None:
    """Subscribe to all replies below `prefix`. Raises `PermissionDenied`."""
    refusal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    session = bus._session
    subscription = await session.connection.subscribe(f"{prefix}.>", lambda _: None, refusal.set_exception)
    try:
        await session.connection.barrier(timeout=_AT_MOST)  # the server has taken it, or refused it before
        if refusal.done():
            refusal.result()
    finally:
        await subscription.unsubscribe()


async def _unsigned(place: _Place, answers: Answers) -> list[Refused]:
    """Intents that the publisher may publish, and admission does not let through."""
    stranger = signing.generate_key()
    tries = {
        "have an unsigned intent executed": _intent(),
        "have an intent of an unknown signer executed": signing.sign(_intent(), stranger),
    }
    async with place.bus("publisher") as bus:
        for intent in tries.values():
            await bus.publish(subjects.intents.raw.of(intent), intent)
    for _ in range(round(_AT_MOST / _PAUSE)):
        if all(intent.id in answers for intent in tries.values()):
            break
        await asyncio.sleep(_PAUSE)
    return [_decided(tried, answers.get(intent.id)) for tried, intent in tries.items()]


def _decided(tried: str, answer: Any) -> Refused:
    code = "" if answer is None else answer.status if answer.error is None else answer.error.code
    is_denied = answer is not None and answer.status == "denied"
    return Refused(role="publisher", tried=tried, refused=is_denied, by=code or "no answer")
