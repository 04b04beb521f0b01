"""The server process: what each one does around the application that it runs."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from threading import Thread

from starlette.types import ASGIApp, Receive, Scope, Send

from app.draining import stop_after_drain
from app.logs import configure_logs
from app.main import wired
from app.memory import bound_malloc
from app.settings import Settings
from app.store import open_store
from app.traces import tracing

SWITCH_SECONDS = 0.001
"""The longest time that a thread which computes in Python keeps the event loop waiting."""


def application() -> ASGIApp:
    """Return the application of a server process, with settings from its environment."""
    settings = Settings()
    configure_logs(settings.log_level, settings.log_format)
    bound_malloc()
    sys.setswitchinterval(SWITCH_SECONDS)
    if (supervisor := parent_process()) is not None:
        Thread(target=_stop_after, args=(supervisor,), daemon=True).start()
    app = wired(settings, open_store(settings), tracing(), warns=False)  # `serve` did, once for all server processes
    _collect_seldom()
    drains = partial(stop_after_drain, app.state.service.readiness, settings.drain_seconds)
    return _quiet_when_cancelled(_started_with(drains, app) if settings.drain_seconds else app)


def _collect_seldom() -> None:
    """Make garbage collections rare, because each stops everything.

    Modules and routes stay for good, and requests leave nothing to collect. Some hundred waiting requests are made of
    50,000 objects, which takes two milliseconds to go through. Objects that survived two collections, such as the
    sessions in memory, are not gone through again: many of them would take seconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 1_000_000)


def _started_with(begin: Callable[[], None], app: ASGIApp) -> ASGIApp:
    """Wrap the application so that its lifespan begins with a call."""

    async def started(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            begin()
        await app(scope, receive, send)

    return started


def _quiet_when_cancelled(app: ASGIApp) -> ASGIApp:
    """Wrap the application so that a cancelled request is no error in the log.

    uvicorn cancels what is not done when the time to stop has passed. Telemetry has answered it by then.
    """

    async def quiet(scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return quiet


def _stop_after(supervisor: BaseProcess) -> None:
    """Stop this process when its supervisor has ended: it would keep the port from the next start."""
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)
