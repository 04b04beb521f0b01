"""The client of a backup or a restore: it waits for a Redis that is away for a moment.

Each of its calls may be sent twice: those of a backup read, and those of a restore leave the same if they come again.
"""

import asyncio
from typing import Any

from app.errors import StoreUnavailable
from app.store.redis_client import Client, Command, Refused

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try."""


class PatientClient(Client):
    """A client that sends a call again if it got no answer."""

    async def ask(self, *commands: Command, at_once_within: float | None = None) -> list[Any]:
        for wait in WAITS:
            try:
                return await super().ask(*commands, at_once_within=at_once_within)
            except StoreUnavailable as error:
                if isinstance(error, Refused) and not error.will_pass:
                    raise
            await asyncio.sleep(wait)
        return await super().ask(*commands, at_once_within=at_once_within)
