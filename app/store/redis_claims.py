"""Claims of ids in Redis: one hash a tenant, because a claim comes before its session."""

from app.store.keys import Claim, KeyMemory, old_session_of
from app.store.redis_commands import Commands
from app.store.redis_names import TENANTS, claims_key, head_key
from app.store.redis_scripts import CLAIM


class Claims:
    """The claims of all tenants."""

    def __init__(self, client: Commands) -> None:
        self._redis = client

    async def keep(self, claim: Claim, memory: KeyMemory) -> Claim:
        """Keep a claim, as `Store.claim` promises."""
        await self._redis.ask(("SADD", TENANTS, claim.tenant))
        held = await self._put(claim.tenant, claim.key, claim.encode())
        if await self._over(claim.tenant, {claim.key.encode(): held}, memory):
            held = await self._put(claim.tenant, claim.key, claim.encode(), held)
        return Claim.decode(claim.tenant, claim.key, held)

    async def _put(self, tenant: str, key: str, data: bytes, replaced: bytes = b"") -> bytes:
        """Put a claim (or remove it, if empty) where there is none or `replaced`; return the one that is kept."""
        return bytes(await self._redis.run(CLAIM, [claims_key(tenant)], [key, data, replaced]))

    async def _over(self, tenant: str, rows: dict[bytes, bytes], memory: KeyMemory) -> list[tuple[str, bytes]]:
        """Return the rows (a key's digest and a claim) that may go: old ones whose session does not exist."""
        sessions = {row: old_session_of(row[1], memory) for row in rows.items()}
        old = {row: session_id for row, session_id in sessions.items() if session_id is not None}
        if not old:
            return []
        there = await self._redis.ask(*(("EXISTS", head_key(session_id)) for session_id in old.values()))
        return [(key.decode(), data) for (key, data), found in zip(old, there, strict=True) if not found]

    async def sweep(self, tenant: str, memory: KeyMemory) -> int:
        """Remove the claims that may go; return how many were removed."""
        swept, cursor = 0, 0
        while True:
            ((cursor, found),) = await self._redis.ask(("HSCAN", claims_key(tenant), cursor, "COUNT", 100))
            for key, data in await self._over(tenant, dict(zip(found[::2], found[1::2], strict=True)), memory):
                swept += not await self._put(tenant, key, b"", data)
            if int(cursor) == 0:
                return swept
