"""The connections to a Redis whose primary is named by sentinels: each new one asks them first."""

import random
from typing import Any

from redis.exceptions import AuthenticationError, RedisError

from app.errors import StoreUnavailable
from app.store.redis_address import SentinelAddress
from app.store.redis_pool import Pool

ASKED_SECONDS = 1.0
"""The time that a sentinel has to answer; then another one is asked."""


def is_sentinel(url: str) -> bool:
    """Return whether a URL names sentinels."""
    return url.partition(":")[0].endswith("+sentinel")


class Sentinel:
    """One sentinel. It is told the user and the password of Redis only if it asks for one."""

    def __init__(self, url: str, url_with_user: str, timeout: float) -> None:
        self._pools = [Pool(url, timeout), Pool(url_with_user, timeout)]
        self._asks_for_user = False

    def open(self) -> None:
        for pool in self._pools:
            pool.open()

    async def close(self) -> None:
        for pool in self._pools:
            await pool.close()

    async def primary(self, service: str) -> Any:
        """Return the host and port of the primary; `None` if it does not know the service."""
        if not self._asks_for_user:
            try:
                return await self._named(self._pools[0], service)
            except AuthenticationError:
                self._asks_for_user = True
        return await self._named(self._pools[1], service)

    async def _named(self, pool: Pool, service: str) -> Any:
        async with pool.connection(ASKED_SECONDS, at_once=True) as asked:
            await asked.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service, check_health=False)
            return await asked.read_response()


class SentinelPool(Pool):
    """A pool of connections to the primary that the sentinels name."""

    def __init__(self, url: str, timeout: float) -> None:
        address = SentinelAddress.parse(url)
        super().__init__(address.url_of(address.servers[0]), timeout)
        self._service = address.service
        self._sentinels = [Sentinel(*urls, timeout) for urls in address.sentinel_urls]

    def open(self) -> None:
        super().open()
        for sentinel in self._sentinels:
            sentinel.open()

    async def close(self) -> None:
        await super().close()
        for sentinel in self._sentinels:
            await sentinel.close()

    async def _locate(self, connection: Any) -> None:
        failure: Exception | None = None
        for sentinel in random.sample(self._sentinels, len(self._sentinels)):
            try:
                primary = await sentinel.primary(self._service)
            except (RedisError, OSError) as error:
                failure = error
                continue
            if primary is not None:
                host, port = primary
                connection.host, connection.port = host.decode(), int(port)
                return
        raise StoreUnavailable(f"the sentinels in OPTIM_STORE {self._said(failure)}") from failure

    def _said(self, failure: Exception | None) -> str:
        if failure is None:
            return f"do not know {self._service!r}: is it the name of the service?"
        if isinstance(failure, AuthenticationError):
            return (
                f"ask for a user or a password, or refuse it ({failure}): they must take those of Redis, as in "
                "redis+sentinel://USER:PASSWORD@HOST:PORT/SERVICE"
            )
        return f"cannot be reached ({failure})"
