"""A Redis, or a cluster, that a backup reads in use: each session as of one moment (`redis_snapshot`)."""

from collections.abc import AsyncIterator
from typing import Self

from app.errors import StateDamaged
from app.settings import Settings
from app.store import redis_snapshot
from app.store.keys import Claim
from app.store.redis_commands import Commands
from app.store.redis_format import format_of
from app.store.redis_names import TENANTS, claims_key, created_key, tenant_key
from app.store.redis_patience import patient
from app.store.snapshot import About, Frame, Member, Source, framed

PAGE = 1000


class RedisSource(Source):
    """One Redis or cluster. It belongs to its event loop."""

    kind = "redis"
    is_of_one_moment = False

    def __init__(self, client: Commands) -> None:
        self._redis = client

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(patient(settings))

    async def __aenter__(self) -> Self:
        self._redis.open()
        try:
            await self._redis.check()
            self.format = await format_of(self._redis) or 0
        except BaseException:
            await self._redis.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.close()

    async def sessions(self) -> AsyncIterator[About]:
        for tenant in await self._tenants():
            top = "+"
            while ids := await self._ids(tenant, top):
                for session_id in ids:
                    yield About.of(session_id, tenant)
                top = f"({ids[-1]}"

    async def _tenants(self) -> list[str]:
        (tenants,) = await self._redis.ask(("SMEMBERS", TENANTS))
        return sorted(map(bytes.decode, tenants))

    async def _ids(self, tenant: str, top: str) -> list[str]:
        (ids,) = await self._redis.ask(("ZREVRANGEBYLEX", tenant_key(tenant), top, "-", "LIMIT", 0, PAGE))
        return [session_id.decode() for session_id in ids]

    def members(self, about: About) -> AsyncIterator[Member]:
        return redis_snapshot.members(self._redis, about)

    def claims(self) -> AsyncIterator[Member]:
        return framed("claims", self._claims())

    async def _claims(self) -> AsyncIterator[Frame]:
        for tenant in await self._tenants():
            digest, cursor = About.of("", tenant).tenant_digest, 0
            while True:
                ((cursor, found),) = await self._redis.ask(("HSCAN", claims_key(tenant), cursor, "COUNT", PAGE))
                created = await self._redis.ask(*(("GET", created_key(_session_of(row))) for row in found[1::2]))
                for key, row, at in zip(found[::2], found[1::2], created, strict=True):
                    yield Frame((tenant, digest, key.decode(), float(at) if at else None), row)
                if int(cursor) == 0:
                    break


def _session_of(claim: bytes) -> str:
    """Return the session of a claim; of a damaged one, no session's name."""
    try:
        return Claim.decode("", "", claim).session_id
    except StateDamaged:
        return ""
