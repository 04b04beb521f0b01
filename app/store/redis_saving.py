"""One save to Redis: its pieces on their way, the script that commits, and the removal of pieces after a failure."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from app.errors import StateDamaged, StoreUnavailable
from app.store import redis_due, redis_ledgers
from app.store.base import AlreadyCreated, Head, KeyUsed, Save, Saving, Store
from app.store.envelope import decode, has_expired, peek
from app.store.piece import Part, Piece
from app.store.redis_client import Command, Refused
from app.store.redis_commands import Commands, Uploading
from app.store.redis_ledgers import Ledgers, refuse
from app.store.redis_leftovers import Leftovers
from app.store.redis_names import TENANTS, head_key, piece_keys, tenant_key
from app.store.redis_pieces import BATCH, put, unlink
from app.store.redis_save import kept_pieces, saved_keys, saved_values
from app.store.redis_scripts import SAVE, SAVE_BOTH
from app.store.sealed import LABEL_BYTES
from app.store.stamp import Stamp, VersionConflict

CONFLICTS: Mapping[bytes, tuple[type[VersionConflict], str]] = {
    b"conflict": (VersionConflict, ": the store does not hold what the change was made from"),
    b"used": (KeyUsed, ": the key was used before"),
    b"created": (AlreadyCreated, " was created before"),
}
"""The errors for the script's refusals."""


class RedisSaving(Saving):
    """A saving that sends its pieces on one connection, in the event loop that made it."""

    def __init__(self, store: Store, client: Commands, session_id: str, token: str, previous: Head | None) -> None:
        super().__init__(store, token)
        self._redis = client
        self._session_id = session_id
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._leftovers = Leftovers(previous)
        self._ledgers = Ledgers(client)
        self._written: dict[str, Piece] = {}
        self.upload: Uploading | None = None

    def write(self, part: Part) -> None:
        self._loop.call_soon_threadsafe(self._put, part)

    def _put(self, part: Part) -> None:
        if self._is_open:
            self.upload = self.upload or self._redis.upload()
            for command in self._put_commands(part):
                self.upload.put(command)
            self._written[part[0].name] = part[0]

    def _put_commands(self, part: Part) -> list[Command]:
        """Return the commands that free a leftover and write a piece in its place."""
        return [*self._leftovers.free_next(), put(self._session_id, part)]

    def _end(self) -> tuple[dict[str, Piece], Uploading | None]:
        """Take no more pieces; return those under way by name, and their upload. The second call returns none."""
        self._is_open = False
        ended = self._written, self.upload
        self._written, self.upload = {}, None
        return ended

    async def discard(self) -> None:
        written, upload = self._end()
        if upload is not None:
            with suppress(StoreUnavailable):
                await upload.finish(("UNLINK", *piece_keys(self._session_id, written.values())))

    async def save(self, save: Save) -> None:
        head = save.head
        written, upload = self._end()
        rest = [part for part in save.all_fresh if part[0].name not in written]
        if upload is None and len(rest) > BATCH:
            if save.is_done(await held(self._redis, head.session_id)):
                return
            upload = self._redis.upload()
        try:
            outcome = await self._run(save, rest, upload)
        except Refused:
            await self._take_back(save)
            raise
        if outcome != b"done":
            await self._refuse(save, outcome)
        if save.ledger:
            await self._ledgers.forget_previous(save.ledger)

    async def _refuse(self, save: Save, outcome: Any) -> NoReturn:
        """Remove what the save wrote, and raise the error for the script's refusal."""
        if outcome in CONFLICTS:
            await self._take_back(save)
            kind, message = CONFLICTS[outcome]
            raise kind(f"session {save.head.session_id}{message}")
        if save.ledger and outcome == b"lost":
            await self._take_back(save)
            refuse(save.ledger, outcome)
        lost = kept_pieces(save)[outcome]
        if save.previous and lost in save.previous.kept:
            lost.verify(save.head.session_id, None)
        raise StoreUnavailable(f"session {save.head.session_id}: piece {lost.name} expired before the save was done")

    async def _run(self, save: Save, rest: Sequence[Part], upload: Uploading | None) -> Any:
        """Send the rest of the pieces, free the other leftovers, then send the script; return its answer.

        Others remove an id without a head from the index: so the id goes in before the head, and again after.
        """
        head = save.head
        index = [] if save.previous else [("ZADD", tenant_key(head.tenant), 0, head.session_id)]
        pieces = [command for part in rest for command in self._put_commands(part)]
        before = [*pieces, *self._leftovers.free_rest(), *index, *(("SADD", TENANTS, head.tenant) for _ in index)]
        keys, values = saved_keys(save), saved_values(save, self._store.history_limit, self._store.key_memory)
        if save.ledger is None:
            return await self._redis.run(SAVE, keys, values, before, index, upload)
        due, more_keys, more_values = redis_due.added(save.ledger.ledger), *redis_ledgers.saved(save.ledger)
        keys, values = [*keys, *more_keys], (*values, *more_values, len(more_keys), len(more_values))
        return await self._redis.run(SAVE_BOTH, keys, values, [*before, *due], [*index, *due], upload)

    async def _take_back(self, save: Save) -> None:
        """Remove the fresh pieces of a failed save, except those that a head names; the others will expire."""
        session_id = save.head.session_id
        with suppress(StoreUnavailable, StateDamaged):
            unlinked = False
            while not unlinked:
                (data,) = await self._redis.ask(("GET", head_key(session_id)))
                named = decode(session_id, data).kept if data else ()
                leftover = [piece for piece, _ in save.fresh if piece not in named]
                held = {head_key(session_id): data}
                unlinked = await unlink(self._redis, held, piece_keys(session_id, leftover))
        if save.ledger:
            await self._ledgers.take_back(save.ledger)


async def held(client: Commands, session_id: str) -> Stamp | None:
    """Return the stamp of a session that exists and has not expired."""
    (start,) = await client.ask(("GETRANGE", head_key(session_id), 0, LABEL_BYTES - 1))
    return peek(session_id, start).stamp if start and not has_expired(start) else None
