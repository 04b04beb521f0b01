"""Telemetry of requests: a request id on every answer, one log line and two metrics for each.

Plain ASGI: Starlette's base class for middleware hides disconnects and cancels what it wraps.
"""

import asyncio
import os
import random
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Overloaded, ServiceError
from app.logs import REQUEST, REQUEST_ID, log
from app.web.head_method import as_get
from app.web.phases import CURRENT, Phases
from app.web.problems import ERROR
from app.web.round_metrics import RoundMetrics

HEADERS = "optim.headers"
"""The key in a request's ASGI scope of header fields that are added to its answer, also to a refusal."""
TENANT = "optim.tenant"
"""The key in the scope of the tenant, once that is known."""
SESSION = "optim.session"
"""The key in the scope of a session that the request has made."""
STEP = "optim.step"
"""The key in the scope of the number of the step that the request was answered with."""
FIT_FOR_A_LOG = re.compile(r"[A-Za-z0-9._:-]{1,128}")
ID = re.compile(r"[0-9a-f]{32}")
LONGEST_WORDS = 400
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The service's metrics, in a registry of their own. Several workers share their counts in files (see `serve`)."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("optim_requests", "Requests answered.", labels, registry=self._registry)
        self.seconds = Histogram(
            "optim_request_seconds", "Time to answer, in seconds.", ("route",), buckets=SECONDS, registry=self._registry
        )
        self.steps = Counter(
            "optim_steps", "Steps answered: applied, skipped or replayed.", ("outcome",), registry=self._registry
        )
        self.regions = Counter(
            "optim_regions", "Regions asked for: leased or refused.", ("outcome",), registry=self._registry
        )
        self.region_bytes = Gauge(
            "optim_region_bytes",
            "Bytes of the regions of open connections.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.rounds = RoundMetrics(self._registry)
        self._requests = cache(self.requests.labels)
        self._seconds = cache(self.seconds.labels)
        self._steps = cache(self.steps.labels)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests(method, route, status).inc()
        self._seconds(route).observe(seconds)

    def count_step(self, outcome: str) -> None:
        """Count a step that was answered."""
        self._steps(outcome).inc()

    def text(self) -> bytes:
        """Return the counts in Prometheus's text format."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            _forget_the_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
            together = CollectorRegistry()
            MultiProcessCollector(together)  # type: ignore[no-untyped-call]
            return generate_latest(together)
        return generate_latest(self._registry)


def _forget_the_dead(folder: Path) -> None:
    """Remove the gauges of server processes that have ended: their connections ended with them."""
    for file in folder.glob("gauge_live*.db"):
        number = int(file.stem.rpartition("_")[2])
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            mark_process_dead(number)  # type: ignore[no-untyped-call]


class Telemetry:
    """The outermost layer: whatever happens inside, a client gets an answer with a request id."""

    def __init__(self, app: ASGIApp, metrics: Metrics, answer_error: Callable[[ServiceError], ASGIApp]) -> None:
        self._app = app
        self._metrics = metrics
        self._answer_error = answer_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        phases = Phases(started)
        request_id = _request_id(scope)
        status = 0
        method = scope["method"]
        scope, send = as_get(scope, send)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                if HEADERS in scope:
                    message["headers"] += [(name.encode(), value.encode()) for name, value in scope[HEADERS].items()]
            await send(message)

        token, current = REQUEST_ID.set(request_id), CURRENT.set(phases)
        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:  # the server stops, and OPTIM_SHUTDOWN_SECONDS have passed
            if not status:
                stopping = Overloaded("the service stops before this is done; send the request again")
                await self._answer_error(stopping)(scope, receive, send_with_id)
            raise
        except Exception:
            log.exception("request failed", method=method, path=scope["path"])
            if status:
                raise
            failed = self._answer_error(ServiceError("an unexpected error; the log has it under the request id"))
            await failed(scope, receive, send_with_id)
        finally:
            self._record(method, scope, status, time.perf_counter() - started, phases)
            REQUEST_ID.reset(token)
            CURRENT.reset(current)

    def _record(self, method: str, scope: Scope, status: int, seconds: float, phases: Phases) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.count_request(method, route, status, seconds)
        _level(status, route)(
            REQUEST,
            method=method,
            route=route,
            status=status,
            ms=round(1000 * seconds, 2),
            **phases.milliseconds(),
            **_about(scope),
        )


def _level(status: int, route: str) -> Callable[..., None]:
    if status >= 500:
        return log.warning if status == Overloaded.status else log.error
    return log.debug if route in ("/livez", "/readyz", "/metrics") else log.info


def _about(scope: Scope) -> dict[str, str | int]:
    """Return the log line's tenant, session and step, the code of a refusal, and the cause of a failure."""
    about = dict[str, str | int]()
    if TENANT in scope:
        about["tenant"] = scope[TENANT]
    session = scope.get(SESSION) or scope.get("path_params", {}).get("session_id", "")
    if ID.fullmatch(session):
        about["session"] = session
    if STEP in scope:
        about["step"] = scope[STEP]
    error: ServiceError | None = scope.pop(ERROR, None)  # else both would wait for a garbage collection
    if error is not None:
        about["code"] = error.code
        if error.status >= 500:
            about["detail"] = error.detail[:LONGEST_WORDS]
            if error.__cause__ is not None:
                about["cause"] = f"{type(error.__cause__).__name__}: {error.__cause__}"[:LONGEST_WORDS]
    return about


def _request_id(scope: Scope) -> str:
    """Return the id that the client sent if it is fit for a log, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            if FIT_FOR_A_LOG.fullmatch(text):
                return text
    return f"{random.getrandbits(128):032x}"
