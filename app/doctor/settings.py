"""The settings: those that nothing reads, those without effect, and files of secrets that others may read."""

import os
from collections.abc import Callable, Iterator, Mapping

from app.doctor import modes
from app.doctor.finding import Finding, ok, warning
from app.settings import NO_TCP, Settings
from app.stray_settings import has_links, strays

IDLE: Mapping[str, tuple[Callable[[Settings], bool], str]] = {
    "lmdb_map_bytes": (lambda s: not s.store.startswith("lmdb:"), "the store is not lmdb:PATH"),
    "lmdb_sync": (lambda s: not s.store.startswith("lmdb:"), "the store is not lmdb:PATH"),
    "store_timeout_seconds": (lambda s: s.store.startswith(("lmdb:", "memory:")), "the store is no Redis"),
    "port": (lambda s: s.host == NO_TCP, "OPTIM_HOST=none"),
    "max_region_bytes": (lambda s: s.unix_socket is None, "there is no OPTIM_UNIX_SOCKET"),
    "insecure": (lambda s: s.insecure and s.has_keys, "there are API keys"),
    "ssl_keyfile_password": (lambda s: s.ssl_certfile is None, "there is no OPTIM_SSL_CERTFILE"),
    "compute_threads": (lambda s: s.compute_threads == 0, "0 is what it is without"),
}
"""By setting, when it does nothing, and why."""


def examined(settings: Settings) -> Iterator[Finding]:
    """Yield the findings about the settings in the environment."""
    findings = [*_unread(), *_idle(settings), *modes.examined(settings.secret_files)]
    yield from findings or [ok("settings", "each is known and has an effect")]


def _unread() -> Iterator[Finding]:
    for name, nearest in strays().items():
        way_out = f"Is it {nearest}?" if nearest else "docs/settings.md has all settings"
        yield warning("settings", f"{name} is not a setting, and does nothing", way_out)
    if has_links():
        words = "Kubernetes sets OPTIM_PORT and other variables for a Service named `optim`; they do nothing"
        yield warning("settings", words, "Set `enableServiceLinks: false`, or give the Service another name")


def _idle(settings: Settings) -> Iterator[Finding]:
    given = {name.lower() for name in os.environ}
    for name, (is_idle, why) in IDLE.items():
        if f"optim_{name}" in given and is_idle(settings):
            yield warning("settings", f"OPTIM_{name.upper()} does nothing: {why}", "Leave it out")
