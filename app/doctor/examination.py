"""The examination: the findings about store, service, settings and machine, in this order."""

import asyncio
from collections.abc import Iterator

from app.doctor import machine, service, settings, store
from app.doctor.finding import Finding
from app.settings import Settings


def findings(chosen: Settings, shown_store: str, url: str | None) -> Iterator[Finding]:
    """Yield the findings, for these settings and the service at a URL; the store is shown without its password."""
    yield from asyncio.run(store.examined(chosen, shown_store))
    yield from service.examined(url)
    yield from settings.examined(chosen)
    yield from machine.examined(chosen)
