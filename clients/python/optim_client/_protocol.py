"""The protocol: calls with their requests and answers, and the rules of retries. Knows no socket and no file.

`perform` is a conversation. It yields how many seconds to wait before the request is sent (again), and is sent the
`Response`, or the `APIConnectionError` that came instead. It ends with the call's result or its error.

Rule 1: no answer, 408, 429, 409 `session_busy`, and every status from 500 on but 501 and 505 are tried again.
Rule 2: `x-should-retry` overrules rule 1 in both directions.
Rule 3: every retry is safe. A call that changes something carries one `Idempotency-Key` over all its tries.
Rule 4: retries are limited by time, not by number, because a restart of the service takes time.
Rule 5: the log says when the waiting begins, and when it has ended.

`clients/contract/retries.json` has the rules as data.
"""

import logging
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from random import random as uniform
from typing import BinaryIO, Generic, TypeVar

from optim_client._refusals import excerpt, status_error
from optim_client.errors import APIConnectionError, APIStatusError, InvalidAnswer

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 4.0
LONGEST_RETRY_AFTER_SECONDS = 120.0
"""The longest `Retry-After` that is waited for without a time limit."""
EVENT_STREAM = "text/event-stream"
NEVER_MENDED_STATUSES = frozenset({501, 505})

T = TypeVar("T")
U = TypeVar("U")

Buffer = bytes | memoryview
"""Bytes to send or received; memory views are of single bytes."""

log = logging.getLogger("optim_client")


@dataclass(frozen=True, slots=True)
class Request:
    """A request. Its `body` is bytes, buffers to be sent one after the other, or an open file.

    A successful answer's body is written to `into`, where given, instead of into memory.
    """

    method: str
    path: str
    query: Mapping[str, str | int | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Sequence[Buffer] | BinaryIO = b""
    into: BinaryIO | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: Buffer


Outcome = Response | APIConnectionError
Conversation = Generator[float, Outcome, T]
"""A call under way: see above."""


def is_stream(response: Response) -> bool:
    """Return whether an answer is a stream of events, which has no end to wait for."""
    return response.status == 200 and response.headers.get("content-type", "").startswith(EVENT_STREAM)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and the reader of its answer."""

    request: Request
    read: Callable[[Response], T]

    def then(self, use: Callable[[T], U]) -> "Call[U]":
        """Return the same call, its result passed through `use`."""
        return Call(self.request, lambda response: use(self.read(response)))


@dataclass(frozen=True, slots=True)
class Patience:
    """The limits of retries: seconds since a call first failed, and a number of times. Either may be infinite."""

    seconds: float
    retries: float = math.inf

    def __str__(self) -> str:
        times = [] if self.retries == math.inf else [f"{self.retries:.0f} times"]
        seconds = [] if self.seconds == math.inf else [f"for {self.seconds:g} s"]
        return " or ".join([*times, *seconds]) or "until it works"


def perform(
    call: Call[T],
    patience: Patience,
    clock: Callable[[], float] = time.monotonic,
    random: Callable[[], float] = uniform,
) -> Conversation[T]:
    """Make the call, with retries up to the limits of `patience`; return its result or raise its error."""
    pause, tries, failed = 0.0, 0, 0.0
    while True:
        outcome = yield pause
        tries += 1
        if isinstance(outcome, Response) and _is_done(call.request, outcome, tries):
            if tries > 1:
                log.warning(
                    "%s: answered, %.1f s after the first failure, at try %d", _name(call), clock() - failed, tries
                )
            return _read(call, outcome)
        error = outcome if isinstance(outcome, APIConnectionError) else _error(outcome)
        failed = clock() if tries == 1 else failed
        left = patience.seconds - (clock() - failed)
        again = _pause(outcome, error, tries, left, random) if tries <= patience.retries else None
        if again is None:
            try:
                raise error
            finally:
                del (
                    error,
                    outcome,
                )  # the error refers to this frame: a cycle, which would keep the answer
        if tries == 1:
            said = str(error) if isinstance(error, APIConnectionError) else f"{_name(call)}: {error}"
            log.warning("%s; trying again, %s", said, patience)
        pause = again


def _name(call: Call[T]) -> str:
    return f"{call.request.method} {call.request.path}"


def _error(response: Response) -> APIStatusError:
    return status_error(response.status, response.headers, bytes(response.body))


def _is_done(request: Request, response: Response, tries: int) -> bool:
    """Return whether the call is done. A deletion whose first answer was lost finds nothing later: it is done too."""
    return 200 <= response.status < 300 or (request.method == "DELETE" and response.status == 404 and tries > 1)


def _read(call: Call[T], response: Response) -> T:
    """Return the call's result. Raises `InvalidAnswer`, also for a page: a proxy's login page is a success too."""
    kind = response.headers.get("content-type", "")
    if kind.startswith("text/") and not kind.startswith(EVENT_STREAM):
        said = excerpt(bytes(response.body[:1000]))
        raise InvalidAnswer(
            f"{_name(call)}: received a page ({kind}), not the service's answer: is it a proxy's login page, or does "
            f"base_url lead elsewhere? It says {said!r}"
        )
    try:
        return call.read(response)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidAnswer(f"{_name(call)}: the answer cannot be read: {error!r}") from error


def _pause(
    outcome: Outcome,
    error: APIConnectionError | APIStatusError,
    tries: int,
    left: float,
    random: Callable[[], float],
) -> float | None:
    """Return the seconds until the next try, or `None` for no try. The last try is when the time is over."""
    if left <= 0 or not _may_retry(outcome, error):
        return None
    wait: float = min(FIRST_WAIT_SECONDS * 2.0 ** min(tries - 1, 16), LONGEST_WAIT_SECONDS) * (1 - 0.5 * random())
    asked = _retry_after(outcome.headers) if isinstance(outcome, Response) else None
    if asked is None:
        return min(wait, left)
    if asked > (LONGEST_RETRY_AFTER_SECONDS if left == math.inf else left):
        return None
    return asked if tries == 1 else min(max(asked, wait), left)  # a Retry-After of 0 must not become a busy loop


def _may_retry(outcome: Outcome, error: APIConnectionError | APIStatusError) -> bool:
    """Apply rules 1 and 2."""
    if isinstance(error, APIConnectionError):
        return error.may_pass
    said = outcome.headers.get("x-should-retry") if isinstance(outcome, Response) else None
    if said in {"true", "false"}:
        return said == "true"
    if error.status == 409:
        return error.code == "session_busy"
    return error.status in {408, 429} or (error.status >= 500 and error.status not in NEVER_MENDED_STATUSES)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return `Retry-After` in seconds. A date counts from the answer's own `Date`, so that clocks do not matter."""
    said = headers.get("retry-after", "")
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        wait = parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):  # TypeError: only one of the two names its time zone
        return None
    return max(0.0, wait.total_seconds())
