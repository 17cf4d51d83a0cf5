"""The supervisor: keeps one link to one of several servers, for as long as the connection is open.

A link is made once and never mended. When it is over, for whatever reason, it is thrown away and the next one takes its place, so there
is one way to connect, and nothing that hangs in an old link is ever waited for. What a link is, and what is done with it, is the
connection's business; here are the states, the order of the servers, deadlines, pings, and the move away from a lame duck.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

from ...errors import AuthenticationError, BusClosed, BusError, ConnectError, OptionsError, SmithError
from ...options import Backoff
from .server_pool import Server, ServerPool, addresses, parse_server

log: Final = logging.getLogger("smith_sdk.connection")

State = Literal["connecting", "connected", "degraded", "reconnecting", "closed"]

PING_INTERVAL: Final = 10.0
_PATIENCE: Final = 0.25
"""Ping intervals that a ping may stay unanswered beyond the first, before the link counts as dead: 22.5 s after it died, at most."""
_MOVING: Final = 2.0
"""Seconds that a move to another server waits for replies under way, and for what the old one has sent."""
_SHORT: Final = 0.5
"""Seconds; links that live shorter count as failed attempts, and the pause before the next grows."""
_SHORT_COUNT: Final = 4
"""No more than so many of them do: a server that takes us and loses us again is asked every second, as it may be the network."""
_REFUSALS: Final = 2
"""Rounds of servers that all refuse the credentials, after which a connection that once stood is given up."""


class LinkError(Exception):
    """A link could not be made, or broke. Its text holds no credential."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused
        """The server does not accept the credentials."""


class Link(Protocol):
    """What the supervisor asks of a link."""

    server: Server
    over: asyncio.Future[str]
    """Why it ended."""
    is_lame: bool
    """The server has said that it goes out of service."""
    cluster: Sequence[str]
    """Where its cluster listens (host:port), as it said last: nodes come and go while the link stands."""

    def end(self, why: str) -> None: ...
    def ping(self) -> asyncio.Future[None]: ...
    async def leave(self) -> None: ...
    def discard(self) -> None: ...


LinkT = TypeVar("LinkT", bound=Link)


class Listener:
    """Hears of the connection's fate, inside the event loop; must return at once and never raise. Override what matters."""

    def on_state(self, state: State, reason: str) -> None:
        """The state has changed; `reason` says why, without credentials."""

    def on_disconnect(self) -> None:
        """The link is down; another is being made."""

    def on_reconnect(self) -> None:
        """A link is up, the first one or another; subscriptions are in force, nothing else is restored."""

    def on_move(self) -> None:
        """The link was left for another while it still worked; subscriptions are in force there."""
        self.on_disconnect()
        self.on_reconnect()

    def on_refused(self, subject: str) -> None:
        """The server's permissions forbid publishing to `subject` (lower case: the client library folds it)."""

    def on_close(self, error: SmithError) -> None:
        """The connection is gone for good; `error` says why."""

    def under_way(self) -> Iterable[asyncio.Future[Any]]:
        """RequestReply that are waited for and would be lost with the link: a move to another server waits a moment for them."""
        return ()


def wrong_loop_error() -> BusClosed:
    """Called in another event loop than the connection's: what waits there would never be woken here."""
    return BusClosed(
        "the bus was connected in another event loop, and works in that one only: connect() and close() it in the same loop "
        "(each asyncio.run has its own)"
    )


class Supervisor(ABC, Generic[LinkT]):
    """Keeps `_link`. Belongs to one event loop."""

    def __init__(
        self, servers: Sequence[Server], *, connect_timeout: float, ping_interval: float, wait: bool, reconnect: Backoff | None
    ) -> None:
        self._servers = ServerPool(servers)
        self._connect_timeout = connect_timeout
        self._ping_interval = ping_interval
        self._wait = wait
        self._reconnect = reconnect or Backoff(initial=0.1, max=5.0)
        self._link: LinkT | None = None
        self._successor: LinkT | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._listeners: list[Listener] = []
        self._state: State = "closed"
        self._ended: SmithError | None = None
        self._short_lived = 0
        self._leaving = False
        """The link is about to be left: what it need not carry is held for the next."""

    # ---- what a link is

    @abstractmethod
    def _check_credentials(self, server: Server) -> None:
        """Raise `OptionsError` where what is to be shown to `server` cannot be read."""

    @abstractmethod
    async def _open_link(self, server: Server, address: str, within: float) -> LinkT:
        """A link to `server` at `address`, in `within` seconds. Raises `LinkError`, `OptionsError`."""

    @abstractmethod
    async def _take(self, link: LinkT) -> None:
        """Make `link` ready, then `_use` it. Raises `LinkError` when it breaks meanwhile."""

    @abstractmethod
    def _finish(self, error: SmithError) -> None:
        """The end for good: nothing will be sent any more, and whoever asks is told `error`."""

    # ---- the state, and who hears of it

    @property
    def state(self) -> State:
        """Where the connection stands; "closed" before the first connect, too."""
        return self._state

    @property
    def is_up(self) -> bool:
        """Whether there is a link: what is published now is sent now."""
        return self._link is not None

    @property
    def is_attended(self) -> bool:
        """Whether the link is kept. Where the loop has cancelled that, as asyncio.run does with all tasks, it is about to end."""
        return self._supervision is not None and not self._supervision.done()

    @property
    def url(self) -> str:
        """The server it is connected to, else the servers it was told, without credentials."""
        return self._servers.url if self._link is None else self._link.server.url

    def add_listener(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    def _tell(self, words: Callable[[Listener], None]) -> None:
        for listener in tuple(self._listeners):
            try:
                words(listener)
            except Exception:  # the others must hear it, and the link must not be held up
                log.exception("%s does not take what the connection tells it", type(listener).__name__)

    def _become(self, state: State, reason: str) -> None:
        if state != self._state:
            self._state = state
            self._tell(lambda listener: listener.on_state(state, reason))

    # ---- connecting

    def aim_at(self, urls: Sequence[str]) -> None:
        """Connect to `urls` from the next `connect` on: an embedded server has its address only once it runs."""
        self._servers = ServerPool([parse_server(url) for url in urls])

    async def connect(self) -> None:
        """Connect to the first server that takes us; with `wait`, return at once and go on trying for as long as it takes.

        Raises `AuthenticationError` when every server that answers refuses the credentials, `ConnectError` when all have failed or
        `connect_timeout` seconds have passed, both naming the servers; `OptionsError` for files of credentials that cannot be read.
        """
        if self._supervision is not None:
            raise BusClosed(f"already connected to {self.url}")
        for server in self._servers.round():
            self._check_credentials(server)
        self._ended = None
        self._become("connecting", f"connecting to {self._servers.url}")
        link = None
        if not self._wait:
            try:
                link = await self._round(self._servers.round(), self._connect_timeout)
                await self._take(link)
            except BaseException as error:
                if link is not None:
                    link.discard()
                self._link = None
                reason = str(error) or "connecting was given up"
                self._become("closed", reason)
                self._tell(lambda listener: listener.on_close(BusClosed(reason)))
                self._listeners.clear()
                if isinstance(error, LinkError):
                    raise ConnectError(f"the link to {self._servers.url} broke at once: {error}", url=self._servers.url) from None
                raise
        self._supervision = asyncio.ensure_future(self._supervise(link))

    async def _supervise(self, link: LinkT | None) -> None:
        """Keep a link, until the connection is closed or the servers refuse the credentials."""
        try:
            while self._ended is None:
                if link is None:
                    link = await self._reach()
                if self._link is not link:
                    try:
                        await self._take(link)
                    except LinkError as error:
                        log.info("the link to %s broke at once: %s", link.server.url, str(error))
                        link.discard()
                        if self._leaving:
                            self._lose(f"the move to {link.server.url} failed: {error}")
                        link = None
                        continue
                began = asyncio.get_running_loop().time()
                await self._attend(link)
                lived = asyncio.get_running_loop().time() - began
                self._short_lived = min(self._short_lived + 1, _SHORT_COUNT) if lived < _SHORT else 0
                self._drop(link)
                link, self._successor = self._successor, None
        except Exception as error:
            log.error("the connection is given up: %s", str(error), exc_info=None if isinstance(error, SmithError) else error)
            self._become("closed", str(error))
            self._finish(error if isinstance(error, SmithError) else BusClosed(f"the connection failed: {type(error).__name__}"))
        finally:
            for one in (link, self._successor):
                if one is not None and one is not self._link:
                    one.discard()
            self._successor = None

    async def _reach(self) -> LinkT:
        """A link to whichever server takes us, however long that lasts. Raises `AuthenticationError`."""
        stood = self._servers.last is not None
        attempt = refused = 0
        while True:
            if attempt or stood:
                await asyncio.sleep(self._reconnect.delay(max(attempt + self._short_lived, 1)))
            servers = self._servers.round()
            attempt += 1
            try:
                return await self._round(servers, self._connect_timeout * len(servers))
            except AuthenticationError:
                refused += 1
                if refused >= (_REFUSALS if stood else 1):
                    raise
            except (ConnectError, OptionsError) as error:
                refused = 0
                log.log(logging.WARNING if attempt == 1 else logging.INFO, "%s; trying again", str(error))

    async def _round(self, servers: Sequence[Server], within: float) -> LinkT:
        """Try `servers` in turn, `within` seconds in all, of which each gets an even share of what is left.

        Raises `AuthenticationError` when a server refused the credentials and none took them, `ConnectError`, `OptionsError`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        failures: list[tuple[Server, LinkError]] = []
        for number, server in enumerate(servers):
            share = (deadline - loop.time()) / (len(servers) - number)
            try:
                return await self._open_server(server, max(share, 0.05))
            except LinkError as error:
                failures.append((server, error))
        refusing = ", ".join(server.url for server, error in failures if error.refused)
        if refusing:
            raise AuthenticationError(
                f"{refusing} refused the credentials: check user, password, token, creds, NKey or certificate", url=refusing
            )
        where = ", ".join(server.url for server in servers)
        why = "; ".join(f"{server.url}: {error}" if len(servers) > 1 else str(error) for server, error in failures)
        raise ConnectError(f"no NATS server at {where} ({why}): is it running, and is the address right?", url=where)

    async def _open_server(self, server: Server, within: float) -> LinkT:
        """A link to `server`, at the first of its addresses that answers."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        asking = asyncio.ensure_future(addresses(server))
        asking.add_done_callback(forget)
        await asyncio.wait((asking,), timeout=within)
        if not asking.done():
            asking.cancel()
            raise LinkError(f"its name was not resolved within {within:g} s")
        if (problem := asking.exception()) is not None:
            raise LinkError(f"its name was not resolved: {problem}")
        failure = LinkError("its name has no address")
        found = asking.result()
        for number, address in enumerate(found):
            share = (deadline - loop.time()) / (len(found) - number)
            try:
                return await self._open_link(server, address, max(share, 0.05))
            except LinkError as error:
                log.debug(
                    "%s at %s: %s", server.url, address, str(error)
                )  # its text: a record that is kept would keep the frames, too
                failure = failure if failure.refused else error
        raise failure

    # ---- while it stands

    async def _attend(self, link: LinkT) -> None:
        """Ping `link` until it is over, or dead without a word."""
        interval = self._ping_interval
        while not link.over.done():
            await asyncio.wait((link.over,), timeout=interval)
            if link.over.done():
                return
            pong = link.ping()
            both = (link.over, pong)
            await asyncio.wait(both, timeout=interval, return_when=asyncio.FIRST_COMPLETED)
            if not pong.done() and not link.over.done():
                self._become("degraded", f"{link.server.url} has not answered a ping for {interval:g} s")
                await asyncio.wait(both, timeout=interval * _PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if not pong.done() or pong.cancelled():
                link.end(f"no answer to a ping for {interval * (1 + _PATIENCE):g} s")
            elif (error := pong.exception()) is not None:
                link.end(str(error))
            elif not link.is_lame:
                self._become("connected", f"{link.server.url} answers again")

    def _drop(self, link: LinkT) -> None:
        """The link is over: away with it."""
        why = link.over.result()
        link.discard()
        self._link = None
        if self._successor is None:
            self._servers.connected_to(link.server, link.cluster)
            log.warning("connection to %s lost: %s", link.server.url, why)
            self._lose(f"the connection to {link.server.url} was lost: {why}")

    def _lose(self, reason: str) -> None:
        self._leaving = False
        self._become("reconnecting", reason)
        self._tell(lambda listener: listener.on_disconnect())

    def _use(self, link: LinkT) -> None:
        """`link` is ready: say so."""
        moved, self._leaving = self._leaving, False
        self._link = link
        log.info("connected to %s", link.server.url)
        self._become("connected", f"connected to {link.server.url}")
        self._tell(lambda listener: listener.on_move() if moved else listener.on_reconnect())

    # ---- lame duck

    def _on_lame_duck(self, link: LinkT) -> None:
        if link.is_lame or link.over.done():
            return
        link.is_lame = True
        self._servers.connected_to(link.server, link.cluster)
        log.warning("%s is going out of service", link.server.url)
        self._become("degraded", f"{link.server.url} is in lame duck mode")
        self._spawn(self._move(link))

    async def _move(self, link: LinkT) -> None:
        """Find another server while this one still serves, and go there; without another, stay until it cuts."""
        attempt = 0
        while others := self._servers.others(link.server):
            try:
                successor = await self._round(others, self._connect_timeout * len(others))
                break
            except (BusError, OptionsError) as error:
                attempt += 1
                log.info("nowhere to move to from %s yet: %s", link.server.url, str(error))
            await asyncio.wait((link.over,), timeout=self._reconnect.delay(attempt))
            if link.over.done():
                return
        else:
            return
        if link.over.done():
            successor.discard()
            return
        self._leaving = True
        leaving = asyncio.ensure_future(self._leave(link))
        try:
            await asyncio.wait((leaving, link.over), timeout=_MOVING, return_when=asyncio.FIRST_COMPLETED)
            if link.over.done() or self._link is not link:
                successor.discard()
                return
        except BaseException:
            successor.discard()
            raise
        finally:
            leaving.cancel()
            leaving.add_done_callback(forget)
        log.info("moving from %s to %s", link.server.url, successor.server.url)
        self._successor = successor
        link.end("moving to another server")

    async def _leave(self, link: LinkT) -> None:
        """Wait for replies under way, then for what the server has sent and for what it was sent."""
        replies = [reply for listener in self._listeners for reply in listener.under_way()]
        if replies:
            await asyncio.wait(replies, timeout=_MOVING / 2)
        await link.leave()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def forget(task: asyncio.Future[Any]) -> None:
    """Take the outcome that nobody waits for."""
    if not task.cancelled():
        task.exception()
