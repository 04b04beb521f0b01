"""What every route needs, in one place: built once by `main`, found by a route through its request.

The dependencies are coroutines although they wait for nothing: FastAPI runs others in threads, which takes longer than
all that they do.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from app.auth import Caller, Keys
from app.compute import Compute
from app.errors import Overloaded
from app.keys_file import Role
from app.listing import Listing
from app.rate_limit import RateLimit
from app.readiness import Readiness
from app.sessions import Sessions
from app.settings import Settings
from app.store.base import Store
from app.telemetry import HEADERS, Metrics
from app.wire.codec import Limits

PATIENCE_SECONDS = (0.5, 1.5)
"""How long a request waits for a place: by chance, so that those who came together do not come again together."""


class Places:
    """The places for requests that bring tensors: taken before a large body is read, so that what waits is bounded.

    Who finds none waits a moment for one. That also keeps clients who ask again at once from taking all of the event
    loop's time with refusals.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """One of them. Raises `Overloaded`."""
        try:
            async with asyncio.timeout(random.uniform(*PATIENCE_SECONDS)):
                await self._free.acquire()
        except TimeoutError:
            raise Overloaded("all places are taken; send the request again") from None
        try:
            yield
        finally:
            self._free.release()


@dataclass(frozen=True)
class Service:
    settings: Settings
    store: Store
    readiness: Readiness
    sessions: Sessions
    listing: Listing
    compute: Compute
    keys: Keys
    rate_limit: RateLimit | None
    places: Places
    metrics: Metrics
    limits: Limits


async def service_of(request: Request) -> Service:
    return cast(Service, request.app.state.service)


async def reader(request: Request) -> Caller:
    """A caller who may read."""
    return await _caller(request, Role.read)


async def writer(request: Request) -> Caller:
    """A caller who may change sessions."""
    return await _caller(request, Role.write)


async def admin(request: Request) -> Caller:
    """A caller who may see the service itself. A tenant's limit is for its work, and not for who watches it."""
    service = await service_of(request)
    return service.keys.caller(request.headers.get("authorization"), Role.admin)


async def _caller(request: Request, needed: Role) -> Caller:
    service = await service_of(request)
    caller = service.keys.caller(request.headers.get("authorization"), needed)
    if service.rate_limit:
        request.scope[HEADERS] = service.rate_limit.take(caller.tenant)
    return caller


Reader = Annotated[Caller, Depends(reader)]
Writer = Annotated[Caller, Depends(writer)]
Admin = Annotated[Caller, Depends(admin)]
Has = Annotated[Service, Depends(service_of)]
