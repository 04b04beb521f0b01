"""The lane for async code: the same exchange, in a thread. That costs less than HTTPX does, and needs no second one."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx2

from optim_client import _fork
from optim_client._lane import CONNECTIONS, Lane
from optim_client._per_loop import PerLoop
from optim_client._protocol import Outcome, Request
from optim_client._request_ids import RequestIds


class AsyncLane:
    """Its threads wait for sockets. A call that is cancelled ends its own connection, and so the wait of its thread."""

    def __init__(self, url: httpx2.URL, headers: Mapping[str, str], ids: RequestIds) -> None:
        self._lane = Lane(url, headers, ids)
        self._places = PerLoop(lambda: asyncio.Semaphore(CONNECTIONS))
        self._threads = ThreadPoolExecutor(CONNECTIONS, "optim-client")
        _fork.follow(self)

    def after_fork(self) -> None:
        """Start threads of this process's own: those that the executor counts on are the parent's."""
        self._places.forget()
        self._threads = ThreadPoolExecutor(CONNECTIONS, "optim-client")

    def takes(self, request: Request) -> bool:
        return self._lane.takes(request)

    async def exchange(self, request: Request, limits: httpx2.Timeout) -> Outcome:
        """One try: the answer, or why there is none."""
        places = self._places.get()
        try:
            async with asyncio.timeout(limits.pool):
                await places.acquire()
        except TimeoutError:
            return self._lane.no_place(request)
        try:
            connection = self._lane.take()
            running = self._threads.submit(connection.exchange, request, limits)
            try:
                return await asyncio.wrap_future(running)
            except BaseException:
                connection.abort()
                raise
            finally:
                running.add_done_callback(lambda _: self._lane.give_back(connection))
        finally:
            places.release()

    def close(self) -> None:
        self._lane.close()
        self._threads.shutdown(wait=False)
