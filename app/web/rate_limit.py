"""Rate limits: the requests of a tenant in a sliding window.

Uses the monotonic clock, so that a change of the time of day does no harm. The header fields are those of
draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping

from app.errors import RateLimited

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


class RateLimit:
    """The limit of every tenant, such as `100/second`. Each process counts for itself."""

    def __init__(self, text: str, clock: Callable[[], float] = time.monotonic) -> None:
        amount, _, period = text.partition("/")
        self._text, self._amount, self._window = text, int(amount), SECONDS[period]
        self._clock = clock
        self._taken: defaultdict[str, deque[float]] = defaultdict(deque)
        """The times of each tenant's requests in the window, the oldest first."""

    def take(self, tenant: str) -> Mapping[str, str]:
        """Count one request, and return the header fields of its answer. Raises `RateLimited`, which has them too."""
        now, taken = self._clock(), self._taken[tenant]
        while taken and now - taken[0] >= self._window:
            taken.popleft()
        free = self._amount - len(taken)
        if free:
            taken.append(now)
        seconds = math.ceil(self._window - (now - taken[0]))
        headers = {
            "RateLimit-Policy": f'"tenant";q={self._amount};w={self._window}',
            "RateLimit": f'"tenant";r={max(free - 1, 0)};t={seconds}',
        }
        if not free:
            raise RateLimited(
                f"this tenant may send {self._text}; the next one in {seconds} s", retry_after=seconds, limit=headers
            )
        return headers
