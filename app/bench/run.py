"""The run of a bench: sessions that are deleted with it, and the measurements one after the other."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from urllib.parse import urlsplit

from optim_client import Client, Session
from optim_client.errors import OptimError

from app.bench.connection import Connection
from app.bench.echo import Echo
from app.bench.requests import JSON, SAFETENSORS, Request, binary, text, vector
from app.bench.results import Results, Step
from app.bench.timing import Times, rate, timed
from optim_engine import Config, State, step
from optim_engine.machine import Machine, fastest

SMALL, LARGE = 1_000, 1_000_000
CONNECTIONS = (1, 4, 16)
MEASUREMENTS = 15
"""The parts of the whole time: five measurements of each size, less one, and two for each number of connections."""
LEFT_SECONDS = 3600
"""The time after which sessions are gone even if this program is killed."""
Say = Callable[[str], None]


def run(address: str, seconds: float, say: Say) -> Results:
    """Measure the service at an address for so long. Deletes its sessions, however it ends.

    Raises `ConnectionError` and an `OptimError` where the service refuses.
    """
    each = seconds / MEASUREMENTS
    with Client(address, max_retries=0) as client, Echo() as echo, ExitStack() as stack:
        bench = Bench(str(client.base_url), echo.address, each)
        sessions = [stack.enter_context(_session(client, size)) for size in (*[SMALL] * max(CONNECTIONS), LARGE)]
        say(f"steps of {SMALL:,} parameters")
        small = bench.step(sessions[0].id, SMALL)
        rates = {}
        for count in CONNECTIONS:
            say(f"steps on {count} connections")
            rates[count] = bench.rates([session.id for session in sessions[:count]])
        say(f"steps of {LARGE:,} parameters")
        return Results((small, bench.step(sessions[-1].id, LARGE)), rates)


@contextmanager
def _session(client: Client, size: int) -> Iterator[Session]:
    session = client.sessions.create("adamw", hold_params=True, labels={"run": "bench"}, ttl_seconds=LEFT_SECONDS)
    try:
        session.put_params({"w": vector(size)})
        yield session
    finally:
        with suppress(OptimError):  # it expires
            session.delete()


class Bench:
    """The measurements of one service, each of so many seconds."""

    def __init__(self, address: str, echo: str, seconds: float) -> None:
        self._address, self._echo, self._seconds = address, echo, seconds
        parts = urlsplit(address)
        self._host = "localhost" if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]
        self._prefix = "" if parts.scheme == "unix" else parts.path.rstrip("/")

    def step(self, session_id: str, size: int) -> Step:
        """Measure steps of one size; a large one not as JSON, which may be longer than the service takes."""
        grads = vector(size)
        body = binary(grads)
        with Connection(self._address) as service, Connection(self._echo) as echo:
            asked = self._request(session_id, "steps", body)
            return Step(
                size,
                len(body),
                step=timed(lambda: service.ask(asked.next()), self._seconds),
                preview=timed(partial(service.ask, self._request(session_id, "preview", body).next()), self._seconds),
                echo=timed(partial(echo.ask, asked.next()), self._seconds),
                engine=timed(engine(size), self._seconds),
                json=None if size > SMALL else self._as_json(service, session_id, text(grads)),
            )

    def _as_json(self, service: Connection, session_id: str, body: bytes) -> Times:
        asked = self._request(session_id, "steps", body, JSON)
        return timed(lambda: service.ask(asked.next()), self._seconds)

    def rates(self, session_ids: list[str]) -> tuple[float, float]:
        """Return the steps a second on a connection for each session, and the echoes of the same bytes."""
        asked = [self._request(each, "steps", binary(vector(SMALL))) for each in session_ids]
        return rate(self._address, asked, self._seconds), rate(self._echo, asked, self._seconds)

    def _request(self, session_id: str, verb: str, body: bytes, media_type: str = SAFETENSORS) -> Request:
        path = f"{self._prefix}/v1/sessions/{session_id}/{verb}"
        return Request(self._host, "POST", path, body, media_type)


def engine(size: int) -> Callable[[], None]:
    """Return a function that takes a step in this process, with the fastest kernel and one thread."""
    config, grads, machine = Config.parse("adamw"), {"w": vector(size)}, Machine(fastest())
    state, params = State.empty(), {"w": vector(size)}

    def take() -> None:
        nonlocal state, params
        outcome = step(config, state, params, grads, machine=machine)
        state, params = outcome.state, dict(outcome.params)

    return take
