"""The keeper of deadlines: in every server process, it closes the rounds that are due, also if nobody sends anything.

The store has the time at which each round is due, by its own clock. How long that is from now is taken from that clock
once, when the time is first seen, and then measured by this process's monotonic clock: a clock that is set forward
closes no round early that was seen before, and one that is set back keeps none open.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from app.errors import ServiceError
from app.logs import log
from app.store.base import Store
from app.store.ledger import Due
from app.worker_settings import LONGEST_WAIT
from optim_engine import EngineError

LOOK_SECONDS = 0.25
"""The time between two looks at the store."""
RETRY_SECONDS = 0.25
"""The time until a round that could not be closed is tried again: twice as long after each failure, jittered."""
LONGEST_RETRY = 10.0
"""The longest such time."""
AGAIN_SECONDS = 0.5
"""The time until a deadline that was kept is tried again if the store still has it: its ledger may just be saved."""
OTHERS_SECONDS = 0.3
"""The time for which a process leaves a round to another one, if it has not the state of the session in memory."""

Close = Callable[[Due], Awaitable[None]]
"""Closes a session's open round if its deadline is still this one, whatever the store's clock says by now."""


class Keeper:
    """The deadlines of all sessions.

    `is_near` says whether this process has the session's state in memory; `clock` is monotonic.
    """

    def __init__(
        self,
        store: Store,
        close: Close,
        is_near: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._close = close
        self._is_near = is_near
        self._clock = clock
        self._deadlines: dict[Due, float] = {}
        """The deadlines that were seen, by the monotonic clock."""
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._failures: Counter[str] = Counter()

    async def run(self) -> None:
        """Keep the deadlines for as long as the service runs. If the store is away, go on when it is back."""
        is_away = False
        while True:
            try:
                await self.look()
                is_away = False
            except ServiceError as error:
                if not is_away:
                    log.warning("the deadlines of rounds cannot be looked at", error=error.detail)
                is_away = True
            except Exception:
                log.exception("the deadlines of rounds cannot be looked at")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Begin to close what is due."""
        dues = await self._store.due()
        known, self._deadlines = self._deadlines, {}
        new = [due for due in dues if due not in known]
        now, here = await self._store.now() if new else 0.0, self._clock()
        for due in dues:
            at = known.get(due)
            if at is None:
                at = here + min(max(due.due_at - now, 0.0), LONGEST_WAIT)
                at += 0.0 if self._is_near(due.session_id) else random.uniform(OTHERS_SECONDS / 2, OTHERS_SECONDS)
            self._deadlines[due] = at
            if at <= here and due.session_id not in self._closing:
                task = asyncio.create_task(self._close_one(due))
                self._closing[due.session_id] = task

    async def _close_one(self, due: Due) -> None:
        try:
            await self._close(due)
        except (ServiceError, EngineError) as error:
            log.warning("a round that is due could not be closed", session=due.session_id, error=str(error))
            await self._pause(due.session_id)
        except Exception:
            log.exception("a round that is due could not be closed", session=due.session_id)
            await self._pause(due.session_id)
        else:
            self._failures.pop(due.session_id, None)
            self._deadlines[due] = self._clock() + AGAIN_SECONDS
        finally:
            del self._closing[due.session_id]

    async def _pause(self, session_id: str) -> None:
        seconds = min(RETRY_SECONDS * 2 ** min(self._failures[session_id], 10), LONGEST_RETRY)
        self._failures[session_id] += 1
        await asyncio.sleep(random.uniform(seconds / 2, seconds))

    async def stop(self) -> None:
        """Give up what is under way: another process, or the next start, closes it."""
        tasks = [*self._closing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
