"""The service, wired: the one place that knows all its parts. Nothing is built at import."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from importlib.metadata import version
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app import errors
from app.auth import Keys
from app.cache import StateCache
from app.compute import Compute
from app.listing import Listing
from app.logs import configure_logs, log
from app.memory import bound_malloc, let_go_when_idle
from app.quota import Quota
from app.readiness import Readiness
from app.records import Records
from app.room import Room
from app.routes import docs, health, openapi, params, sessions, state, steps, tensors
from app.service import Service
from app.sessions import Sessions
from app.settings import Settings
from app.stepping import Stepping
from app.store import open_store
from app.store.base import Store
from app.turns import Turns
from app.web.admission import Places
from app.web.body_memory import BodyMemory
from app.web.cors import cors
from app.web.hosts import HostGate
from app.web.names import listed
from app.web.problems import Problem
from app.web.rate_limit import RateLimit
from app.web.telemetry import Metrics, Telemetry
from app.wire.codec import Limits
from optim_engine import EngineError
from optim_engine.buffers import BUFFERS

SWITCH_SECONDS = 0.001
"""The longest time that a thread which computes in Python keeps the event loop waiting."""


def create_app(settings: Settings, store: Store | None = None) -> FastAPI:
    """The ASGI application. A store that is given is opened and closed like the settings' own."""
    return _app(settings, store or open_store(settings), warns=True)


def _app(settings: Settings, store: Store, *, warns: bool) -> FastAPI:
    service = _service(settings, store)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.store:
            for warning in await service.store.warnings() if warns else ():
                log.warning(warning)
            tasks = [asyncio.create_task(task) for task in (_sweep(service), let_go_when_idle(service.compute))]
            yield
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            service.compute.close()

    app = _Application(
        title="Optim Service",
        version=version("optim-service"),
        summary="An optimizer you call over HTTP.",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for noun in (sessions, steps, params, state, tensors, health, docs):
        app.include_router(noun.router)
    _add_handlers(app)
    _add_layers(app, service)
    return app


def from_environment() -> ASGIApp:
    """What a server process runs: the settings are in its environment."""
    settings = Settings()
    configure_logs(settings.log_level, settings.log_format)
    bound_malloc()
    sys.setswitchinterval(SWITCH_SECONDS)
    if (supervisor := parent_process()) is not None:
        Thread(target=_stop_after, args=(supervisor,), daemon=True).start()
    app = _app(settings, open_store(settings), warns=False)  # `serve` did, once for all server processes
    _collect_seldom()
    return _until_cancelled(app)


def _collect_seldom() -> None:
    """A garbage collection stops everything. Modules and routes stay for good, and requests leave nothing to look for.

    50,000 new objects are what some hundred waiting requests are made of, and looked through in two milliseconds. What
    has been looked through twice, such as the sessions in memory, is looked at no more: of many it would take seconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 1_000_000)


def _until_cancelled(app: ASGIApp) -> ASGIApp:
    """uvicorn cancels what is not done when the time to stop has passed. It is answered then: no error to be told."""

    async def cancelled_quietly(scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return cancelled_quietly


def _stop_after(supervisor: BaseProcess) -> None:
    """A worker that outlived a killed supervisor would keep the port from the next start."""
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The schema, with the bodies that are read by hand."""
        return self._whole_schema

    @cached_property
    def _whole_schema(self) -> dict[str, Any]:
        return openapi.completed(super().openapi())


def _service(settings: Settings, store: Store) -> Service:
    compute = Compute(settings.compute_threads)
    BUFFERS.limit = settings.spare_bytes
    records = Records(
        store,
        compute,
        StateCache(settings.state_cache_bytes),
        Quota(store, settings.max_sessions, settings.max_state_bytes),
    )
    turns = Turns()
    room = Room(settings.max_tensors, settings.max_body_bytes, settings.max_waiting_bytes)
    keys = Keys(settings.api_keys_file, settings.api_key_sha256)
    rate = settings.rate_limit
    return Service(
        settings=settings,
        store=store,
        readiness=Readiness(store),
        records=records,
        sessions=Sessions(records, turns, compute, room),
        stepping=Stepping(records, turns, compute, room),
        listing=Listing(store, compute),
        compute=compute,
        keys=keys,
        rate_limit=RateLimit(rate) if rate else None,
        places=_places(settings.max_waiting_steps, keys.needed),
        bodies=BodyMemory(settings.max_waiting_bytes),
        metrics=Metrics(),
        limits=Limits(
            settings.max_tensors,
            settings.max_name_length,
            settings.max_dimensions,
            settings.max_json_depth,
            settings.max_json_bytes,
        ),
    )


def _places(count: int, has_tenants: bool) -> Places:
    """Return the places, of which an eighth is kept from a tenant alone where there can be another."""
    return Places(count, min(count - 1, max(1, count // 8)) if has_tenants else 0)


async def _sweep(service: Service) -> None:
    """Remove what has expired, for as long as the service runs; a store that is away is asked again later."""
    while True:
        await asyncio.sleep(service.settings.sweep_seconds)
        try:
            if removed := await service.records.sweep():
                log.info("swept", removed=removed)
        except errors.ServiceError as error:
            log.warning("sweep failed", error=error.detail)


def _add_layers(app: FastAPI, service: Service) -> None:
    """Telemetry, and in it CORS, and in that the gate: each sees what is refused further in."""
    settings = service.settings
    origins = listed(settings.cors_origins)
    with_cors = cors(origins)
    app.add_middleware(
        HostGate,
        answer_error=Problem,
        allowed=listed(settings.allowed_hosts),
        origins=origins,
        has_keys=service.keys.needed,
    )
    if origins:
        app.add_middleware(with_cors)
    app.add_middleware(Telemetry, metrics=service.metrics, answer_error=lambda error: with_cors(Problem(error)))


def _add_handlers(app: FastAPI) -> None:
    """Every failure as one shape: an error of the tree, written as a problem."""

    @app.exception_handler(errors.ServiceError)
    async def service_error(_: Request, error: errors.ServiceError) -> Response:
        return Problem(error)

    @app.exception_handler(EngineError)
    async def engine_error(_: Request, error: EngineError) -> Response:
        return Problem(errors.of_engine(error))

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = first["loc"][1]
        return Problem(errors.MalformedQuery(f"query parameter {name} is {first['input']!r:.80}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            path = getattr(request.scope.get("route"), "path", "")
            methods = [method.upper() for method in request.app.openapi()["paths"].get(path, ["get"])]
            allowed = ", ".join([*methods, *["HEAD"] * ("GET" in methods)])
            response = Problem(errors.MethodNotAllowed(f"{request.method} is not for this path: {allowed}"))
            response.headers["Allow"] = allowed
            return response
        if error.status_code == 404:
            return Problem(errors.RouteNotFound("the paths are listed in /docs"))
        return Problem(errors.MalformedBody(str(error.detail)))

    @app.exception_handler(ClientDisconnect)
    async def disconnected(_: Request, __: ClientDisconnect) -> Response:
        return Problem(errors.MalformedBody("the body ended before its announced length"))
