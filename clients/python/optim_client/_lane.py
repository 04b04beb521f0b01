"""The lane: a zero-copy transport over HTTP/1.1. Buffers are sent in place; a large answer stays where it arrives.

HTTPX copies both several times, and its bookkeeping costs more than a small step. The lane speaks http and https to the
service itself, also over a Unix socket; the rest (a transport of the user's, a proxy, a password in the URL, cookies,
files) goes through HTTPX.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue
from urllib.parse import urlencode
from urllib.request import getproxies, proxy_bypass

import httpx2
import numpy as np

from optim_client import _fork, _http, _http1, _regions, _request_ids, _sockets
from optim_client._buffers import Buffers
from optim_client._protocol import Buffer, Outcome, Request, Response, log
from optim_client._regions import Memory, Regions
from optim_client._request_ids import RequestIds
from optim_client._transport import CLOSED

CONNECTIONS = 100
"""The largest number of open connections, as in HTTPX."""
TOO_MANY = f"{CONNECTIONS} calls are under way"
IDLE_SECONDS = 60.0
"""Shorter than the service's keep-alive, so that a connection is rarely closed while a request is on its way."""


def leads_to(url: httpx2.URL) -> bool:
    """Return whether the lane can reach the address itself. Reads the same variables as HTTPX for a proxy."""
    proxies = getproxies()
    proxied = url.scheme in proxies or "all" in proxies
    return not (url.userinfo or url.query or (proxied and not proxy_bypass(url.host)))


class Lane:
    """A `Transport`: connections to one service, for many threads. Each carries one request at a time.

    `path` is that of a Unix socket, where the connections go through one.
    """

    def __init__(self, url: httpx2.URL, headers: Mapping[str, str], ids: RequestIds, path: str = "") -> None:
        self._service = _Service(url, headers, ids, path)
        self._buffers = Buffers()
        self._closed = False
        self._start()
        _fork.follow(self)

    def _start(self) -> None:
        self._idle: list[Connection] = []
        self._taken: set[Connection] = set()
        self._lock = threading.Lock()
        self._places = SimpleQueue[None]()  # a semaphore's lock stays taken if a signal's handler raises in it
        for _ in range(CONNECTIONS):
            self._places.put(None)

    def after_fork(self) -> None:
        """Close this process's descriptors, and no connection: those are the parent's."""
        inherited = [*self._idle, *self._taken]
        self._start()
        for connection in inherited:
            connection.close()

    @property
    def sets_cookies(self) -> bool:
        """Return whether the service, or a balancer before it, has set a cookie."""
        return self._service.sets_cookies

    def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Send one try of a request; return its answer, or the error that came instead of one."""
        places = self._places
        try:
            places.get(timeout=timeout.pool)
        except Empty:
            return self.no_place(request)
        try:
            connection = self.take()
            try:
                return connection.exchange(request, timeout)
            finally:
                self.give_back(connection)
        finally:
            places.put(None)

    def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory:
        """Return memory for arrays: in a region of the next connection, with room for a header, if there is one."""
        memory: Memory | str = "memory is shared over a Unix socket, on Linux, from 1 MiB on"
        if self._service.may_have_regions and nbytes >= _regions.SMALLEST_BYTES:
            memory = self._empty(nbytes, before, timeout)
        if isinstance(memory, str):
            log.debug("gradients of %d bytes will be copied: %s", nbytes, memory)
            return np.empty(nbytes, np.uint8)
        return memory

    def _empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory | str:
        places = self._places
        try:
            places.get(timeout=timeout.pool)
        except Empty:
            return TOO_MANY
        try:
            connection = self.take()
            try:
                return connection.empty(nbytes, before, timeout)
            finally:
                self.give_back(connection)
        finally:
            places.put(None)

    def no_place(self, request: Request) -> Outcome:
        """Return the error of a request that waited too long for a connection."""
        where = self._service.where(request)
        return _http.no_answer(where, TimeoutError(TOO_MANY), sent=False)

    def take(self) -> "Connection":
        """Return the connection that was used last and is still open, or one that is yet to be opened."""
        while True:
            with self._lock:
                if self._closed:
                    raise RuntimeError(CLOSED)
                connection = self._idle.pop() if self._idle else None
            if connection is None or connection.stands():
                connection = connection or Connection(self._service, self._buffers)
                self._taken.add(connection)
                return connection
            connection.close()

    def give_back(self, connection: "Connection") -> None:
        """Keep the connection after a whole answer, else close it: another answer may be on its way."""
        self._taken.discard(connection)
        with self._lock:
            if connection.reusable and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when their calls end."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class _Service:
    """The address of a service, and the headers of every request to it."""

    def __init__(self, url: httpx2.URL, headers: Mapping[str, str], ids: RequestIds, path: str) -> None:
        self.ids = ids
        self._path = path
        self.may_have_regions = bool(path) and sys.platform == "linux"
        self._origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
        self._prefix = url.raw_path.decode("ascii").rstrip("/")
        self._headers = {"host": url.netloc.decode("ascii"), "accept-encoding": "identity", **headers}
        self._host = url.raw_host.decode("ascii").strip("[]")
        self._port = url.port or {"http": 80, "https": 443}[url.scheme]
        self.sets_cookies = False
        self._tls = httpx2.create_ssl_context() if url.scheme == "https" else None

    def where(self, request: Request) -> str:
        """Return the method and the address, without a password."""
        before, after = ("", f" at unix://{self._path}") if self._path else (self._origin, "")
        return f"{request.method} {before}{self._prefix}{request.path}{after}"

    def bytes_of(self, request: Request, request_id: str) -> Sequence[Buffer]:
        """Return the request as buffers to send."""
        body = [request.body] if isinstance(request.body, bytes) else request.body
        assert isinstance(body, Sequence)
        length = sum(map(len, body))
        headers = {**self._headers, **request.headers, _request_ids.HEADER: request_id}
        if length:
            headers["content-length"] = str(length)
        query = f"?{urlencode(request.query, doseq=True)}" if request.query else ""
        return [_http1.head(request.method, f"{self._prefix}{request.path}{query}", headers), *body]

    def connect(self, seconds: float | None) -> socket.socket:
        """Return a new connection. Raises `OSError`."""
        if self._path:
            return _sockets.connected(self._path, seconds)
        plain = socket.create_connection((self._host, self._port), seconds)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return plain
        try:
            return self._tls.wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise


class Connection:
    """A connection, opened by its first request. One thread uses it; any other may `abort` it."""

    def __init__(self, service: _Service, buffers: Buffers) -> None:
        self._service = service
        self._buffers = buffers
        self._socket: socket.socket | None = None
        self._aborted = False
        self._whole = False
        self._used = 0.0
        self._regions = Regions() if service.may_have_regions else None
        self._under_way: _regions.Placed | None = None
        self._descriptors: list[int] = []
        self._timeout = _http.DEFAULT_TIMEOUT

    @property
    def reusable(self) -> bool:
        """Return whether the last answer was read to its end, and the service keeps the connection open."""
        return self._whole and not self._aborted

    def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Send one try of a request; return its answer, or the error that came instead of one."""
        self._whole = False
        try:
            link = self._socket or self._connect(timeout.connect)
            placed = self._placed(request, timeout)
        except (OSError, _http1.BadAnswer) as error:
            return _http.no_answer(self._service.where(request), error, sent=False)
        if placed is None:
            return self._exchange(link, request, timeout)
        self._under_way = placed
        try:
            outcome = self._exchange(link, placed.request, timeout)
            return placed.answered(outcome) if isinstance(outcome, Response) else outcome
        except ValueError as error:
            self._whole = False
            return _http.no_answer(self._service.where(request), error, sent=True)
        finally:
            self._under_way = None
            if not self._whole:
                placed.let_go()

    def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory | str:
        """Return memory in a region, with room for a header before it; or the reason why there is none."""
        assert self._regions is not None
        self._timeout = timeout
        try:
            if self._socket is None:
                self._connect(timeout.connect)
            loan = self._regions.take(before + nbytes, self._ask, before)
        except (OSError, _http1.BadAnswer) as error:
            self._whole = False
            return str(error) or type(error).__name__
        return "the service gave no region" if loan is None else np.asarray(loan)[:nbytes]

    def _exchange(self, link: socket.socket, request: Request, timeout: httpx2.Timeout) -> Outcome:
        self._whole = False
        request_id = self._service.ids.new()
        try:
            all_sent = self._send(link, self._service.bytes_of(request, request_id), timeout.write)
            answer = self._receive(link, timeout.read)
        except (OSError, _http1.BadAnswer) as error:
            return _http.no_answer(self._service.where(request), error, sent=True)
        if other := self._service.ids.foreign(request_id, answer.response.status, answer.response.headers):
            return _http.foreign_answer(self._service.where(request), request_id, other)
        self._whole = all_sent and answer.reusable
        self._used = time.monotonic()
        self._service.sets_cookies |= "set-cookie" in answer.response.headers
        return answer.response

    def _placed(self, request: Request, timeout: httpx2.Timeout) -> _regions.Placed | None:
        """Return a step with its body in a region; `None` if the socket carries it. Raises `OSError`, `BadAnswer`."""
        if self._regions is None or not _regions.is_for(request):
            return None
        self._timeout = timeout
        return _regions.place(request, self._regions, self._ask)

    def _ask(self, nbytes: int, freed: Sequence[int]) -> tuple[int, int] | None:
        """Ask the service for a region, and give others back; return its number and its descriptor.

        `None` where it has none. Raises `OSError`, `BadAnswer`.
        """
        assert self._socket is not None
        query: dict[str, str | int | list[str]] = {"nbytes": nbytes, "free": [str(number) for number in freed]}
        outcome = self._exchange(self._socket, Request("POST", "/v1/regions", query), self._timeout)
        descriptors, self._descriptors = self._descriptors, []
        number = outcome.headers.get(_regions.NUMBER, "") if isinstance(outcome, Response) else ""
        if self._whole and number.isdecimal() and len(descriptors) == 1:
            return int(number), descriptors[0]
        for descriptor in descriptors:
            os.close(descriptor)
        if not isinstance(outcome, Response) or not self._whole:
            raise ConnectionAbortedError(str(outcome))
        return None

    def stands(self) -> bool:
        """Return whether the connection was used lately and is still open. A closed one is readable: it has ended."""
        lately = time.monotonic() - self._used < IDLE_SECONDS
        return lately and self._socket is not None and _sockets.is_silent(self._socket)

    def abort(self) -> None:
        """End the wait of the thread that uses the connection; that thread then closes it."""
        self._aborted = True
        if (placed := self._under_way) is not None:
            placed.let_go()
        if self._socket is not None:
            _sockets.shut_down(self._socket)

    def close(self) -> None:
        """Close this process's descriptor of the connection."""
        if self._regions is not None:
            self._regions.close()
        if self._socket is not None:
            self._socket.close()

    def __del__(self) -> None:
        """Close the connection of a client that nobody closed, such as one from a pickle."""
        self.close()

    def _connect(self, seconds: float | None) -> socket.socket:
        self._socket = self._service.connect(seconds)
        if self._aborted:
            raise ConnectionAbortedError("given up")
        return self._socket

    def _send(self, link: socket.socket, buffers: Sequence[Buffer], seconds: float | None) -> bool:
        """Send the buffers; return whether all were sent. The service may answer earlier (413, 401), and close."""
        link.settimeout(seconds)
        try:
            for buffer in _http1.packed(buffers):
                rest = memoryview(buffer)
                while rest:
                    rest = rest[link.send(rest) :]  # not `sendall`, whose timeout is for the whole
        except OSError:
            if _sockets.is_silent(link):
                raise
            return False
        return True

    def _receive(self, link: socket.socket, seconds: float | None) -> _http1.Answer:
        link.settimeout(seconds)
        reading = _http1.reading(lambda nbytes: self._buffers.take(nbytes).data)
        room = next(reading)
        try:
            while True:
                room = reading.send(_sockets.receive_into(link, room, self._descriptors))
        except StopIteration as end:
            answer: _http1.Answer = end.value
            return answer
