"""From settings to a running server: what cannot work is refused before anything listens, in one line and not in a
traceback from each worker.
"""

import asyncio
import ipaddress
import os
import re
import signal
import socket
import ssl
import tempfile
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

import uvicorn
from uvicorn.supervisors import Multiprocess

from app.file_modes import loose
from app.logs import configure_logs, log
from app.settings import LINKED_ADDRESS, Settings
from app.store import open_store
from app.web.connection import Connection
from app.web.deadlines import Timeouts
from app.web.pacing import Pacing
from optim_engine.machine import fastest

BACKLOG = 2048
ACCEPTED_AT_ONCE = 64
"""New connections in one turn of the event loop."""
HEALTHCHECK_SECONDS = 30
"""A worker that is silent for so long is killed. It is silent while it starts, which takes a busy machine a while."""
KEEP_ALIVE_SECONDS = 75
"""How long a connection may be idle: longer than most training steps take between two requests."""
URGENT = {"/livez", "/readyz"}
"""What is asked of a service to know whether it must be started again: never behind its work."""
CLIENT_SETTINGS = {"OPTIM_BASE_URL", "OPTIM_API_KEY"}
SERVICE_LINK = re.compile(r"OPTIM_(SERVICE_(HOST|PORT(_.*)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
"""The variables that Kubernetes puts into every pod of a namespace that has a Service named `optim`."""


def serve(settings: Settings) -> None:
    """Answer until told to stop. The server processes read their settings from the environment.

    Raises `ValueError`, `OSError` and `ServiceError` for settings, an address and a store that cannot be used.
    """
    configure_logs(settings.log_level, settings.log_format)
    _warn_of_unknown_settings()
    if settings.workers > 1 and settings.store == "memory:":
        raise ValueError("memory: lives in one process: take lmdb: or redis: for more workers")
    _check_certificate(settings)
    _allow_many_connections()
    config = _config(settings)
    config.load()
    asyncio.run(_open_and_close(settings))
    _warn_of_loose_files(settings)
    with _listener(settings) as listener:
        log.info(
            "listening",
            url=_url(settings, listener),
            store=shown(settings.store),
            workers=settings.workers,
            threads=settings.compute_threads or os.cpu_count(),
            kernel=fastest().name,
        )
        if not _has_keys(settings):
            _warn_of_open_doors(settings)
        if settings.workers == 1:
            _serve_here(uvicorn.Server(config), listener)
        else:
            _serve_in_workers(settings, listener)


def _check_certificate(settings: Settings) -> None:
    """Raises `ValueError` for a certificate that could not be shown to anybody."""
    certificate, key = settings.ssl_certfile, settings.ssl_keyfile
    if certificate is None:
        if key is not None:
            raise ValueError(f"OPTIM_SSL_KEYFILE={key} needs its certificate: give OPTIM_SSL_CERTFILE too")
        return
    try:  # with a password in any case, for OpenSSL would ask the terminal for one
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            certificate, key, settings.ssl_keyfile_password or ""
        )
    except OSError as error:
        files = f"OPTIM_SSL_CERTFILE={certificate}" + (f" and OPTIM_SSL_KEYFILE={key}" if key else "")
        raise ValueError(f"{files} cannot be read as a certificate and its private key: {error}") from error


def _has_keys(settings: Settings) -> bool:
    return settings.api_keys_file is not None or settings.api_key_sha256 is not None


def _warn_of_open_doors(settings: Settings) -> None:
    if settings.insecure:
        hosts = settings.allowed_hosts or "none but loopback's: see OPTIM_ALLOWED_HOSTS"
        log.warning("no API keys: whoever reaches this address may do everything", hosts=hosts)
    else:
        log.info("no API keys: whoever is on this machine may do everything, and nobody else reaches this address")


def _warn_of_unknown_settings() -> None:
    known = {f"OPTIM_{name.upper()}" for name in Settings.model_fields} | CLIENT_SETTINGS
    names = [name for name in os.environ if name.startswith("OPTIM_") and name not in known]
    for name in names:
        if not SERVICE_LINK.fullmatch(name):
            log.warning("there is no such setting; it is ignored", setting=name)
    if any(map(SERVICE_LINK.fullmatch, names)) or LINKED_ADDRESS.fullmatch(os.environ.get("OPTIM_PORT", "").strip()):
        log.warning(
            "Kubernetes sets OPTIM_PORT and more for a Service named `optim`; they are ignored: "
            "say `enableServiceLinks: false`, or give the Service another name; --port sets the port"
        )


def _allow_many_connections() -> None:
    """Each takes a descriptor, and a shell often allows 1,024 where the machine allows many more."""
    with suppress(ImportError, OSError, ValueError):  # not on Windows; some say "unlimited" and mean less
        import resource  # noqa: PLC0415

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _serve_here(server: uvicorn.Server, listener: socket.socket) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else it would kill what has just ended well
    with suppress(KeyboardInterrupt):  # it has stopped as it should, and only says so once more
        server.run(_often(listener))
    if not server.started:
        raise SystemExit(1)


def _often(listener: socket.socket) -> list[socket.socket]:
    """uvloop takes one new connection a turn from each socket: behind a crowd, a look at /livez would wait for long."""
    return [listener, *(listener.dup() for _ in range(ACCEPTED_AT_ONCE - 1))]


def _serve_in_workers(settings: Settings, listener: socket.socket) -> None:
    """Each counts for itself, in files of a folder that `/metrics` adds up."""
    with tempfile.TemporaryDirectory(prefix="optim-metrics-") as shared:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
        Multiprocess(_config(settings), _often(listener)).run()


def _config(settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        "app.main:from_environment",
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


async def _open_and_close(settings: Settings) -> None:
    """Say what should be known of the store, once: the server processes do not."""
    async with open_store(settings) as store:
        for warning in await store.warnings():
            log.warning(warning)


def _warn_of_loose_files(settings: Settings) -> None:
    files = (settings.api_keys_file, settings.ssl_keyfile or settings.ssl_certfile)  # the key may be in the latter
    for warning in loose([file for file in files if file is not None]):
        log.warning(warning)


def _listener(settings: Settings) -> socket.socket:
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        check_reach(settings, str(address[0]))
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]
        raise OSError(f"cannot listen on {settings.host}, port {settings.port}: {why}") from error
    listener.set_inheritable(True)
    return listener


def check_reach(settings: Settings, address: str) -> None:
    """Raises `ValueError` where other machines could reach the address, and nothing would keep them out."""
    if not (ipaddress.ip_address(address).is_loopback or _has_keys(settings) or settings.insecure):
        raise ValueError(
            f"{settings.host or address} can be reached by other machines, and there are no API keys: make one with "
            "`optim keys create` and give OPTIM_API_KEYS_FILE, or listen on 127.0.0.1, or say --insecure"
        )


def _url(settings: Settings, listener: socket.socket) -> str:
    scheme = "https" if settings.ssl_certfile else "http"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def shown(store: str) -> str:
    """The store's URL without what is secret in it."""
    if store.startswith(("lmdb:", "memory:")):
        return store
    parts = urlsplit(store)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
