"""A member of a sharding: its key in the bucket, and the shards that the members' keys assign it.

Its key has a TTL and is renewed every third of it. While the bucket cannot be reached, or has just
been, the assignment stays as it was: keys expire without their members being at fault then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Final

import msgspec

from ...errors import BusClosed, DeadlineExceeded, MemberNameTaken, PublishUnconfirmed, SmithError
from ..foreign_text import one_line
from ..jetstream.api import StoredMessage
from ..jetstream.kv import Bucket
from ..jetstream.kv_watch import KeyWatch
from ..jetstream.session import Session
from ..log_records import LogFields, sdk_logger
from .records import Keys, Member, Owner, View, read, view

log: Final = sdk_logger("worker")

_LATE: Final = 1.0
"""Seconds by which a renewal may arrive late at a watcher that has just been without any."""
_SILENT: Final = 2 / 3
"""The share of its TTL after which a key that is not renewed has no process: a process renews it
every third."""
_STALE: Final = 0.75
"""The share of the TTL after which a member that has not renewed its key trusts no other key."""
_SETTLE: Final = 0.1
"""Seconds for which changes are gathered: at a start or a stop, several keys change at once."""
_PAUSE: Final = 0.2
"""Seconds until a key is written again whose write has not been confirmed."""
_LEAVE: Final = 5.0
"""Seconds to tell the others that this member leaves. Otherwise they see its key expire."""


class Membership:
    """One process among those that share `shards`, by their ids, of the sharding `name`.

    `member` is a name that it keeps over restarts; None: one is made up. `ttl` is seconds. Belongs
    to one event loop, and runs once: `join`, then `leave`. `on_change` is called in the loop when
    the assignment or the members have changed.
    """

    def __init__(
        self,
        session: Session,
        bucket: str,
        name: str,
        shards: Collection[str],
        *,
        ttl: float,
        member: str | None = None,
        on_change: Callable[[], object] = lambda: None,
    ) -> None:
        self._shards = frozenset(shards)
        self._ttl = ttl
        self._is_static = member is not None
        self._on_change = on_change
        self.name = _made_up_name() if member is None else member
        self._sharding = name
        self._keys = Keys(name)
        self._bucket = Bucket(session, bucket)
        self._watch = KeyWatch(self._bucket, self._keys.all, self._watched)
        self._fields = LogFields(stream=self._bucket.stream)
        self.record = Member(
            instance=secrets.token_hex(8), host=socket.gethostname()[:256], pid=os.getpid(), since=datetime.now(UTC)
        )
        self._revision = 0
        """That of its key; 0: it has none."""
        self._renewed = 0.0
        """When its key was last renewed, by the monotonic clock."""
        self._sure_from: float | None = None
        """From when on the keys of others are believed; None: not as things are."""
        self._view = View({}, {}, {})
        self.assigned: Mapping[str, str] = {}
        """The member for each shard, this one included."""
        self._task: asyncio.Task[None] | None = None
        self._problem = ""
        self._looking: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        """Whether a key has changed since it was last looked at."""
        self.lost: Final[asyncio.Future[Exception]] = asyncio.get_running_loop().create_future()
        """Done once its key is no longer renewed: `MemberNameTaken`, or what has failed."""

    # ---- the life of a member

    async def join(self, timeout: float) -> None:
        """Become a member, within `timeout` seconds.

        A name that another process had is waited for until that has left, or is seen not to renew
        it. Raises `MemberNameTaken` if another process renews it; for the bucket `StreamNotFound`,
        `TopologyRefused` and `PermissionDenied`; `DeadlineExceeded`, and what else writing raises.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._bucket.require()
                await self._watch.start(timeout)
                await self._claim()
        except TimeoutError:
            await self._watch.stop()
            raise DeadlineExceeded(
                f"member {self.name} of sharding {self._sharding}: the bucket {self._bucket.stream} has not taken its key "
                f"within {timeout:g} s",
                timeout=timeout,
            ) from None
        except BaseException:
            await self._watch.stop()
            raise
        self._sure_from = 0.0
        self._task = asyncio.ensure_future(self._keep())
        self._look()

    async def leave(self) -> None:
        """Be a member no more. The shards go to the others: at once, or those of a member that has
        a name of its own once its key has expired. Raises nothing. Safe to repeat."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        await self._watch.stop()
        if task is None or self.lost.done():
            return
        try:
            async with asyncio.timeout(_LEAVE):
                await self._say_goodbye()
        except (SmithError, TimeoutError) as error:
            log.warning(
                "member %s of sharding %s: its key could not be given up, and expires within %g s: %s",
                self.name,
                self._sharding,
                self._ttl,
                error if isinstance(error, SmithError) else "no answer",
                extra=self._fields,
            )

    async def _say_goodbye(self) -> None:
        key = self._keys.member(self.name)
        while (there := await self._bucket.get(key)) is not None:
            record = read(there.value, Member)
            if record is None or record.instance != self.record.instance:
                return
            if not self._is_static:
                for shard in [shard for shard, to in self._view.moves.items() if to == self.name]:
                    await self._bucket.delete(self._keys.move(shard))  # the name is never used again
                if await self._bucket.delete(key, revision=there.revision):
                    return
            elif await self._write(msgspec.structs.replace(record, stopped=True), there.revision) is not None:
                return

    # ---- shards

    @property
    def view(self) -> View:
        """The members and owners that the assignment is made of."""
        return self._view

    @property
    def mine(self) -> frozenset[str]:
        """The shards that are assigned to this member."""
        return frozenset(shard for shard, member in self.assigned.items() if member == self.name)

    def share(self, shards: Collection[str]) -> None:
        """Share these from now on: their number is being changed."""
        self._shards = frozenset(shards)
        self.assigned = {shard: member for shard, member in self.assigned.items() if shard in self._shards}
        self._view = View({}, {}, {})
        self._look()

    @property
    def is_frozen(self) -> bool:
        """Whether the assignment stays as it was, whatever the keys say."""
        return self._sure_from is None or self._sure_from > monotonic()

    async def take(self, shard: str, pin: str, may: Callable[[], bool]) -> int | None:
        """Say in the bucket that this member owns `shard`, by `pin`. Returns the fence.

        Each fence of a shard is greater than all before it. None once `may` says that the shard is
        not this member's: then it has not been taken, or only after `may` was last asked.
        """
        value, key = self._owner(pin), self._keys.owner(shard)
        while may():
            done = await self._bucket.claim(key, value)
            if isinstance(done, int):
                return done
            if not may():
                break
            revision = await self._bucket.replace(key, value, revision=done.seq)
            if revision is not None:
                return revision
        return None

    async def adopt(self) -> None:
        """Say that this member owns what is assigned to it and no member owns, before it is pinned:
        nothing is delivered of an idle shard, and it is to stay where it is all the same."""
        for shard in sorted(self.mine):
            owner = self._view.owners.get(shard)
            if owner is None or owner[0].member not in self._view.members:
                value, key = self._owner(""), self._keys.owner(shard)
                if owner is None:
                    await self._bucket.create(key, value)
                else:
                    await self._bucket.replace(key, value, revision=owner[1].revision)

    async def release(self, shard: str) -> None:
        """Say that this member no longer owns `shard`, unless another one has taken it."""
        key = self._keys.owner(shard)
        if (there := await self._bucket.get(key)) is not None:
            owner = read(there.value, Owner)
            if owner is not None and owner.instance == self.record.instance:
                await self._bucket.delete(key, revision=there.revision)

    def _owner(self, pin: str) -> bytes:
        return msgspec.json.encode(Owner(member=self.name, instance=self.record.instance, pin=pin))

    # ---- its own key

    async def _claim(self) -> None:
        """Write its key for the first time, or again after it has expired."""
        rival, since = 0, monotonic()
        while True:
            self._changed.clear()
            there = await self._put_first()
            if there is None:
                return
            other = read(there.data, Member)
            is_free = other is None or other.stopped or other.instance == self.record.instance
            if not is_free and rival not in (0, there.seq):
                raise MemberNameTaken(
                    f"another process is member {self.name} of sharding {self._sharding}{_place_of(other)}: give each process "
                    f"a name of its own"
                )
            if not rival:
                since = monotonic()
            left = since + self._ttl * _SILENT - monotonic()
            if is_free or left <= 0:
                if await self._write(self.record, there.seq) is not None:
                    return
            else:
                if not rival:
                    what = "member %s of sharding %s: waiting for its former process to end"
                    log.info(what, self.name, self._sharding, extra=self._fields)
                rival = there.seq
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._changed.wait()

    async def _put_first(self) -> StoredMessage | None:
        """Write its key unless there is one. Returns the one that is there."""
        while True:
            began = monotonic()
            try:
                done = await self._bucket.claim(self._keys.member(self.name), msgspec.json.encode(self.record), ttl=self._ttl)
            except PublishUnconfirmed:  # it may be stored: then it is found to be there
                await asyncio.sleep(_PAUSE)
            else:
                if not isinstance(done, int):
                    return done
                self._revision, self._renewed = done, began
                return None

    async def _write(self, record: Member, revision: int) -> int | None:
        value, began = msgspec.json.encode(record), monotonic()
        done = await self._bucket.replace(self._keys.member(self.name), value, revision=revision, ttl=self._ttl)
        if done is not None:
            # When it was sent: the answer may have waited while the process was stopped.
            self._revision, self._renewed = done, began
        return done

    async def _keep(self) -> None:
        try:
            await self._renew_often()
        except Exception as error:
            self.lost.set_result(error)
            self._on_change()

    async def _renew_often(self) -> None:
        """Renew its key until this is cancelled, or the bus is closed."""
        while True:
            await asyncio.sleep(self._ttl / 3)
            try:
                async with asyncio.timeout(self._ttl / 3):
                    await self._renew()
            except MemberNameTaken:
                raise
            except BusClosed:
                return
            except (SmithError, TimeoutError) as error:
                self._report(error)
            else:
                self._problem = ""
            self._look()

    async def _renew(self) -> None:
        if self._revision and await self._write(self.record, self._revision) is not None:
            return
        self._revision = 0
        there = await self._bucket.get(self._keys.member(self.name))
        found = None if there is None else read(there.value, Member)
        if there is not None and found is not None and found.instance == self.record.instance:
            self.record = found  # somebody has it drain, or no longer
            await self._write(self.record, there.revision)
        elif found is not None and not found.stopped:
            raise MemberNameTaken(
                f"another process has become member {self.name} of sharding {self._sharding}{_place_of(found)} while this one "
                f"did not renew its key for {monotonic() - self._renewed:.0f} s"
            )
        else:
            log.warning(
                "member %s of sharding %s: its key has expired or was overwritten, %.0f s after it was renewed; it is made again",
                self.name,
                self._sharding,
                monotonic() - self._renewed,
                extra=self._fields,
            )
            await self._claim()

    def _report(self, error: SmithError | TimeoutError) -> None:
        problem = type(error).__name__
        if problem != self._problem:
            self._problem = problem
            log.warning(
                "member %s of sharding %s: its key could not be renewed; the shards stay as they are assigned: %s",
                self.name,
                self._sharding,
                error if isinstance(error, SmithError) else "no answer in time",
                extra=LogFields(stream=self._bucket.stream, error_type=problem),
            )

    # ---- the keys of all

    def _watched(self) -> None:
        self._changed.set()
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_SETTLE, self._look)

    def _look(self) -> None:
        """Assign the shards anew, if the keys may be believed."""
        self._looking = None
        if self._task is None:
            return
        now = monotonic()
        if not self._watch.is_current or now - self._renewed > self._ttl * _STALE:
            self._sure_from = None
            return
        if self._sure_from is None:  # every member has its chance to renew its key
            wait = self._ttl / 3 + _LATE
            self._sure_from = now + wait
            asyncio.get_running_loop().call_later(wait + 0.01, self._look)
        if now < self._sure_from:
            return
        found = view(self._keys, self._watch.entries.values())
        own = found.members.get(self.name)
        if own is not None and own.instance == self.record.instance:
            self.record = own  # somebody has it drain, or no longer
        found.members[self.name] = self.record  # its key may have expired, yet it is there
        if found != self._view:
            self._view = found
            self.assigned = found.assignment(self._shards)
            self._on_change()


def _made_up_name() -> str:
    host = "".join(one if one.isascii() and (one.isalnum() or one in "-_") else "-" for one in socket.gethostname())
    return f"{host[:32] or 'host'}-{os.getpid()}-{secrets.token_hex(4)}"


def _place_of(other: Member | None) -> str:
    return "" if other is None or not other.host else f", on host {one_line(other.host, 64)} with PID {other.pid}"
