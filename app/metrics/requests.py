"""The metrics of requests: how many, how long, how many bytes, and what they were refused with."""

from app.errors import ERRORS
from app.metrics.families import SECONDS, Counter, Family, Histogram, Spread, Tally, Values
from app.web.traffic import Traffic


class Requests(Counter):
    """The requests by method, route and status, as the numbers that each request is counted with."""

    def __init__(self) -> None:
        super().__init__("optim_requests", "Requests answered.", ("method", "route", "status"))
        self.by_status: dict[tuple[str, str, int], int] = {}

    def values(self) -> Values:
        return {(method, route, str(status)): [count] for (method, route, status), count in self.by_status.items()}


class RequestMetrics:
    """The metrics of all requests."""

    def __init__(self) -> None:
        self._requests = Requests()
        self._seconds = Histogram("optim_request_seconds", "Time to answer, in seconds.", SECONDS, ("route",))
        self._by_route: dict[str, Spread] = {}
        self._errors = Counter("optim_errors", "Problem documents answered, by their code.", ("code",), ERRORS)
        self.traffic = Traffic()
        self.families: list[Family] = [
            self._requests,
            self._seconds,
            self._errors,
            Tally("optim_received_bytes", "Bytes of bodies received through sockets.", lambda: self.traffic.received),
            Tally("optim_sent_bytes", "Bytes of bodies sent through sockets.", lambda: self.traffic.sent),
        ]

    def count(self, method: str, route: str, status: int, seconds: float | None, code: str | None) -> None:
        """Count a request that was answered, with its time unless it had no end, and the code of its problem."""
        counts, name = self._requests.by_status, (method, route, status)
        counts[name] = counts.get(name, 0) + 1
        if seconds is not None:
            spread = self._by_route.get(route)
            if spread is None:
                spread = self._by_route[route] = self._seconds.of(route)
            spread.observe(seconds)
        if code is not None:
            self._errors.add(code)
