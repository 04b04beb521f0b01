"""The renewal of outlines while sessions train: so the first look at a long one is as quick as others.

One outline is renewed at a time, every `EVERY` saves of its session: a step waits for none of it.
"""

import asyncio
from contextlib import suppress

from app.curves import Curves
from app.errors import ServiceError
from app.outline import POINTS

EVERY = 20_000
"""The saves of a session between two renewals."""


class Renewals:
    """The sessions whose outlines are to be renewed, in the order of their saves."""

    def __init__(self, curves: Curves) -> None:
        self.curves = curves
        self._waiting: dict[str, None] = {}
        self._is_wanted = asyncio.Event()

    def wake(self, session_id: str, version: int | None) -> None:
        """Renew the outline of a session soon, if it was saved often enough; `None` says that it is gone."""
        if version is not None and not version % EVERY:
            self._waiting[session_id] = None
            self._is_wanted.set()

    async def run(self) -> None:
        """Renew outlines until the task is cancelled."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            while self._waiting:
                session_id = next(iter(self._waiting))
                del self._waiting[session_id]
                with suppress(ServiceError):  # a plot of the session renews it, too
                    await self.curves.plot(session_id, POINTS)
