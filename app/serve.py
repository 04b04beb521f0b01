"""The start of the server: settings that cannot work are refused before anything listens, in one line each."""

import asyncio
import os
import signal
import socket
import ssl
import tempfile
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

import uvicorn
from uvicorn.supervisors import Multiprocess

from app import start_screen, traces
from app.file_modes import loose
from app.listener import BACKLOG, allow_many_connections, copies, listening, url
from app.logs import configure_logs, log
from app.metrics.sharing import FOLDER
from app.settings import NO_TCP, Settings
from app.store import open_store
from app.stray_settings import has_links, strays
from app.web.connection import Connection
from app.web.deadlines import Timeouts
from app.web.pacing import Pacing
from optim_engine.machine import installed

APPLICATION = "app.worker:application"
HEALTHCHECK_SECONDS = 30
"""A worker that is silent for so long is killed. It is silent while it starts, which takes a busy machine a while."""
KEEP_ALIVE_SECONDS = 75
"""The time that a connection may be idle: longer than most training steps take between two requests."""
URGENT = {"/livez", "/readyz"}
"""The paths that say whether a service must be started again: never behind its work."""


def serve(settings: Settings) -> None:
    """Answer until told to stop. The server processes read their settings from the environment.

    Raises `ValueError`, `OSError` and `ServiceError` for settings, an address and a store that cannot be used.
    """
    configure_logs(settings.log_level, settings.log_format)
    _warn_of_unknown_settings()
    if settings.workers > 1 and settings.store == "memory:":
        raise ValueError("memory: lives in one process: take lmdb: or redis: for more workers")
    _check_addresses(settings)
    _check_certificate(settings)
    allow_many_connections()
    config = _config(settings)
    config.load()
    durability = asyncio.run(_open_and_close(settings))
    _warn_of_loose_files(settings)
    with listening(settings) as listeners:
        _tell(settings, listeners, durability)
        if settings.workers == 1:
            _serve_here(uvicorn.Server(config), listeners)
        else:
            _serve_in_workers(settings, listeners)


def _check_addresses(settings: Settings) -> None:
    """Raise `ValueError` for a Unix socket that cannot be, and where nothing is left to listen on."""
    if settings.unix_socket is None:
        if settings.host == NO_TCP:
            raise ValueError("OPTIM_HOST=none leaves nothing to listen on: give OPTIM_UNIX_SOCKET too")
        return
    if not hasattr(socket, "AF_UNIX"):
        raise ValueError("this system has no Unix sockets: leave OPTIM_UNIX_SOCKET out")
    if settings.ssl_certfile is not None:
        raise ValueError(
            "OPTIM_UNIX_SOCKET speaks plain HTTP, and a service with OPTIM_SSL_CERTFILE only HTTPS: leave one of them "
            "out, or give TLS to a proxy in front of the service"
        )


def _check_certificate(settings: Settings) -> None:
    """Raise `ValueError` for a certificate that cannot be used."""
    certificate, key = settings.ssl_certfile, settings.ssl_keyfile
    if certificate is None:
        if key is not None:
            raise ValueError(f"OPTIM_SSL_KEYFILE={key} needs its certificate: give OPTIM_SSL_CERTFILE too")
        return
    try:  # with a password in any case, because OpenSSL would ask the terminal for one
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            certificate, key, settings.ssl_keyfile_password or ""
        )
    except OSError as error:
        files = f"OPTIM_SSL_CERTFILE={certificate}" + (f" and OPTIM_SSL_KEYFILE={key}" if key else "")
        raise ValueError(f"{files} cannot be read as a certificate and its private key: {error}") from error


def _tell(settings: Settings, listeners: list[socket.socket], durability: str) -> None:
    """Tell where the service listens, with what: on a screen for people, else in the log."""
    facts = {
        "url": url(settings, listeners[0]),
        **({"unix_socket": listeners[1].getsockname()} if len(listeners) > 1 else {}),
        "store": shown(settings.store),
        "workers": settings.workers,
        "threads": settings.compute_threads or os.cpu_count(),
        "kernel": installed(),
        **({"traces": shown(collector)} if (collector := traces.endpoint()) else {}),
    }
    opened = None if settings.has_keys else _opened(settings)
    if has_screen := start_screen.is_wanted(settings):
        start_screen.show(facts, durability, f"none: {opened}" if opened else "needed")
    else:
        log.info("listening", **facts)
    if opened and settings.insecure:
        hosts = settings.allowed_hosts or "none but loopback's: see OPTIM_ALLOWED_HOSTS"
        log.warning(f"no API keys: {opened}", hosts=hosts)
    elif opened and not has_screen:
        log.info(f"no API keys: {opened}")


def _opened(settings: Settings) -> str:
    """Return who may do what without API keys."""
    if settings.insecure:
        return "everybody who reaches this address may do everything"
    if settings.host == NO_TCP:
        return "everybody who may open the socket may do everything"
    return "everybody on this machine may do everything; other machines cannot reach this address"


def _warn_of_unknown_settings() -> None:
    for name, nearest in strays().items():
        log.warning("unknown setting ignored", setting=name, **({"nearest": nearest} if nearest else {}))
    if has_links():
        log.warning(
            "ignored OPTIM_PORT and other variables that Kubernetes sets for a Service named `optim`: "
            "set `enableServiceLinks: false`, or give the Service another name; --port sets the port"
        )


def _warn_of_loose_files(settings: Settings) -> None:
    for warning in loose(settings.secret_files):
        log.warning(warning)


async def _open_and_close(settings: Settings) -> str:
    """Log the store's warnings once: the server processes do not. Return what the store survives."""
    async with open_store(settings) as store:
        for warning in await store.warnings():
            log.warning(warning)
        return await store.durability()


def _serve_here(server: uvicorn.Server, listeners: list[socket.socket]) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else it would kill what has just ended well
    with suppress(KeyboardInterrupt):  # raised again after the server has stopped as it should
        server.run(copies(listeners))
    if not server.started:
        raise SystemExit(1)


def _serve_in_workers(settings: Settings, listeners: list[socket.socket]) -> None:
    """Run several server processes. Each counts for itself, in files of a folder that `/metrics` adds up."""
    with tempfile.TemporaryDirectory(prefix="optim-metrics-") as shared:
        os.environ[FOLDER] = shared
        Multiprocess(_config(settings), copies(listeners)).run()


def _config(settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        APPLICATION,
        factory=True,
        workers=settings.workers,
        loop="uvloop" if os.name == "posix" else "asyncio",
        http=partial(  # type: ignore[arg-type]
            Connection,
            timeouts=Timeouts(settings.head_seconds, settings.body_seconds, settings.answer_seconds),
            pacing=Pacing(URGENT),
        ),
        ssl_certfile=settings.ssl_certfile,
        ssl_keyfile=settings.ssl_keyfile,
        ssl_keyfile_password=settings.ssl_keyfile_password,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        timeout_worker_healthcheck=HEALTHCHECK_SECONDS,
    )


def shown(store: str) -> str:
    """Return the URL of a store, or of the collector of traces, without its password."""
    if store.startswith(("lmdb:", "memory:")):
        return store
    parts = urlsplit(store)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
