"""The clients of a backup or a restore: they wait for a Redis that is away for a moment.

Each of their calls may be sent twice: those of a backup read, and those of a restore leave the same if they come again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from app.errors import StoreUnavailable
from app.settings import Settings
from app.store.redis_client import Client, Command, Refused
from app.store.redis_cluster import Cluster
from app.store.redis_commands import Commands

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try."""


class PatientClient(Client):
    """A client that sends a call again if it got no answer."""

    async def ask(self, *commands: Command, at_once_within: float | None = None) -> list[Any]:
        ask = super().ask
        return await _patient(lambda: ask(*commands, at_once_within=at_once_within))


class PatientCluster(Cluster):
    """The same for a cluster."""

    async def ask(self, *commands: Command, at_once_within: float | None = None) -> list[Any]:
        ask = super().ask
        return await _patient(lambda: ask(*commands, at_once_within=at_once_within))


def patient(settings: Settings) -> Commands:
    """Return a client of the Redis, or the cluster, that `OPTIM_STORE` names."""
    is_cluster = settings.store.partition(":")[0].endswith("+cluster")
    return (PatientCluster if is_cluster else PatientClient)(settings.store, settings.store_timeout_seconds)


async def _patient(ask: Callable[[], Awaitable[list[Any]]]) -> list[Any]:
    """Ask until there is an answer, or a refusal that stays."""
    for wait in WAITS:
        try:
            return await ask()
        except StoreUnavailable as error:
            if isinstance(error, Refused) and not error.will_pass:
                raise
        await asyncio.sleep(wait)
    return await ask()
