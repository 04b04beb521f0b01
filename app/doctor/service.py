"""The running service: whether it answers and is ready, its version, its clock, and the API key."""

import os
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from statistics import median

import httpx2
from optim_client import Client
from optim_client.errors import APIStatusError, OptimError

from app.doctor.finding import Finding, Level, away, ok, problem, warning

ASKED = 5
TIMEOUT_SECONDS = 5.0
SKEW_SECONDS = 3.0
"""The clocks differ if they do by more: the service's `Date` is in whole seconds."""
ALIVE = '{"status":"alive"}'
START = "Start it with `optim serve`, or name another with --url"


def examined(url: str | None) -> Iterator[Finding]:
    """Yield the findings about the service at a URL. One that nobody named need not be there."""
    with Client(url, max_retries=0, timeout=TIMEOUT_SECONDS) as client:
        address = str(client.base_url)
        try:
            with _plain(address) as plain:
                found = list(_answers(address, plain))
        except httpx2.TransportError as error:
            if url is None and "OPTIM_BASE_URL" not in os.environ:
                yield ok("service", f"none runs at {address}")
            else:
                yield away("service", ConnectionError(f"{address} does not answer: {error}"), START)
            return
        yield from found
        if found[-1].level is not Level.PROBLEM:
            yield _key(client)


def _plain(address: str) -> httpx2.Client:
    """Return a client without what the Python client does for its user, such as tries."""
    if address.startswith("unix://"):
        transport = httpx2.HTTPTransport(uds=address.removeprefix("unix://"))
        return httpx2.Client(base_url="http://localhost", transport=transport, timeout=TIMEOUT_SECONDS)
    return httpx2.Client(base_url=address, timeout=TIMEOUT_SECONDS)


def _answers(address: str, plain: httpx2.Client) -> Iterator[Finding]:
    times = []
    for _ in range(ASKED):
        started = time.perf_counter()
        answer = plain.get("/livez")
        times.append((time.perf_counter() - started) * 1e3)
    ready = plain.get("/readyz")
    if answer.text != ALIVE:
        yield problem("service", f"what answers at {address} is no Optim Service", START)
        return
    document = ready.json()
    if ready.status_code != 200:
        yield problem("service", f"{address} is not ready: {document.get('detail')}", "See the store, and its log")
        return
    words = f"{address}: store {document['store']}, kernel {document['kernel']}, answers in {median(times):.2g} ms"
    yield ok("service", words)
    yield _version(document["version"])
    if "date" in ready.headers:
        yield _clock(parsedate_to_datetime(ready.headers["date"]).timestamp())


def _version(found: str) -> Finding:
    own = version("optim-service")
    if found == own:
        return ok("version", f"{own}, here and there")
    return warning("version", f"{found} there, {own} here", "Install the same version here, or restart the service")


def _clock(there: float) -> Finding:
    skew = there - time.time()
    if abs(skew) > SKEW_SECONDS:
        return warning("clock", f"the service's clock is {skew:+.0f} s from this one's", "Set both by NTP")
    return ok("clock", "the service's clock is this one's, to the second")


def _key(client: Client) -> Finding:
    """Return whether the service takes the key, or needs none."""
    try:
        client.sessions.list(limit=1)
    except APIStatusError as error:
        return problem("key", str(error), "Give OPTIM_API_KEY a key that `optim keys create` printed")
    except OptimError as error:
        return problem("key", str(error), "See the service's log")
    return ok("key", "OPTIM_API_KEY is taken" if os.environ.get("OPTIM_API_KEY") else "the service needs none")
