"""The tenants' sessions in Redis, by id. An entry may outlive its session: those who find it so remove it."""

from collections.abc import Sequence

from app.store.base import Head, Unreadable
from app.store.envelope import listed
from app.store.redis_commands import Commands
from app.store.redis_names import TENANTS, head_key, tenant_key
from app.store.redis_pieces import BATCH


class Index:
    """The index of all tenants."""

    def __init__(self, client: Commands) -> None:
        self._redis = client

    async def list(self, tenant: str, limit: int, before: str | None) -> list[Head | Unreadable]:
        """Return a page of the tenant's sessions, as `Store.list` promises."""
        heads: list[Head | Unreadable] = []
        while len(heads) < limit and (ids := await self._ids(tenant, min(BATCH, limit - len(heads)), before)):
            found = await self._redis.ask(*(("GET", head_key(session_id)) for session_id in ids))
            for session_id, data in zip(ids, found, strict=True):
                heads += listed(tenant, session_id, data)
            if gone := [session_id for session_id, data in zip(ids, found, strict=True) if data is None]:
                await self.forget(tenant, gone)
            before = ids[-1]
        return heads

    async def has(self, tenant: str, session_id: str) -> bool:
        place = f"[{session_id}"
        (ids,) = await self._redis.ask(("ZREVRANGEBYLEX", tenant_key(tenant), place, place))
        return bool(ids)

    async def count(self) -> int:
        """Return the number of ids of all tenants."""
        (tenants,) = await self._redis.ask(("SMEMBERS", TENANTS))
        count = 0
        names = [tenant.decode() for tenant in tenants]
        for i in range(0, len(names), BATCH):
            asked = (("ZCARD", tenant_key(tenant)) for tenant in names[i : i + BATCH])
            count += sum(await self._redis.ask(*asked))
        return count

    async def _ids(self, tenant: str, limit: int, before: str | None) -> Sequence[str]:
        top = "+" if before is None else f"({before}"
        (ids,) = await self._redis.ask(("ZREVRANGEBYLEX", tenant_key(tenant), top, "-", "LIMIT", 0, limit))
        return [session_id.decode() for session_id in ids]

    async def forget(self, tenant: str, ids: Sequence[str]) -> int:
        """Remove ids, except those whose head has come meanwhile; return how many were removed."""
        await self._redis.ask(("ZREM", tenant_key(tenant), *ids))
        found = await self._redis.ask(*(("EXISTS", head_key(session_id)) for session_id in ids))
        back = [
            ("ZADD", tenant_key(tenant), 0, session_id) for session_id, there in zip(ids, found, strict=True) if there
        ]
        await self._redis.ask(*back)
        return len(ids) - len(back)

    async def sweep(self, tenant: str) -> int:
        """Remove the ids of sessions that do not exist any more; return how many were removed."""
        swept, before = 0, None
        while ids := await self._ids(tenant, BATCH, before):
            found = await self._redis.ask(*(("EXISTS", head_key(session_id)) for session_id in ids))
            gone = [session_id for session_id, there in zip(ids, found, strict=True) if not there]
            swept += await self.forget(tenant, gone) if gone else 0
            before = ids[-1]
        return swept
