"""What is sent, what is tried again, and how long that waits. No socket, no clock, no file: drivers have those.

`perform` is a conversation. It says how many seconds to wait before the request is sent (again), and is told the
`Response`, or the `APIConnectionError` that came instead. It ends with the call's result or its error.

Tried again: no answer, 408, 409, 429 and everything from 500 on; `x-should-retry` overrules that in both directions.
Each call is made so that this is safe (a step carries one `Idempotency-Key` over all its tries), but for one:
`repeatable=False` marks the creation of a session, which could happen twice.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from random import random as uniform
from typing import BinaryIO, Generic, TypeVar

from optim_client.errors import APIConnectionError, InvalidAnswer, status_error

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 8.0
LONGEST_RETRY_AFTER_SECONDS = 120.0
NEVER_DONE_STATUSES = frozenset({429, 503})

T = TypeVar("T")
U = TypeVar("U")

Buffer = bytes | memoryview
"""Memory views are of single bytes."""


@dataclass(frozen=True, slots=True)
class Request:
    """One try. `body` is bytes, or buffers to be sent one after the other, or an open file; a success is written to
    `into`, where given, instead of into memory."""

    method: str
    path: str
    query: Mapping[str, str | int | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Sequence[Buffer] | BinaryIO = b""
    into: BinaryIO | None = None
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Response:
    """One answer; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: Buffer


Outcome = Response | APIConnectionError


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and what its answer means."""

    request: Request
    read: Callable[[Response], T]

    def then(self, use: Callable[[T], U]) -> "Call[U]":
        """The same request, its result passed through `use`."""
        return Call(self.request, lambda response: use(self.read(response)))


def perform(call: Call[T], max_retries: int, random: Callable[[], float] = uniform) -> Generator[float, Outcome, T]:
    """Make the call, trying again up to `max_retries` times."""
    pause, tries = 0.0, 0
    while True:
        outcome = yield pause
        if isinstance(outcome, Response) and _is_done(call.request, outcome, tries):
            return _read(call, outcome)
        again = _pause(call.request, outcome, tries, random) if tries < max_retries else None
        if again is None:
            raise (
                outcome
                if isinstance(outcome, APIConnectionError)
                else status_error(outcome.status, outcome.headers, bytes(outcome.body))
            )
        pause, tries = again, tries + 1


def _is_done(request: Request, response: Response, tries: int) -> bool:
    """A deletion whose first answer was lost finds nothing the second time: it is done too."""
    return 200 <= response.status < 300 or (request.method == "DELETE" and response.status == 404 and tries > 0)


def _read(call: Call[T], response: Response) -> T:
    try:
        return call.read(response)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidAnswer(
            f"{call.request.method} {call.request.path}: the answer cannot be read: {error!r}"
        ) from error


def _pause(request: Request, outcome: Outcome, tries: int, random: Callable[[], float]) -> float | None:
    """Seconds until the next try; `None` where there must not be one."""
    backoff: float = min(FIRST_WAIT_SECONDS * 2**tries, LONGEST_WAIT_SECONDS) * (1 - 0.25 * random())
    if isinstance(outcome, APIConnectionError):
        return backoff if request.repeatable or not outcome.sent else None
    if not _may_retry(request, outcome):
        return None
    asked = _retry_after(outcome.headers)
    if asked is None:
        return backoff
    return asked if asked <= LONGEST_RETRY_AFTER_SECONDS else None


def _may_retry(request: Request, response: Response) -> bool:
    said = response.headers.get("x-should-retry")
    if said in {"true", "false"}:
        return said == "true"
    if not request.repeatable:
        return response.status in NEVER_DONE_STATUSES
    return response.status in {408, 409, 429} or response.status >= 500


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds. A date counts from the answer's own `Date`, so nobody's clock matters."""
    said = headers.get("retry-after", "")
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        wait = parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):  # TypeError: only one of the two names its time zone
        return None
    return max(0.0, wait.total_seconds())
