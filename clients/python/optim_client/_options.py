"""What a client is told about trying: how long for an answer, and how long again."""

import math
from typing import Self

import httpx2

from optim_client._http import Timeout
from optim_client._protocol import Patience

DEFAULT_RETRY_SECONDS = 120.0


class Options:
    """`max_retries` alone counts and looks at no clock; where neither is given, it is 120 seconds."""

    def __init__(self, timeout: Timeout, retry_seconds: float | None, max_retries: int | None) -> None:
        self.limits = httpx2.Timeout(timeout)
        self.patience = _patience(retry_seconds, max_retries)

    def with_options(
        self, *, timeout: Timeout | None = None, retry_seconds: float | None = None, max_retries: int | None = None
    ) -> Self:
        """The same client, over the same connections, with other options; closing one closes both.

        Of `retry_seconds` and `max_retries`, what is given replaces both.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        if timeout is not None:
            other.limits = httpx2.Timeout(timeout)
        if retry_seconds is not None or max_retries is not None:
            other.patience = _patience(retry_seconds, max_retries)
        return other


def _patience(retry_seconds: float | None, max_retries: int | None) -> Patience:
    if retry_seconds is not None and not retry_seconds >= 0:
        raise ValueError(f"retry_seconds must be 0 or more, not {retry_seconds}")
    if max_retries is not None and max_retries < 0:
        raise ValueError(f"max_retries must be 0 or more, not {max_retries}")
    if retry_seconds is None:
        retry_seconds = DEFAULT_RETRY_SECONDS if max_retries is None else math.inf
    return Patience(float(retry_seconds), math.inf if max_retries is None else max_retries)
