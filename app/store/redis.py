"""Sessions in Redis (or Valkey). What a crash of Redis itself loses is what its append-only file is set to.

Fresh pieces go to names that nothing reads yet, and expire after an hour unless a save takes them; then one script
does the save. Every name is unique, so that a piece which is there already is never written again: a save that comes
twice must not put an expiry on what is in use.
"""

import asyncio
import glob
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Self, TypeVar

from app.errors import StateDamaged, StoreUnavailable
from app.file_modes import loose
from app.settings import Settings
from app.store.base import (
    FORMAT,
    AlreadyCreated,
    Head,
    IncompatibleStore,
    KeyUsed,
    Part,
    Piece,
    Save,
    Saving,
    Stamp,
    Store,
    Unreadable,
    VersionConflict,
)
from app.store.envelope import LABEL_BYTES, decode, has_expired, listed, peek
from app.store.keys import Claim
from app.store.redis_claims import Claims
from app.store.redis_client import Client, Command, Refused, Upload
from app.store.redis_names import (
    FORMAT_KEY,
    READY_KEY,
    TENANTS,
    created_key,
    head_key,
    history_key,
    keys_key,
    piece_keys,
    session_key,
    tenant_key,
)
from app.store.redis_save import saved_keys, saved_values
from app.store.redis_scripts import SAVE, UNLINK

BATCH = 16
"""Pieces, or heads, in one pipeline: what a connection holds in memory at a time."""
STAGED_MS = 3_600_000
"""How long a save may take, and how long the leftovers of one that was interrupted stay."""

CONFLICTS: Mapping[bytes, tuple[type[VersionConflict], str]] = {
    b"conflict": (VersionConflict, ": the store does not hold what the change was made from"),
    b"used": (KeyUsed, ": the key was used before"),
    b"created": (AlreadyCreated, " was created before"),
}
"""Why the script did not save."""
READY_MS = 60_000
READY_SECONDS = 1.25
"""What a probe waits for Redis: less than the two seconds in which `/readyz` answers."""

Item = TypeVar("Item")


class RedisSaving(Saving):
    """A saving whose pieces go out on one connection, in the event loop that made it."""

    def __init__(self, store: "RedisStore", upload: Upload, session_id: str, token: str) -> None:
        super().__init__(store, token)
        self.upload = upload
        self._redis = store
        self._session_id = session_id
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._written: dict[str, Piece] = {}

    def write(self, part: Part) -> None:
        self._loop.call_soon_threadsafe(self._put, part)

    def _put(self, part: Part) -> None:
        if self._is_open:
            self._written[part[0].name] = part[0]
            self.upload.put(_set(self._session_id, part))

    def _end(self) -> dict[str, Piece]:
        """Take nothing more; return what is under way by name, once."""
        self._is_open = False
        written, self._written = self._written, {}
        return written

    async def save(self, save: Save) -> None:
        written = self._end()
        await self._redis.commit(save, written, self.upload if written else None)

    async def discard(self) -> None:
        if written := self._end():
            with suppress(StoreUnavailable):
                await self.upload.finish(("UNLINK", *piece_keys(self._session_id, written.values())))


class RedisStore(Store):
    """Any number of objects and processes share one Redis. An object belongs to the event loop that opened it."""

    def __init__(self, client: Client, history_limit: int) -> None:
        self._redis = client
        self._claims = Claims(client)
        self.history_limit = history_limit

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(Client(settings.store, settings.store_timeout_seconds), settings.history_limit)

    # Opening and closing

    async def open(self) -> None:
        self._redis.open()
        try:
            await self._check_format()
        except BaseException:
            await self.close()
            raise

    async def _check_format(self) -> None:
        (found,) = await self._redis.ask(("GET", FORMAT_KEY))
        if found is None:
            _, found = await self._redis.ask(("SET", FORMAT_KEY, FORMAT, "NX"), ("GET", FORMAT_KEY))
        if not found.isdigit():
            raise IncompatibleStore(f"{FORMAT_KEY} in this Redis is not of this service: name another database")
        if int(found) > FORMAT:
            raise IncompatibleStore(
                f"this Redis has form {int(found)}, of a newer version of this service; this one reads up to form "
                f"{FORMAT}: run the newer version"
            )
        if int(found) < FORMAT:
            await self._redis.ask(("SET", FORMAT_KEY, FORMAT))

    async def warnings(self) -> list[str]:
        """How this Redis may lose what was answered, and whom the key of its client lets in."""
        warnings = loose(self._redis.pool.secret_files)
        try:
            memory, disk = map(_info, await self._redis.ask(("INFO", "memory"), ("INFO", "persistence")))
        except Refused as refusal:
            return [*warnings, f"whether this Redis may lose steps cannot be looked at: {refusal.detail}"]
        if memory.get("maxmemory", "0") != "0" and memory.get("maxmemory_policy") != "noeviction":
            warnings.append("this Redis drops keys when its memory is full: set its maxmemory-policy to noeviction")
        if disk.get("aof_enabled", "0") == "0":
            warnings.append("this Redis has no append-only file: if it crashes, steps that were answered are lost")
        return warnings

    async def close(self) -> None:
        await self._redis.close()

    async def ping(self) -> None:
        await self._redis.ask(("SET", READY_KEY, 1, "PX", READY_MS), at_once_within=READY_SECONDS)

    # Reading

    async def load(self, session_id: str) -> Head | None:
        (data,) = await self._redis.ask(("GET", head_key(session_id)))
        return None if data is None or has_expired(data) else decode(session_id, data)

    async def read(self, head: Head, into: memoryview) -> None:
        offset = 0
        try:
            for pieces in _batched(head.pieces):
                found = await self._redis.ask(*(("GET", key) for key in piece_keys(head.session_id, pieces)))
                for piece, data in zip(pieces, found, strict=True):
                    piece.verify(head.session_id, data)
                    into[offset : offset + piece.size] = data
                    offset += piece.size
        except StateDamaged:
            await self._expect(head)
            raise
        await self._expect(head)

    async def _expect(self, head: Head) -> None:
        """Pieces never change under their names: while the head stands, so do all of them."""
        if await self._held(head.session_id) != head.stamp:
            raise VersionConflict(f"session {head.session_id} is no longer at {head.stamp}")

    async def _held(self, session_id: str) -> Stamp | None:
        """The stamp of a session that is there and has not expired."""
        (start,) = await self._redis.ask(("GETRANGE", head_key(session_id), 0, LABEL_BYTES - 1))
        return peek(session_id, start).stamp if start and not has_expired(start) else None

    async def history(self, session_id: str, after: int, limit: int) -> list[bytes]:
        key = history_key(session_id)
        (page,) = await self._redis.ask(("ZRANGEBYSCORE", key, f"({after}", "+inf", "LIMIT", 0, limit))
        if page:
            last = int(page[-1][:16])
            (sharing,) = await self._redis.ask(("ZRANGEBYSCORE", key, last, last))
            page = [member for member in page if int(member[:16]) < last] + sharing
        return [member[32:] for member in page]

    async def latest(self, session_id: str, count: int) -> list[bytes]:
        (page,) = await self._redis.ask(("ZRANGE", history_key(session_id), -count, -1))
        return [member[32:] for member in page]

    async def _ids(self, tenant: str, limit: int, before: str | None) -> list[str]:
        top = "+" if before is None else f"({before}"
        (ids,) = await self._redis.ask(("ZREVRANGEBYLEX", tenant_key(tenant), top, "-", "LIMIT", 0, limit))
        return [session_id.decode() for session_id in ids]

    # Writing

    def saving(self, session_id: str, token: str) -> RedisSaving:
        return RedisSaving(self, self._redis.upload(), session_id, token)

    async def save(self, save: Save) -> None:
        await self.commit(save)

    async def commit(self, save: Save, written: Collection[str] = (), upload: Upload | None = None) -> None:
        """Do the save, the pieces of which that have these names are on their way by the upload."""
        head = save.head
        rest = [_set(head.session_id, part) for part in save.fresh if part[0].name not in written]
        if upload is None and len(rest) > BATCH:
            if save.is_done(await self._held(head.session_id)):
                return
            upload = self._redis.upload()
        # Who finds an id without a head takes it out of the index: so it goes in before the head, and again after.
        index = [] if save.previous else [("ZADD", tenant_key(head.tenant), 0, head.session_id)]
        before = [*rest, *index, *(("SADD", TENANTS, head.tenant) for _ in index)]
        try:
            outcome = await self._redis.run(
                SAVE,
                saved_keys(save),
                saved_values(save, self.history_limit, self.key_memory),
                before,
                index,
                upload,
            )
        except Refused:
            await self._unstage(save)
            raise
        if outcome in CONFLICTS:
            await self._unstage(save)
            kind, message = CONFLICTS[outcome]
            raise kind(f"session {head.session_id}{message}")
        if outcome != b"done":
            lost = head.pieces[outcome]
            if save.previous and lost in save.previous.pieces:
                lost.verify(head.session_id, None)
            raise StoreUnavailable(f"session {head.session_id}: piece {lost.name} expired before the save was done")

    async def _unstage(self, save: Save) -> None:
        """Remove the fresh pieces of a save that failed, unless a head names them; what stays will expire."""
        session_id = save.head.session_id
        with suppress(StoreUnavailable, StateDamaged):
            unlinked = False
            while not unlinked:
                (data,) = await self._redis.ask(("GET", head_key(session_id)))
                named = decode(session_id, data).pieces if data else ()
                leftover = [piece for piece, _ in save.fresh if piece not in named]
                unlinked = await self._unlink(session_id, data, piece_keys(session_id, leftover))

    async def _unlink(self, session_id: str, data: bytes | None, keys: Sequence[str]) -> bool:
        """Unlink if the head still is what `data` is; say whether it was."""
        outcome = await self._redis.run(UNLINK, [head_key(session_id), *keys], [(data or b"")[:LABEL_BYTES]])
        return bool(outcome == b"done")

    async def delete(self, session_id: str, expected: Stamp | None = None) -> bool:
        while True:
            (data,) = await self._redis.ask(("GET", head_key(session_id)))
            if data is None or has_expired(data):
                return False
            if expected is not None and peek(session_id, data).stamp != expected:
                raise VersionConflict(f"session {session_id} is no longer at {expected}")
            try:
                head = decode(session_id, data)
                keys = [make(session_id) for make in (head_key, history_key, keys_key)]
                keys += piece_keys(session_id, head.pieces)
            except (StateDamaged, IncompatibleStore):
                head, keys = None, await self._scan(session_id)
            if await self._unlink(session_id, data, keys):
                if head:
                    await self._forget(head.tenant, [session_id])
                return True

    async def _scan(self, session_id: str) -> list[str]:
        """Every key of a session whose head does not tell."""
        pattern, keys, cursor = glob.escape(session_key(session_id, "")) + "*", list[str](), 0
        while True:
            ((cursor, found),) = await self._redis.ask(("SCAN", cursor, "MATCH", pattern, "COUNT", 1000))
            keys += [key.decode() for key in found if key.decode() != created_key(session_id)]
            if int(cursor) == 0:
                return keys

    async def used(self, session_id: str, digest: str) -> bytes | None:
        row: bytes | None
        (row,) = await self._redis.ask(("HGET", keys_key(session_id), digest))
        return row

    async def claim(self, claim: Claim) -> Claim:
        return await self._claims.keep(claim, self.key_memory)

    async def _forget(self, tenant: str, ids: Sequence[str]) -> int:
        """Take ids out of the index, but for those whose head has come meanwhile; count the rest."""
        await self._redis.ask(("ZREM", tenant_key(tenant), *ids))
        found = await self._redis.ask(*(("EXISTS", head_key(session_id)) for session_id in ids))
        back = [
            ("ZADD", tenant_key(tenant), 0, session_id) for session_id, there in zip(ids, found, strict=True) if there
        ]
        await self._redis.ask(*back)
        return len(ids) - len(back)

    async def sweep(self) -> int:
        """Redis removes what has expired, all but the index and the claims."""
        (tenants,) = await self._redis.ask(("SMEMBERS", TENANTS))
        swept = 0
        for tenant in map(bytes.decode, tenants):
            before = None
            while ids := await self._ids(tenant, BATCH, before):
                found = await self._redis.ask(*(("EXISTS", head_key(session_id)) for session_id in ids))
                gone = [session_id for session_id, there in zip(ids, found, strict=True) if not there]
                swept += await self._forget(tenant, gone) if gone else 0
                before = ids[-1]
            swept += await self._claims.sweep(tenant, self.key_memory)
        return swept

    async def is_listed(self, tenant: str, session_id: str) -> bool:
        place = f"[{session_id}"
        (ids,) = await self._redis.ask(("ZREVRANGEBYLEX", tenant_key(tenant), place, place))
        return bool(ids)

    async def list(self, tenant: str, limit: int, before: str | None = None) -> list[Head | Unreadable]:
        heads: list[Head | Unreadable] = []
        while len(heads) < limit and (ids := await self._ids(tenant, min(BATCH, limit - len(heads)), before)):
            found = await self._redis.ask(*(("GET", head_key(session_id)) for session_id in ids))
            for session_id, data in zip(ids, found, strict=True):
                heads += listed(tenant, session_id, data)
            if gone := [session_id for session_id, data in zip(ids, found, strict=True) if data is None]:
                await self._forget(tenant, gone)
            before = ids[-1]
        return heads


def _set(session_id: str, part: Part) -> Command:
    """Harmless when it comes twice: the name is of this piece alone."""
    (key,) = piece_keys(session_id, [part[0]])
    return ("SET", key, part[1], "NX", "PX", STAGED_MS)


def _info(answer: bytes) -> dict[str, str]:
    """What INFO answers, by its names."""
    lines = answer.decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _batched(items: Sequence[Item]) -> list[Sequence[Item]]:
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
