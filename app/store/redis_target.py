"""An empty Redis, or a cluster, that a restore fills.

Until it is done, the mark of the format says so, and no service opens the database. All keys of a session expire, as
those of an interrupted save do, until one script writes its head and makes them stay. So an interrupted restore is
begun again with the same backup: it goes on where it was, and takes nothing back. A call without an answer is sent
again, and the first one may still arrive at any time: then it writes the same, or nothing once the head is there.
"""

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import Self

import orjson

from app.errors import StateDamaged, StoreUnavailable
from app.settings import Settings
from app.store import redis_due
from app.store.base import IncompatibleStore
from app.store.envelope import has_expired, peek
from app.store.formats import STORE_FORMAT
from app.store.keys import Claim, KeyMemory
from app.store.ledger_envelope import decode as decode_ledger
from app.store.redis_client import Command
from app.store.redis_commands import Commands
from app.store.redis_format import RESTORING, format_of
from app.store.redis_index import Index
from app.store.redis_names import (
    FORMAT_KEY,
    TENANTS,
    claims_key,
    created_key,
    head_key,
    history_key,
    keys_key,
    ledger_key,
    marks_key,
    piece_key,
    tenant_key,
    thinned_key,
)
from app.store.redis_patience import patient
from app.store.redis_pieces import STAGED_MS, batched
from app.store.redis_save import row_member
from app.store.redis_scripts import CLAIM, PUT_RESTORED, RESTORE
from app.store.snapshot import PIECE, About, Member, Target, frames_of

SENT_BYTES = 8 << 20
"""The size of the commands that are sent together."""
SENT = 500
"""The most commands that are sent together."""
FIELDS = 200
"""The most rows in one command."""
REFUSALS = {
    b"lost": "a part of it expired before all was there: run the restore again",
    b"other": "this Redis has other rows of it: empty the database, and run the restore again",
}


class RedisTarget(Target):
    """One Redis or cluster. It belongs to its event loop."""

    kind = "redis"

    def __init__(self, client: Commands) -> None:
        self._redis = client

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(patient(settings))

    async def begin(self, backup: str) -> None:
        self._redis.open()
        await self._redis.check()
        mark = RESTORING + backup.encode()
        (found,) = await self._redis.ask(("GET", FORMAT_KEY))
        if found == mark:
            return
        if found is not None and found.startswith(RESTORING):
            raise StoreUnavailable(
                "a restore of another backup into this Redis was interrupted: restore that one again, or empty the "
                "database"
            )
        await format_of(self._redis)
        (tenants,) = await self._redis.ask(("SMEMBERS", TENANTS))
        for tenant in map(bytes.decode, tenants):
            for found in await Index(self._redis).list(tenant, 1, None):
                raise StoreUnavailable(
                    f"this Redis is not empty, and nothing is overwritten: it has session {found.session_id}; name "
                    f"another database"
                )
        await self._redis.ask(("SET", FORMAT_KEY, mark))

    async def put(self, about: About, head: bytes, members: Iterator[Member]) -> bool:
        if has_expired(head):
            return False
        (there,) = await self._redis.ask(("EXISTS", head_key(about.session_id)))
        if not there:  # else an interrupted restore has put it
            await Writing(self._redis, about).write(head, members)
        return True

    async def put_claims(self, member: Member) -> int:
        left_out = 0
        for (tenant, _, key, created), claim in frames_of(member):
            if tenant is None:
                left_out += 1
                continue
            await self._redis.ask(("SADD", TENANTS, tenant))
            await self._redis.run(CLAIM, [claims_key(tenant)], (key, claim, b""))
            left_ms = 0 if created is None else math.ceil((created + KeyMemory().seconds - time.time()) * 1000)
            if left_ms > 0:
                session_id = Claim.decode(tenant, key, claim).session_id
                await self._redis.ask(("SET", created_key(session_id), _time(created), "PX", left_ms))
        return left_out

    async def finish(self) -> None:
        await self._redis.ask(("SET", FORMAT_KEY, STORE_FORMAT))

    async def close(self) -> None:
        await self._redis.close()


class Writing:
    """The writing of one session: commands that wait to be sent together, and the keys that its head will name."""

    def __init__(self, client: Commands, about: About) -> None:
        self._redis = client
        self._about = about
        self._session_id = about.session_id
        self._commands: list[Command] = []
        self._size = 0
        self._named: dict[str, None] = {}
        self._rows = self._marks = self._used = 0
        self._ledger = b""

    async def write(self, head: bytes, members: Iterator[Member]) -> None:
        """Write all members, then the head."""
        for member in members:
            match member.kind:
                case "ledger":
                    self._ledger = bytes(member.data)
                case "history":
                    self._put_history(member)
                case "thinned":
                    self._put_thinned(member)
                case "marks":
                    self._put_marks(member)
                case "keys":
                    self._put_keys(member)
                case "piece":
                    self._put_piece(member)
            self._size += len(member.data)
            if self._size >= SENT_BYTES or len(self._commands) >= SENT:
                await self._redis.ask(*self._commands)
                self._commands, self._size = [], 0
        await self._finish(head)

    def _put(self, key: str, *command: str | bytes | int | memoryview) -> None:
        """Add a command, given without its key: the same again changes nothing."""
        self._named[key] = None
        name, *values = command
        head = head_key(self._session_id)
        self._commands.append(("EVAL", PUT_RESTORED.text, 2, head, key, STAGED_MS, name, *values))

    def _put_piece(self, member: Member) -> None:
        self._put(piece_key(self._session_id, member.name.removeprefix(PIECE)), "SET", member.data)

    def _put_history(self, member: Member) -> None:
        scored = [(step, row_member(step, version, body)) for (step, version), body in frames_of(member)]
        self._rows += len(scored)
        for some in batched(scored, FIELDS):
            self._put(history_key(self._session_id), "ZADD", *chain(*some))

    def _put_thinned(self, member: Member) -> None:
        self._put(thinned_key(self._session_id), "SET", " ".join(map(str, orjson.loads(member.data))))

    def _put_marks(self, member: Member) -> None:
        marks = [
            (version, b"%016d%s %s" % (version, kind.encode(), body)) for (version, kind), body in frames_of(member)
        ]
        self._marks += len(marks)
        for some in batched(marks, FIELDS):
            self._put(marks_key(self._session_id), "ZADD", *chain(*some))

    def _put_keys(self, member: Member) -> None:
        fields = list[Command]()
        for (used_at, digest), row in frames_of(member):
            self._used += 1
            fields.append((digest, row, self._used, f"{_time(used_at)} {digest}"))
        for some in batched(fields, FIELDS):
            self._put(keys_key(self._session_id), "HSET", *chain(*some))

    async def _finish(self, head: bytes) -> None:
        """Send the rest, and the script that writes the head; add the session to its tenant's list."""
        if self._used:
            self._put(keys_key(self._session_id), "HSET", "numbers", f"1 {self._used}")
        tenant = self._about.tenant
        index: list[Command] = []
        if tenant is not None:
            index = [("SADD", TENANTS, tenant), ("ZADD", tenant_key(tenant), 0, self._session_id)]
        due = self._due()
        own = [make(self._session_id) for make in (head_key, ledger_key, history_key, marks_key)]
        values = (head, self._ledger, _lifetime(head), self._rows, self._marks)
        before = [*self._commands, *index, *due]
        outcome = await self._redis.run(RESTORE, [*own, *self._named], values, before, [*index, *due])
        if outcome in REFUSALS:
            raise StoreUnavailable(f"session {self._session_id}: {REFUSALS[outcome]}")

    def _due(self) -> list[Command]:
        if self._ledger:
            with suppress(StateDamaged, IncompatibleStore):
                return redis_due.added(decode_ledger(self._session_id, self._ledger))
        return []


def _lifetime(head: bytes) -> str | int:
    """Return the milliseconds to keep the session, or nothing: for ever. One with a damaged head stays, to be seen."""
    with suppress(StateDamaged):
        expires_at = peek("", head).expires_at
        if expires_at is not None:
            return max(1, math.ceil((expires_at - time.time()) * 1000))
    return ""


def _time(moment: float) -> str:
    """Return a time as a save writes it, to the millisecond; to the last digit where the backup has more."""
    rounded = f"{moment:.3f}"
    return rounded if float(rounded) == moment else repr(moment)
