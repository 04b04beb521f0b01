"""The wiring of the service: the one place that knows all its parts. Nothing is built at import."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import cached_property, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypedDict

from fastapi import FastAPI, Request
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app import errors
from app.auth import Keys
from app.cache import StateCache
from app.compute import Compute
from app.contributions.async_contributing import AsyncContributing
from app.contributions.books import Books
from app.contributions.closing import Closing
from app.contributions.contributing import Contributing
from app.contributions.keeper import Keeper
from app.contributions.members import Members
from app.contributions.round_calls import RoundCalls
from app.contributions.waiting import Waiting
from app.curves import Curves
from app.gauges import gauges_of
from app.listing import Listing
from app.logs import flush_logs, log
from app.memory import let_go_when_idle
from app.metrics.registry import Metrics
from app.occupancy import Occupancy
from app.quota import Quota
from app.readiness import Readiness
from app.records import Records, Wake
from app.renewals import Renewals
from app.room import Room
from app.routes import (
    docs,
    events,
    health,
    openapi,
    optimizers,
    page,
    params,
    regions,
    rounds,
    sessions,
    state,
    steps,
    tensors,
    workers,
)
from app.routes.failures import FAILURES, problem_of
from app.routes.road import StepsAtOnce, is_on_road, road
from app.service import Service
from app.sessions import Sessions
from app.settings import Settings
from app.stepping import Stepping
from app.store import open_store
from app.store.base import Store
from app.store.measured import MeasuredStore
from app.streams import Streams
from app.turns import Turns
from app.web.admission import Admission
from app.web.at_once import AT_ONCE
from app.web.body_memory import BodyMemory
from app.web.cors import cors
from app.web.hosts import HostGate
from app.web.names import listed
from app.web.problems import Problem
from app.web.rate_limit import RateLimit
from app.web.regions import RegionMemory
from app.web.starting import STOPPING
from app.web.telemetry import Telemetry
from app.web.traffic import TRAFFIC
from app.wire.codec import Limits
from app.workers.round_counts import RoundCounts
from optim_engine.buffers import BUFFERS

if TYPE_CHECKING:
    from app.web.tracing import Tracing

NOUNS = sessions, events, steps, workers, rounds, params, state, tensors, optimizers, regions, health, docs, page
"""Each has a router, whose routes all applications of a process share."""
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI's own spans and logs would double ours where a program has set OpenTelemetry up, and would have queries."""


def create_app(settings: Settings, store: Store | None = None) -> FastAPI:
    """Return the ASGI application. A given store is opened and closed like the settings' own."""
    return wired(settings, store or open_store(settings), warns=True)


def wired(settings: Settings, store: Store, tracing: "Tracing | None" = None, *, warns: bool) -> FastAPI:
    """Return the ASGI application on a store; `warns` logs the store's warnings when it opens."""
    service = _service(settings, store)
    service.metrics.show([*gauges_of(service), *store.families])

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        async with service.store, tracing or nullcontext():
            await _ask_store(service, warns=warns)
            lasting = _sweep(service), let_go_when_idle(service.compute), service.keeper.run(), service.metrics.share()
            tasks = [asyncio.create_task(task) for task in (*lasting, service.renewals.run())]
            traffic = service.metrics.requests.traffic
            yield {AT_ONCE: StepsAtOnce(service), STOPPING: service.end_waits, TRAFFIC: traffic}
            service.end_waits()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await service.keeper.stop()
            service.compute.close()
            service.metrics.share_last()
        flush_logs()

    app = _Application(
        title="Optim Service",
        version=version("optim-service"),
        summary="An optimizer you call over HTTP.",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
        routes=[route for noun in NOUNS for route in noun.router.routes],  # `include_router` builds each again
    )
    app.state.service = service
    _add_handlers(app)
    _add_layers(app, service, tracing)
    return app


async def _ask_store(service: Service, *, warns: bool) -> None:
    """Learn what a crash of the open store loses, and log its warnings."""
    service.readiness.durability = await service.store.durability()
    for warning in await service.store.warnings() if warns else ():
        log.warning(warning)


class _Application(FastAPI):
    road: ASGIApp | None = None
    """The application that answers the calls of a training loop; without it FastAPI's routes do."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.road is None or not is_on_road(scope):
            await super().__call__(scope, receive, send)
        else:
            scope["app"] = self
            await self.road(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the schema with the bodies that routes read by hand."""
        return self._whole_schema

    @cached_property
    def _whole_schema(self) -> dict[str, Any]:
        return openapi.completed(super().openapi())


def _service(settings: Settings, store: Store) -> Service:
    metrics = Metrics()
    store = MeasuredStore(store, metrics.store)
    compute = Compute(settings.compute_threads)
    BUFFERS.limit = settings.spare_bytes
    streams = Streams(store, settings.max_streams)
    renewals = Renewals(Curves(store, compute))
    records = _records(settings, store, compute, streams.wake, renewals.wake)
    turns = Turns()
    room = Room(settings.max_tensors, settings.max_body_bytes, settings.max_waiting_bytes)
    keys = Keys(settings.api_keys_file, settings.api_key_sha256)
    rate = settings.rate_limit
    stepping = Stepping(records, turns, compute, room)
    return Service(
        settings=settings,
        store=store,
        readiness=Readiness(store),
        occupancy=Occupancy(store),
        records=records,
        sessions=Sessions(records, turns, compute, room),
        stepping=stepping,
        **_of_workers(records, turns, compute, stepping, RoundCounts(metrics.rounds)),
        listing=Listing(store, compute),
        compute=compute,
        streams=streams,
        renewals=renewals,
        keys=keys,
        rate_limit=RateLimit(rate) if rate else None,
        admission=_admission(settings.max_waiting_steps, keys.needed),
        bodies=BodyMemory(settings.max_waiting_bytes),
        regions=RegionMemory(settings.max_region_bytes, metrics.regions.have),
        metrics=metrics,
        limits=Limits(
            settings.max_tensors,
            settings.max_name_length,
            settings.max_dimensions,
            settings.max_json_depth,
            settings.max_json_bytes,
        ),
    )


def _records(settings: Settings, store: Store, compute: Compute, *wakes: Wake) -> Records:
    """Return the records of the store. Each save of them calls all of `wakes`."""

    def wake(session_id: str, version: int | None) -> None:
        for each in wakes:
            each(session_id, version)

    quota = Quota(store, settings.max_sessions, settings.max_state_bytes)
    return Records(store, compute, StateCache(settings.state_cache_bytes), quota, wake)


class OfWorkers(TypedDict):
    """The parts of a service that are for sessions with workers."""

    members: Members
    contributing: Contributing
    rounds: RoundCalls
    async_contributing: AsyncContributing
    waiting: Waiting
    keeper: Keeper


def _of_workers(records: Records, turns: Turns, compute: Compute, stepping: Stepping, counts: RoundCounts) -> OfWorkers:
    """Return the parts of a service that are for sessions with workers."""
    store, books = records.store, Books(records, turns, compute, counts)
    waiting = Waiting(None if store.is_instant else books.next_round)
    closing = Closing(records, stepping, compute, books, waiting)
    rounds = RoundCalls(records, books, closing, waiting)
    return {
        "members": Members(books),
        "contributing": Contributing(books, closing, waiting),
        "rounds": rounds,
        "async_contributing": AsyncContributing(records, books, closing, stepping, compute),
        "waiting": waiting,
        "keeper": Keeper(store, rounds.close_due, lambda session_id: records.newest(session_id) is not None),
    }


def _admission(places: int, has_tenants: bool) -> Admission:
    """Return admission control that keeps an eighth of the places from a tenant alone, if there can be another."""
    return Admission(places, min(places - 1, max(1, places // 8)) if has_tenants else 0)


async def _sweep(service: Service) -> None:
    """Remove expired sessions for as long as the service runs. If the store is away, try again later."""
    while True:
        await asyncio.sleep(service.settings.sweep_seconds)
        try:
            if removed := await service.records.sweep():
                log.info("swept", removed=removed)
        except errors.ServiceError as error:
            log.warning("sweep failed", error=error.detail)


def _add_layers(app: _Application, service: Service, tracing: "Tracing | None") -> None:
    """Wrap the routes, and the road: telemetry outside, then traces, CORS and the host gate. Each sees what is refused
    further in.
    """
    settings = service.settings
    origins = listed(settings.cors_origins)
    with_cors = cors(origins)
    gate = partial(
        HostGate,
        answer_error=Problem,
        allowed=listed(settings.allowed_hosts),
        origins=origins,
        has_keys=service.keys.needed,
    )
    telemetry = partial(
        Telemetry,
        count=service.metrics.count,
        traffic=service.metrics.requests.traffic,
        answer_error=lambda error: with_cors(Problem(error)),
    )
    app.road = road
    traced = [] if tracing is None else [tracing.layer]
    layers: list[Callable[[ASGIApp], ASGIApp]] = [gate, with_cors, *traced, telemetry]
    for layer in layers:
        app.add_middleware(layer)
        app.road = layer(app.road)


def _add_handlers(app: FastAPI) -> None:
    """Answer every failure with a problem document, made from an error of the tree."""

    async def failed(_: Request, error: Exception) -> Response:
        return problem_of(error)

    for kind in FAILURES:
        app.add_exception_handler(kind, failed)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            route = request.scope.get("route")
            own = getattr(route, "methods", None) or {"GET"}
            known = request.app.openapi()["paths"].get(getattr(route, "path", ""), own)
            methods = [method.upper() for method in known if method != "HEAD"]
            allowed = ", ".join([*methods, *["HEAD"] * ("GET" in methods)])
            response = Problem(errors.MethodNotAllowed(f"{request.method} is not for this path: {allowed}"))
            response.headers["Allow"] = allowed
            return response
        if error.status_code == 404:
            return Problem(errors.RouteNotFound("the paths are listed in /docs"))
        return Problem(errors.MalformedBody(str(error.detail)))
