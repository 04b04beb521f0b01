"""The replicas that must have a write before it is acknowledged: a failover to one of them does not lose it.

`WAIT` knows the writes of its own connection alone, so it goes with them.
"""

from collections.abc import Sequence
from typing import Any

from app.errors import StoreUnavailable
from app.store.redis_scripts import Script

WAIT_MS = 1000
"""The longest wait for replicas, in milliseconds; and at most half of the store's timeout."""

TOUCH = Script("redis.call('SET', KEYS[1], '', 'PX', 1000)")
"""A write without a meaning, after all those before it."""


class Replicas:
    """A number of replicas that must have a write."""

    def __init__(self, count: int, timeout: float) -> None:
        self.count = count
        self.wait = [("WAIT", count, int(min(WAIT_MS, 500 * timeout)))] if count else []
        """The command that waits for them; none if there are none."""

    def check(self, answers: Sequence[Any]) -> None:
        """Raise `StoreUnavailable` if the last answer, that of `wait`, names fewer: the write may be lost, or not."""
        if self.count and answers[-1] < self.count:
            raise StoreUnavailable(
                f"Redis has this, but only {answers[-1]} of {self.count} replicas (OPTIM_REDIS_REPLICAS) have it: a "
                f"failover may lose it; try again"
            )
