"""The parts that routes need, in one object: built once by `main`, found by a route through its request.

The dependencies are coroutines although they wait for nothing: FastAPI runs others in threads, which takes longer.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.auth import Caller, Keys
from app.compute import Compute
from app.contributions.async_contributing import AsyncContributing
from app.contributions.contributing import Contributing
from app.contributions.keeper import Keeper
from app.contributions.members import Members
from app.contributions.round_calls import RoundCalls
from app.contributions.waiting import Waiting
from app.listing import Listing
from app.metrics.registry import Metrics
from app.occupancy import Occupancy
from app.readiness import Readiness
from app.records import Records
from app.renewals import Renewals
from app.roles import Role
from app.sessions import Sessions
from app.settings import Settings
from app.stepping import Stepping
from app.store.base import Store
from app.streams import Streams
from app.web.admission import Admission
from app.web.body_memory import BodyMemory
from app.web.rate_limit import RateLimit
from app.web.regions import RegionMemory
from app.web.telemetry import HEADERS, TENANT
from app.wire.codec import Limits


@dataclass(frozen=True)
class Service:
    """The parts of one running service."""

    settings: Settings
    store: Store
    readiness: Readiness
    occupancy: Occupancy
    records: Records
    sessions: Sessions
    stepping: Stepping
    members: Members
    contributing: Contributing
    rounds: RoundCalls
    async_contributing: AsyncContributing
    waiting: Waiting
    keeper: Keeper
    listing: Listing
    compute: Compute
    streams: Streams
    renewals: Renewals
    keys: Keys
    rate_limit: RateLimit | None
    admission: Admission
    bodies: BodyMemory
    regions: RegionMemory
    metrics: Metrics
    limits: Limits

    def end_waits(self) -> None:
        """Answer what waits for others, and end the streams: the service stops."""
        self.waiting.end()
        self.streams.end()


async def service_of(request: Request) -> Service:
    """Return the service that a request came to."""
    service: Service = request.scope["app"].state.service
    return service


async def reader(request: Request) -> Caller:
    """Return the caller, who may read."""
    return caller_of(request, await service_of(request), Role.read)


async def writer(request: Request) -> Caller:
    """Return the caller, who may change sessions."""
    return caller_of(request, await service_of(request), Role.write)


async def admin(request: Request) -> Caller:
    """Return the caller, who may see the service itself. The rate limit is for a tenant's work, not for monitoring."""
    return caller_of(request, await service_of(request), Role.admin, limited=False)


def caller_of(request: Request, service: Service, needed: Role, *, limited: bool = True) -> Caller:
    """Return the caller of a request. Raises `Unauthenticated`, `Forbidden` and `RateLimited`."""
    caller = service.keys.caller(request.headers.get("authorization"))
    request.scope[TENANT] = caller.tenant
    caller.check_may(needed)
    if service.rate_limit and limited:
        request.scope[HEADERS] = service.rate_limit.take(caller.tenant)
    return caller


Reader = Annotated[Caller, Depends(reader)]
Writer = Annotated[Caller, Depends(writer)]
Admin = Annotated[Caller, Depends(admin)]
Has = Annotated[Service, Depends(service_of)]
