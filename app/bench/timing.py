"""The timing of calls: one after the other, or on many connections at once."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Event, Thread

from app.bench.connection import Connection
from app.bench.requests import Request

WARM_UP, FEWEST = 3, 5


@dataclass(frozen=True)
class Times:
    """The times of calls, in milliseconds and in order."""

    sorted: tuple[float, ...]

    def share(self, share: float) -> float:
        """Return the time within which this share of the calls was done."""
        return self.sorted[min(len(self.sorted) - 1, int(share * len(self.sorted)))]

    @property
    def p50(self) -> float:
        return self.share(0.5)

    @property
    def p99(self) -> float:
        return self.share(0.99)


def timed(call: Callable[[], object], seconds: float) -> Times:
    """Call again and again for so long, but a few times at least; the first calls do not count."""
    times: list[float] = []
    for _ in range(WARM_UP):
        call()
    end = time.perf_counter() + seconds
    while len(times) < FEWEST or time.perf_counter() < end:
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1e3)
    return Times(tuple(sorted(times)))


def rate(address: str, requests: Sequence[Request], seconds: float) -> float:
    """Return the answers a second with a connection for each request, all at once. Raises what one of them raises."""
    done, failures, stopped = [0] * len(requests), [], Event()

    def ask(number: int, connection: Connection) -> None:
        try:
            while not stopped.is_set():
                connection.ask(requests[number].next())
                done[number] += 1
        except OSError as error:
            failures.append(error)

    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(address)) for _ in requests]
        threads = [Thread(target=ask, args=pair, daemon=True) for pair in enumerate(connections)]
        started = time.perf_counter()
        try:
            for thread in threads:
                thread.start()
            stopped.wait(seconds)
            counted, taken = sum(done), time.perf_counter() - started
        finally:
            stopped.set()
            for thread in threads:
                thread.join()
    if failures:
        raise failures[0]
    return counted / taken
