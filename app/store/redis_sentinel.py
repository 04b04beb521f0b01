"""The connections to a Redis whose primary is named by sentinels: each new one asks them first."""

import random
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from app.errors import StoreUnavailable
from app.store.redis_address import SentinelAddress
from app.store.redis_pool import Pool

ASKED_SECONDS = 1.0
"""The time that a sentinel has to answer; then another one is asked."""


def is_sentinel(url: str) -> bool:
    """Return whether a URL names sentinels."""
    return url.partition(":")[0].endswith("+sentinel")


class SentinelPool(Pool):
    """A pool of connections to the primary that the sentinels name."""

    def __init__(self, url: str, timeout: float) -> None:
        address = SentinelAddress.parse(url)
        super().__init__(address.url_of(address.servers[0]), timeout)
        self._service = address.service
        self._sentinels = [Pool(sentinel, timeout) for sentinel in address.sentinel_urls]

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
                async with sentinel.connection(ASKED_SECONDS, at_once=True) as asked:
                    primary = await self._named(asked)
            except (RedisError, OSError) as error:
                failure = error
                continue
            if primary is not None:
                host, port = primary
                connection.host, connection.port = host.decode(), int(port)
                return
        said = f"do not know {self._service!r}: is it the name of the service?"
        if failure is not None:
            said = f"cannot be reached ({failure})"
        raise StoreUnavailable(f"the sentinels in OPTIM_STORE {said}") from failure

    async def _named(self, asked: AbstractConnection) -> Any:
        await asked.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service, check_health=False)
        return await asked.read_response()
