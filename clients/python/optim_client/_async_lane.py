"""The lane for async code: the same exchange, in a thread, which costs less than HTTPX does."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx2

from optim_client import _fork
from optim_client._lane import CONNECTIONS, Lane
from optim_client._per_loop import PerLoop
from optim_client._protocol import Outcome, Request
from optim_client._regions import Memory
from optim_client._request_ids import RequestIds


class AsyncLane:
    """An `AsyncTransport` whose threads wait for sockets. A cancelled call closes its connection, and so ends it."""

    def __init__(self, url: httpx2.URL, headers: Mapping[str, str], ids: RequestIds, path: str = "") -> None:
        self._lane = Lane(url, headers, ids, path)
        self._places = PerLoop(lambda: asyncio.Semaphore(CONNECTIONS))
        self._threads = ThreadPoolExecutor(CONNECTIONS, "optim-client")
        _fork.follow(self)

    def after_fork(self) -> None:
        """Start threads of this process: the executor's are the parent's."""
        self._places.forget()
        self._threads = ThreadPoolExecutor(CONNECTIONS, "optim-client")

    @property
    def sets_cookies(self) -> bool:
        """Return whether the service, or a balancer before it, has set a cookie."""
        return self._lane.sets_cookies

    async def exchange(self, request: Request, timeout: httpx2.Timeout) -> Outcome:
        """Send one try of a request; return its answer, or the error that came instead of one."""
        places = self._places.get()
        try:
            async with asyncio.timeout(timeout.pool):
                await places.acquire()
        except TimeoutError:
            return self._lane.no_place(request)
        try:
            connection = self._lane.take()
            running = self._threads.submit(connection.exchange, request, timeout)
            try:
                return await asyncio.wrap_future(running)
            except BaseException:
                connection.abort()
                raise
            finally:
                running.add_done_callback(lambda _: self._lane.give_back(connection))
        finally:
            places.release()

    async def empty(self, nbytes: int, before: int, timeout: httpx2.Timeout) -> Memory:
        """Return memory for arrays: in a region, with room for a header, if there is one."""
        return await asyncio.wrap_future(self._threads.submit(self._lane.empty, nbytes, before, timeout))

    async def close(self) -> None:
        """Close the idle connections; those in use are closed when their calls end."""
        self._lane.close()
        self._threads.shutdown(wait=False)
