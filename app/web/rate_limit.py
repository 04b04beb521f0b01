"""How many requests a tenant may send: no more than so many in any stretch of time that long.

Counted on the clock that nobody sets, so that a change of the time of day harms nothing. Knows no HTTP but the values
of the header fields of draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping

from app.errors import RateLimited

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


class RateLimit:
    """`text` is such as `100/second`. Every process counts for itself."""

    def __init__(self, text: str, clock: Callable[[], float] = time.monotonic) -> None:
        amount, _, period = text.partition("/")
        self._text, self._amount, self._window = text, int(amount), SECONDS[period]
        self._clock = clock
        self._taken: defaultdict[str, deque[float]] = defaultdict(deque)
        """When each tenant's requests within the window came, the oldest first."""

    def take(self, tenant: str) -> Mapping[str, str]:
        """Count one request; the header fields of its answer. Raises `RateLimited`, which has them too."""
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
