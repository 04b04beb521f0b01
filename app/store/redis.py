"""Sessions in Redis (or Valkey). What a crash of Redis itself loses is what its append-only file is set to.

Fresh pieces go to names that nothing reads yet, and expire after an hour unless a save takes them; then one script
does the save. Every name is unique, so that a piece which is there already is never written again: a save that comes
twice must not put an expiry on what is in use.
"""

import glob
from collections.abc import Sequence
from typing import Self, TypeVar

from app.errors import StateDamaged
from app.file_modes import loose
from app.settings import Settings
from app.store.base import (
    FORMAT,
    Head,
    IncompatibleStore,
    Save,
    Stamp,
    Store,
    Unreadable,
    VersionConflict,
)
from app.store.envelope import decode, has_expired, listed, peek
from app.store.keys import Claim
from app.store.redis_claims import Claims
from app.store.redis_client import Client, Refused
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
from app.store.redis_saving import BATCH, RedisSaving, held, unlink

READY_MS = 60_000
READY_SECONDS = 1.25
"""What a probe waits for Redis: less than the two seconds in which `/readyz` answers."""

Item = TypeVar("Item")


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
        if await held(self._redis, head.session_id) != head.stamp:
            raise VersionConflict(f"session {head.session_id} is no longer at {head.stamp}")

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
        return RedisSaving(self, self._redis, session_id, token)

    async def save(self, save: Save) -> None:
        await self.saving(save.head.session_id, save.head.token).save(save)

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
            if await unlink(self._redis, session_id, data, keys):
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


def _info(answer: bytes) -> dict[str, str]:
    """What INFO answers, by its names."""
    lines = answer.decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _batched(items: Sequence[Item]) -> list[Sequence[Item]]:
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
