"""Reconnecting: keeps one link to one of several servers for as long as the connection is open.

A link is made once and never mended. When it is over, for whatever reason, it is discarded and
another takes its place, so there is one way to connect, and what hangs in an old link is never
waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from ...errors import AuthenticationError, BusClosed, BusError, ConnectError, OptionsError, SmithError
from ...options import Backoff
from ..log_records import LogFields
from .link import Link
from .link_failures import LinkError
from .link_opener import LinkOpener
from .server_pool import Server, ServerPool, addresses, parse_server
from .state import Status, log
from .tasks import BackgroundTasks, ignore_outcome

PING_INTERVAL: Final = 10.0
_PING_PATIENCE: Final = 0.25
"""Ping intervals beyond the first that a ping may stay unanswered: a dead link is noticed after
22.5 s at most."""
_MOVE_TIMEOUT: Final = 2.0
"""Seconds that a move to another server waits for outstanding replies, and for what the old server
has sent."""
_SHORT_LIFE: Final = 0.5
"""Seconds; a link that lived shorter counts as a failed attempt, and the pause before the next one
grows."""
_MAX_SHORT_LIVES: Final = 4
"""At most so many count: a server that accepts and drops us again is tried every second, since it
may be the network."""
_ENDED_LIFE: Final = 10.0
"""Seconds; `_SHORT_LIFE` of a link that the server has ended itself, with a reason. All of these
count: what exceeds a limit of the server is likely to exceed it again."""
_MAX_REFUSALS: Final = 2
"""Rounds in which every server refuses the credentials, before a connection that once worked is
closed for good."""
_MIN_SHARE: Final = 0.05
"""Seconds that an attempt gets at least, when servers or addresses share a deadline."""


class Host(Protocol):
    """What the reconnector asks of the connection that it keeps a link for."""

    async def adopt(self, link: Link) -> None:
        """Make `link` ready for use: subscriptions, held messages.

        Raises `LinkError` if it breaks meanwhile.
        """
        ...

    def lost(self, link: Link) -> None:
        """`link` is over, or broke while it was made ready; another is made."""
        ...

    def ended(self, error: SmithError) -> None:
        """The connection is closed for good, for that reason."""
        ...


class Reconnector:
    """Keeps `link`. Belongs to one event loop."""

    def __init__(
        self,
        host: Host,
        opener: LinkOpener,
        servers: Sequence[Server],
        *,
        connect_timeout: float,
        ping_interval: float,
        wait: bool,
        backoff: Backoff | None,
    ) -> None:
        self._host = host
        self._opener = opener
        self.servers = ServerPool(servers)
        self.status = Status()
        self.link: Link | None = None
        """The link in use."""
        self.is_leaving = False
        """Whether `link` is about to be replaced: messages that can wait are held for the next
        one."""
        self.error: SmithError | None = None
        """Why the connection is closed for good."""
        self.problem = ""
        """Why there is no link; empty while there is one, and before the first."""
        self.reconnects = 0
        """How often a link took the place of another."""
        self._has_connected = False
        self.connect_timeout = connect_timeout
        self._ping_interval = ping_interval
        self._wait = wait
        self._backoff = backoff or Backoff(initial=0.1, max=5.0)
        self._successor: Link | None = None
        self._runner: asyncio.Task[None] | None = None
        self._background = BackgroundTasks()
        self._short_lives = 0

    @property
    def is_running(self) -> bool:
        """Whether the link is kept.

        False once the event loop has cancelled that, as asyncio.run does at its end.
        """
        return self._runner is not None and not self._runner.done()

    @property
    def url(self) -> str:
        """The server in use, else the configured servers, without credentials."""
        return self.servers.url if self.link is None else self.link.server.url

    def aim_at(self, urls: Sequence[str]) -> None:
        """Connect to `urls` from the next `connect` on."""
        self.servers = ServerPool([parse_server(url) for url in urls])

    # ---- starting and stopping

    async def connect(self) -> None:
        """Connect to the first server that accepts us; with `wait`, return at once and connect in
        the background.

        Raises `AuthenticationError` if every server that answers refuses the credentials,
        `ConnectError` if all have failed or `connect_timeout` seconds have passed, both naming the
        servers; `OptionsError` for credentials files that cannot be read; `SigningNotInstalled` and
        `WebSocketNotInstalled` without the extra that a server needs.
        """
        if self._runner is not None:
            raise BusClosed(f"already connected to {self.url}")
        for server in self.servers.round():
            self._opener.check(server)
        self.error = None
        self.status.change("connecting", f"connecting to {self.servers.url}")
        link = None if self._wait else await self._connect_first()
        self._runner = asyncio.ensure_future(self._run(link))

    async def _connect_first(self) -> Link:
        link = None
        try:
            link = await self._try_servers(self.servers.round(), self.connect_timeout)
            await self._adopt(link)
        except BaseException as error:
            if link is not None:
                link.discard()
            self.link = None
            reason = str(error) or "connecting was cancelled"
            self.status.change("closed", reason)
            self.status.close(BusClosed(reason))
            if isinstance(error, LinkError):
                where = self.servers.url
                raise ConnectError(f"the connection to {where} broke at once: {error}", url=where) from None
            raise
        return link

    def stop(self) -> tuple[asyncio.Task[None], ...]:
        """Keep the link no more; return the tasks that were cancelled.

        The link itself stays: closing may flush it.
        """
        runner, self._runner = self._runner, None
        self._has_connected = False
        if runner is None:
            return ()
        runner.cancel()
        return runner, *self._background.cancel()

    def loop_ended(self) -> None:
        """The event loop has ended; the socket is closed when its transport is freed."""
        self._runner = self.link = self._successor = None
        self._has_connected = False
        self._background.clear()

    # ---- keeping a link

    async def _run(self, link: Link | None) -> None:
        """Keep a link until the connection is closed, or until the servers refuse the
        credentials."""
        try:
            while self.error is None:
                if link is None:
                    link = await self._connect_any()
                if self.link is not link and not await self._try_adopt(link):
                    self._has_lived(link, 0.0)
                    self._host.lost(link)
                    link = None
                    continue
                began = asyncio.get_running_loop().time()
                await self._keepalive(link)
                self._has_lived(link, asyncio.get_running_loop().time() - began)
                self._drop(link)
                link, self._successor = self._successor, None
        except Exception as error:
            log.error(
                "the connection is closed for good: %s",
                str(error),
                exc_info=None if isinstance(error, SmithError) else error,
                extra=LogFields(error_type=type(error).__name__),
            )
            self.status.change("closed", str(error))
            self._host.ended(
                error if isinstance(error, SmithError) else BusClosed(f"the connection failed: {type(error).__name__}")
            )
        finally:
            for one in (link, self._successor):
                if one is not None and one is not self.link:
                    one.discard()
            self._successor = None

    def _has_lived(self, link: Link, seconds: float) -> None:
        """Have the pause before the next link grow unless this one was stable."""
        if seconds >= (_ENDED_LIFE if link.said else _SHORT_LIFE):
            self._short_lives = 0
        elif link.said:
            self._short_lives += 1
        else:
            self._short_lives = max(self._short_lives, min(self._short_lives + 1, _MAX_SHORT_LIVES))

    async def _try_adopt(self, link: Link) -> bool:
        try:
            await self._adopt(link)
        except LinkError as error:
            before, self.problem = self.problem, f"the connection to {link.server.url} broke at once: {error}"
            level = logging.INFO if self.problem == before else logging.WARNING
            log.log(level, "%s; trying again", self.problem, extra=_fields(link, error))
            link.discard()
            if self.is_leaving:
                self._disconnected(f"the move to {link.server.url} failed: {error}")
            return False
        return True

    async def _adopt(self, link: Link) -> None:
        """Have the host make `link` ready, then notify the listeners. Raises `LinkError`."""
        self.servers.connected_to(link.server, link.cluster)
        await self._host.adopt(link)
        if self.error is not None:  # nats-py may have swallowed the cancellation
            raise LinkError("the bus was closed")
        moved, self.is_leaving = self.is_leaving, False
        self.reconnects += self._has_connected
        self._has_connected = True
        self.link = link
        log.info("connected to %s", link.server.url, extra=_fields(link))
        self.status.change("connected", f"connected to {link.server.url}")
        self.status.notify(lambda listener: listener.on_move() if moved else listener.on_reconnect())
        self.problem = ""

    async def _connect_any(self) -> Link:
        """A link to whichever server accepts us, however long that takes.

        Raises `AuthenticationError`.
        """
        worked_before = self.servers.last is not None
        attempt = refusals = 0
        while True:
            if attempt or worked_before:
                await asyncio.sleep(self._backoff.delay(max(attempt + self._short_lives, 1)))
            servers = self.servers.round()
            attempt += 1
            try:
                return await self._try_servers(servers, self.connect_timeout * len(servers))
            except AuthenticationError:
                refusals += 1
                if refusals >= (_MAX_REFUSALS if worked_before else 1):
                    raise
            except (ConnectError, OptionsError) as error:
                refusals = 0
                self.problem = str(error)
                level = logging.WARNING if attempt == 1 else logging.INFO
                log.log(level, "%s; trying again", self.problem, extra=LogFields(error_type=type(error).__name__))

    async def _try_servers(self, servers: Sequence[Server], within: float) -> Link:
        """Try `servers` in turn, `within` seconds in all; each gets an equal share of the time
        left.

        Raises `AuthenticationError` if a server refused the credentials and none accepted them,
        `ConnectError`, `OptionsError`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        failures: list[tuple[Server, LinkError]] = []
        for number, server in enumerate(servers):
            share = (deadline - loop.time()) / (len(servers) - number)
            try:
                return await self._try_addresses(server, max(share, _MIN_SHARE))
            except LinkError as error:
                failures.append((server, error))
        refusing = ", ".join(server.url for server, error in failures if error.refused)
        if refusing:
            raise AuthenticationError(
                f"{refusing} refused the credentials: check user, password, token, creds, NKey or certificate", url=refusing
            )
        where = ", ".join(server.url for server in servers)
        why = "; ".join(f"{server.url}: {error}" if len(servers) > 1 else str(error) for server, error in failures)
        if all(error.said for _, error in failures):
            raise ConnectError(f"the connection to {where} was refused: {why}", url=where)
        raise ConnectError(f"no NATS server at {where} ({why}): is it running, and is the address right?", url=where)

    async def _try_addresses(self, server: Server, within: float) -> Link:
        """A link to `server`, at the first of its IP addresses that answers."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        resolving = asyncio.ensure_future(addresses(server))
        resolving.add_done_callback(ignore_outcome)
        await asyncio.wait((resolving,), timeout=within)
        if not resolving.done():
            resolving.cancel()
            raise LinkError(f"its name was not resolved within {within:g} s")
        if (problem := resolving.exception()) is not None:
            raise LinkError(f"its name was not resolved: {problem}")
        failure = LinkError("its name has no address")
        found = resolving.result()
        for number, address in enumerate(found):
            share = (deadline - loop.time()) / (len(found) - number)
            try:
                return await self._opener.open(server, address, max(share, _MIN_SHARE), self._on_lame_duck)
            except LinkError as error:
                # Its text, not the error: a log record that is kept would keep the frames as well.
                log.debug("%s at %s: %s", server.url, address, error, extra=LogFields(server=server.url))
                failure = failure if failure.refused else error
        raise failure

    # ---- while it is up

    async def _keepalive(self, link: Link) -> None:
        """Ping `link` until it is over, or until a ping stays unanswered."""
        interval = self._ping_interval
        while not link.over.done():
            await asyncio.wait((link.over,), timeout=interval)
            if link.over.done():
                return
            pong = link.ping()
            either = (link.over, pong)
            await asyncio.wait(either, timeout=interval, return_when=asyncio.FIRST_COMPLETED)
            if not pong.done() and not link.over.done():
                self.status.change("degraded", f"{link.server.url} has not answered a ping for {interval:g} s")
                await asyncio.wait(either, timeout=interval * _PING_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if not pong.done() or pong.cancelled():
                link.end(f"no answer to a ping for {interval * (1 + _PING_PATIENCE):g} s")
            elif (error := pong.exception()) is not None:
                link.end(str(error))
            elif not link.is_lame:
                self.status.change("connected", f"{link.server.url} answers again")

    def _drop(self, link: Link) -> None:
        """Discard a link that is over."""
        why = link.over.result()
        link.discard()
        self.link = None
        if self._successor is None:
            self.servers.connected_to(link.server, link.cluster)
            log.warning("connection to %s lost: %s", link.server.url, why, extra=_fields(link))
            self._host.lost(link)
            self._disconnected(f"the connection to {link.server.url} was lost: {why}")

    def _disconnected(self, reason: str) -> None:
        self.is_leaving = False
        self.problem = reason
        self.status.change("reconnecting", reason)
        self.status.notify(lambda listener: listener.on_disconnect())

    # ---- lame duck mode

    def _on_lame_duck(self, link: Link) -> None:
        if link.is_lame or link.over.done():
            return
        link.is_lame = True
        self.servers.connected_to(link.server, link.cluster)
        log.warning("%s is going out of service", link.server.url, extra=_fields(link))
        self.status.change("degraded", f"{link.server.url} is in lame duck mode")
        self._background.spawn(self._move(link))

    async def _move(self, link: Link) -> None:
        """Move to another server while this one still serves; without one, stay to the end."""
        successor = await self._find_successor(link)
        if successor is None:
            return
        if link.over.done():
            successor.discard()
            return
        self.is_leaving = True
        leaving = asyncio.ensure_future(self._leave(link))
        try:
            await asyncio.wait((leaving, link.over), timeout=_MOVE_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
            if link.over.done() or self.link is not link:
                successor.discard()
                return
        except BaseException:
            successor.discard()
            raise
        finally:
            leaving.cancel()
            leaving.add_done_callback(ignore_outcome)
        log.info("moving from %s to %s", link.server.url, successor.server.url, extra=_fields(link))
        self._successor = successor
        link.end("moving to another server")

    async def _find_successor(self, link: Link) -> Link | None:
        """A link to another server than `link`'s; None where there is none, or `link` ended
        first."""
        attempt = 0
        while others := self.servers.others(link.server):
            try:
                return await self._try_servers(others, self.connect_timeout * len(others))
            except (BusError, OptionsError) as error:
                attempt += 1
                log.info("no other server than %s yet: %s", link.server.url, error, extra=_fields(link, error))
            await asyncio.wait((link.over,), timeout=self._backoff.delay(attempt))
            if link.over.done():
                return None
        return None

    async def _leave(self, link: Link) -> None:
        """Wait for outstanding replies, then for everything that was sent either way."""
        replies = [reply for listener in self.status.listeners for reply in listener.outstanding_replies()]
        if replies:
            await asyncio.wait(replies, timeout=_MOVE_TIMEOUT / 2)
        await link.leave()


def _fields(link: Link, error: BaseException | None = None) -> LogFields:
    fields = LogFields(server=link.server.url)
    return fields if error is None else fields | LogFields(error_type=type(error).__name__)
