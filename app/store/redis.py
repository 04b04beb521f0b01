"""Sessions in Redis (or Valkey). The settings of its append-only file say how much a crash of Redis itself loses.

Fresh pieces go to keys that nobody reads yet, and expire after an hour unless a save takes them; then one script does
the save. Each name is unique, and an existing piece is never written again: a save that comes twice must not put an
expiry on pieces in use. A large save leaves the pieces that it replaces to the next one (`redis_leftovers`).
"""

from collections.abc import Sequence
from typing import Self

from app.errors import StateDamaged
from app.file_modes import loose
from app.metrics.families import Family
from app.settings import Settings
from app.store import redis_deletion, redis_due, redis_server, redis_usage
from app.store.base import Head, Save, Store, Unreadable
from app.store.envelope import decode, has_expired
from app.store.keys import Claim
from app.store.ledger import Due, Ledger, LedgerSave
from app.store.piece import Piece
from app.store.redis_claims import Claims
from app.store.redis_client import Client, Refused
from app.store.redis_cluster import Cluster
from app.store.redis_commands import Commands
from app.store.redis_format import format_of, mark_format
from app.store.redis_history import Histories
from app.store.redis_index import Index
from app.store.redis_ledgers import Ledgers
from app.store.redis_names import READY_KEY, TENANTS, head_key, keys_key, piece_keys, touched_key
from app.store.redis_pieces import batched
from app.store.redis_replicas import TOUCH
from app.store.redis_saving import RedisSaving, held
from app.store.redis_server import RedisServer
from app.store.stamp import Stamp, VersionConflict
from app.store.usage import Usage

READY_MS = 60_000
READY_SECONDS = 1.25
"""The time that a probe waits for Redis: less than the two seconds in which `/readyz` answers."""


class RedisStore(Histories, Store):
    """The store in one Redis, shared by any number of objects and processes. An object belongs to its event loop."""

    def __init__(self, client: Commands, history_limit: int) -> None:
        super().__init__(client)
        self._index = Index(client)
        self._claims = Claims(client)
        self._ledgers = Ledgers(client)
        self.history_limit = history_limit

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(_commands(settings), settings.history_limit)

    # Opening and closing

    async def open(self) -> None:
        self._redis.open()
        try:
            await self._redis.check()
            await mark_format(self._redis)
        except BaseException:
            await self.close()
            raise

    async def warnings(self) -> list[str]:
        """Return the ways in which this Redis may lose saved steps, and key files that other users may read."""
        warnings = loose(self._redis.secret_files)
        try:
            servers = await self.servers()
        except Refused as refusal:
            return [*warnings, f"cannot check whether this Redis may lose steps: {refusal.detail}"]
        if any(server.may_evict for server in servers):
            warnings.append("this Redis drops keys when its memory is full: set its maxmemory-policy to noeviction")
        if not all(server.appends for server in servers):
            warnings.append("this Redis has no append-only file: if it crashes, steps that were answered are lost")
        return warnings

    async def servers(self, settings: Sequence[str] = ()) -> list[RedisServer]:
        """Return what each server says of itself. Raises `Refused` where this user may not ask."""
        return await redis_server.asked(self._redis, settings)

    async def durability(self) -> str:
        try:
            words = redis_server.durability(await self.servers(redis_server.SETTINGS))
        except Refused as refusal:
            words = f"what a crash loses is not known: {refusal.detail}"
        count = self._redis.replicas.count
        return f"{words}; {count} replicas have each answered step" if count else words

    async def close(self) -> None:
        await self._redis.close()

    async def ping(self) -> None:
        await self._redis.ask(("SET", READY_KEY, 1, "PX", READY_MS), at_once_within=READY_SECONDS)

    async def usage(self) -> Usage:
        return await redis_usage.usage(self._redis, self._index)

    @property
    def families(self) -> Sequence[Family]:
        return (redis_usage.connections(self._redis),)

    # Reading

    async def load(self, session_id: str) -> Head | None:
        (data,) = await self._redis.ask(("GET", head_key(session_id)))
        return None if data is None or has_expired(data) else decode(session_id, data)

    async def read(self, head: Head, into: memoryview) -> None:
        offset = 0
        try:
            for pieces in batched(head.pieces):
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
        """Raise `VersionConflict` unless the head is still there: then so are its pieces, for these never change."""
        if await held(self._redis, head.session_id) != head.stamp:
            raise VersionConflict(f"session {head.session_id} is no longer at {head.stamp}")

    async def ledger(self, session_id: str) -> Ledger | None:
        return await self._ledgers.read(session_id)

    async def contents(self, ledger: Ledger, pieces: Sequence[Piece]) -> list[memoryview]:
        return await self._ledgers.contents(ledger, pieces)

    async def due(self) -> list[Due]:
        return await redis_due.read(self._redis)

    async def now(self) -> float:
        return await redis_due.now(self._redis)

    # Writing

    def saving(self, session_id: str, token: str, previous: Head | None = None) -> RedisSaving:
        return RedisSaving(self, self._redis, session_id, token, previous)

    async def save(self, save: Save) -> None:
        await self.saving(save.head.session_id, save.head.token, save.previous).save(save)

    async def confirm(self, session_id: str) -> None:
        if self._redis.replicas.count:
            await self._redis.run(TOUCH, [touched_key(session_id)], ())

    async def save_ledger(self, save: LedgerSave) -> None:
        await self._ledgers.save(save)

    async def delete(self, session_id: str, expected: Stamp | None = None) -> bool:
        return await redis_deletion.delete(self._redis, self._index, session_id, expected)

    async def used(self, session_id: str, digest: str) -> bytes | None:
        row: bytes | None
        (row,) = await self._redis.ask(("HGET", keys_key(session_id), digest))
        return row

    async def claim(self, claim: Claim) -> Claim:
        return await self._claims.keep(claim, self.key_memory)

    async def sweep(self) -> int:
        """Remove what Redis does not: ids of sessions that have expired, old claims, entries of gone ledgers."""
        (tenants,) = await self._redis.ask(("SMEMBERS", TENANTS))
        swept = await redis_due.sweep(self._redis)
        for tenant in map(bytes.decode, tenants):
            swept += await self._index.sweep(tenant)
            swept += await self._claims.sweep(tenant, self.key_memory)
        return swept

    async def is_listed(self, tenant: str, session_id: str) -> bool:
        return await self._index.has(tenant, session_id)

    async def list(self, tenant: str, limit: int, before: str | None = None) -> list[Head | Unreadable]:
        return await self._index.list(tenant, limit, before)


def _commands(settings: Settings) -> Commands:
    kind = Cluster if settings.store.partition(":")[0].endswith("+cluster") else Client
    return kind(settings.store, settings.store_timeout_seconds, settings.redis_replicas)


async def found_format(settings: Settings) -> int | None:
    """Return the format of the store as it is, `None` for an empty Redis. Writes nothing."""
    commands = _commands(settings)
    commands.open()
    try:
        await commands.check()
        return await format_of(commands)
    finally:
        await commands.close()
