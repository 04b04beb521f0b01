"""A client's options: the address of the service, the timeout of a call, and the limits of its retries."""

import importlib
import math
from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx2

from optim_client._address import is_local, shown, url_of
from optim_client._http import Timeout
from optim_client._protocol import Call, Conversation, Patience, Request, perform

if TYPE_CHECKING:
    from optim_client._tracing import Tracing

DEFAULT_RETRY_SECONDS = 120.0

T = TypeVar("T")


class Options:
    """The options of a client. `max_retries` alone sets no time limit; where neither is given, it is 120 seconds.

    A pickle holds the address and the options, never the key.
    """

    def __init__(
        self,
        url: str,
        transport: object,
        timeout: Timeout,
        retry_seconds: float | None,
        max_retries: int | None,
        tracing: bool,
    ) -> None:
        self.base_url = url
        self._has_transport = transport is not None
        self.timeout = _timeout(timeout)
        """Seconds without progress."""
        self.patience = _patience(retry_seconds, max_retries)
        self._tracing = _tracing(url) if tracing else None

    @property
    def retry_seconds(self) -> float:
        """Return the seconds since a call first failed, in which it is tried again; may be infinite."""
        return self.patience.seconds

    @property
    def max_retries(self) -> int | None:
        """Return the number of times that a call is tried again; `None` where only the time counts."""
        return None if self.patience.retries == math.inf else int(self.patience.retries)

    def with_options(
        self,
        *,
        timeout: Timeout | None = None,
        retry_seconds: float | None = None,
        max_retries: int | None = None,
    ) -> Self:
        """Return the same client, over the same connections, with other options; closing one closes both.

        Args:
            timeout: Seconds without progress.
            retry_seconds: Seconds since a call first failed, in which it is tried again.
            max_retries: The number of times that it is tried again. Giving one of these two replaces both.

        Returns:
            The other client.

        Raises:
            ValueError: `timeout` is not above 0, or a limit is below 0.

        Example:
            patient = client.with_options(retry_seconds=600)
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        if timeout is not None:
            other.timeout = _timeout(timeout)
        if retry_seconds is not None or max_retries is not None:
            other.patience = _patience(retry_seconds, max_retries)
        return other

    def _begin(self, call: Call[T]) -> tuple[Request, Conversation[T]]:
        """Return the request of a call, and the conversation that makes it."""
        conversation = perform(call, self.patience)
        if self._tracing is None:
            return call.request, conversation
        return self._tracing.traced(call, conversation)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {shown(self.base_url)}, retries {self.patience}>"

    def __copy__(self) -> Self:
        return self.with_options()

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        """Return the same client: connections are not copied."""
        return self.with_options()

    def __reduce__(self) -> tuple[Callable[[], Self], tuple[()]]:
        """Pickle the client. Another process takes the key from its own OPTIM_API_KEY."""
        if is_local(self.base_url):
            raise TypeError(
                f"a client of {self.base_url!r} cannot be pickled, because its service runs in this process: start the "
                "service with `optim serve` and give its URL"
            )
        if self._has_transport or url_of(self.base_url).userinfo:
            raise TypeError(
                "a client with transport=… or with a password in its base_url cannot be pickled: send session.id, and "
                "make a client in the other process"
            )
        return partial(
            type(self),
            self.base_url,
            timeout=self.timeout,
            retry_seconds=self.retry_seconds,
            max_retries=self.max_retries,
            tracing=self._tracing is not None,
        ), ()


def _timeout(given: Timeout) -> httpx2.Timeout:
    timeout = httpx2.Timeout(given)
    for seconds in timeout.as_dict().values():
        if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
            raise ValueError(f"timeout must be above 0 seconds, not {seconds!r}")
    return timeout


def _patience(retry_seconds: float | None, max_retries: int | None) -> Patience:
    for name, limit in {"retry_seconds": retry_seconds, "max_retries": max_retries}.items():
        if limit is not None and not (isinstance(limit, Real) and limit >= 0):
            raise ValueError(f"{name} must be 0 or more, not {limit!r:.80}")
    if retry_seconds is None:
        retry_seconds = DEFAULT_RETRY_SECONDS if max_retries is None else math.inf
    return Patience(float(retry_seconds), math.inf if max_retries is None else max_retries)


def _tracing(url: str) -> "Tracing":
    """Return the spans of a client. Raises `ImportError` without the extra."""
    try:
        tracing: Tracing = importlib.import_module("optim_client._tracing").Tracing(url)
    except ImportError as error:
        raise ImportError(
            f"tracing=True needs OpenTelemetry, and it cannot be imported ({error}): `pip install 'optim-client[otel]'`"
        ) from error
    return tracing
