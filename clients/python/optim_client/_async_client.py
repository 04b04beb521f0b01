"""The client for async code: `_client.py` with `await`. What both decide is decided elsewhere."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Self, TypeVar, Unpack

import httpx2

from optim_client import _calls, _http, _local
from optim_client._async_lane import AsyncLane
from optim_client._files import replacing, sync
from optim_client._lane import leads_to
from optim_client._protocol import Call, Outcome, Request, perform
from optim_client._state import SessionState
from optim_client._tensors import Arrays, ArraysLike
from optim_client.documents import HistoryRow, Page, SessionInfo
from optim_client.errors import APIConnectionError, ServiceUnavailable
from optim_client.settings import Changes, Settings

T = TypeVar("T")


class AsyncClient(_http.Options):
    """A connection to the service at `base_url`, or to one of its own in this process (`"memory:"`, `"lmdb:PATH"`).

    `timeout` is in seconds without progress. `transport`, of HTTPX, replaces the connections, for a proxy, a socket or
    certificates.
    Close it, or use it in an `async with`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: _http.Timeout = _http.DEFAULT_TIMEOUT,
        max_retries: int = _http.DEFAULT_MAX_RETRIES,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(timeout, max_retries)
        url = _http.base_url(base_url)
        if _local.is_local(url):
            url, transport = _local.URL, _local.AsyncTransport(url)
        headers = _http.headers(api_key)
        self._pool = httpx2.AsyncClient(base_url=url, headers=headers, transport=transport)
        direct = transport is None and leads_to(self._pool.base_url)
        self._lane = AsyncLane(self._pool.base_url, headers) if direct else None

    @property
    def sessions(self) -> "AsyncSessions":
        return AsyncSessions(self)

    async def ready(self) -> bool:
        """Whether the service answers, and its store too. One try."""
        try:
            await self.with_options(max_retries=0)._run(_calls.ready())
        except (APIConnectionError, ServiceUnavailable):
            return False
        return True

    async def close(self) -> None:
        await self._pool.aclose()
        if self._lane is not None:
            self._lane.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, call: Call[T]) -> T:
        conversation = perform(call, self.max_retries)
        try:
            pause = next(conversation)
            while True:
                if pause:
                    await asyncio.sleep(pause)
                pause = conversation.send(await self._try(call.request))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _try(self, request: Request) -> Outcome:
        if self._lane is None or not self._lane.takes(request):
            return await self._try_httpx(request)
        return await self._lane.exchange(request, httpx2.Timeout(self.timeout))

    async def _try_httpx(self, request: Request) -> Outcome:
        try:
            async with self._pool.stream(
                request.method,
                request.path,
                params=request.query,
                headers=_http.headers_of(request),
                content=_http.whole(request.body) if isinstance(request.body, Sequence) else _chunks(request.body),
                timeout=self.timeout,
            ) as response:
                if request.into is None or not response.is_success:
                    return _http.answer(response, await response.aread())
                await _write(request.into, response)
                return _http.answer(response, b"")
        except httpx2.RequestError as error:
            return _http.connection_error(error)


class AsyncSessions:
    """The sessions of the service: `client.sessions`. Iterate over it for all of them, newest first."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def create(self, optimizer: str, **settings: Unpack[Settings]) -> "AsyncSession":
        """Start a session. After a lost answer this is not tried again: it might have been created."""
        return self._session(await self._client._run(_calls.create(optimizer, settings)))

    async def get(self, session_id: str) -> "AsyncSession":
        return self._session(await self._client._run(_calls.get(session_id)))

    async def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        labels: Mapping[str, str] | None = None,
        optimizer: str | None = None,
    ) -> Page["AsyncSession"]:
        """Return a page of the sessions that have all of these labels and that optimizer, newest first.

        A page may be empty and have a `next_cursor`; `find` follows those.
        """
        page = await self._client._run(_calls.list_sessions(limit, cursor, labels, optimizer))
        return Page([self._session(info) for info in page.sessions], page.next_cursor, page.unreadable)

    async def update(self, session_id: str, **changes: Unpack[Changes]) -> "AsyncSession":
        return self._session(await self._client._run(_calls.update(session_id, changes)))

    async def delete(self, session_id: str) -> None:
        await self._client._run(_calls.delete(session_id))

    async def find(
        self, *, labels: Mapping[str, str] | None = None, optimizer: str | None = None
    ) -> AsyncIterator["AsyncSession"]:
        """Return the sessions that have all of these labels and that optimizer, newest first, as they are asked for."""
        page = await self.list(labels=labels, optimizer=optimizer)
        for session in page.sessions:
            yield session
        while page.next_cursor is not None:
            page = await self.list(cursor=page.next_cursor, labels=labels, optimizer=optimizer)
            for session in page.sessions:
                yield session

    def __aiter__(self) -> AsyncIterator["AsyncSession"]:
        return self.find()

    def _session(self, info: SessionInfo) -> "AsyncSession":
        return AsyncSession(self._client, info)


class AsyncSession(SessionState):
    """One training run's optimizer: made by `client.sessions`. One step at a time, from one place at a time."""

    def __init__(self, client: AsyncClient, info: SessionInfo) -> None:
        super().__init__(info)
        self._client = client

    async def step(
        self,
        params: ArraysLike | None = None,
        grads: ArraysLike | None = None,
        *,
        loss: float | None = None,
        lr: float | None = None,
    ) -> Arrays:
        """One optimizer step: the new parameters, in the dtypes and shapes of the old. `lr` is for this step alone.

        A session that holds its parameters is stepped with `step(grads=…)`; with a `wire_dtype`, float32 gradients are
        sent in that, and the parameters come back in it, as float32 again.
        """
        return await self._client._run(self._step(params, grads, loss, lr))

    async def get(self) -> SessionInfo:
        """Learn the session anew: after a `StepConflict`, or for `info.tensors` and `info.warnings`."""
        return self._learned(await self._client._run(_calls.get(self.id)))

    async def update(self, **changes: Unpack[Changes]) -> SessionInfo:
        """Change settings from the next step on."""
        return self._changed(await self._client._run(_calls.update(self.id, changes)))

    async def delete(self) -> None:
        await self._client._run(_calls.delete(self.id))

    async def params(self) -> Arrays:
        """The parameters of a session that holds them."""
        return await self._client._run(_calls.params(self.id))

    async def put_params(self, params: ArraysLike) -> None:
        """Give the parameters to a session that holds them."""
        await self._client._run(_calls.put_params(self.id, params))

    async def save_state(self, path: str | os.PathLike[str]) -> None:
        """Download the whole state into a file, which is replaced wholly or not at all."""
        with replacing(path) as file:
            await self._client._run(_calls.state(self.id, file))
            await asyncio.to_thread(sync, file)  # here, so that the loop does not wait for the disk

    async def load_state(self, path: str | os.PathLike[str]) -> SessionInfo:
        """Upload a saved state into this session, which goes on from the step in the file."""
        with await asyncio.to_thread(Path(path).open, "rb") as file:
            await self._client._run(_calls.put_state(self.id, file))
        return await self.get()

    async def history(
        self, *, after: int | None = None, limit: int | None = None, last: int | None = None
    ) -> list[HistoryRow]:
        """Return the steps after step `after`, oldest first: the first 1,000 of them, unless `limit` says otherwise.

        `last` alone returns the newest so many instead.
        """
        return await self._client._run(_calls.history(self.id, after, limit, last))


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, _http.CHUNK_BYTES):
        yield chunk


async def _write(file: BinaryIO, response: httpx2.Response) -> None:
    file.seek(0)
    file.truncate()
    async for chunk in response.aiter_bytes(_http.CHUNK_BYTES):
        await asyncio.to_thread(file.write, chunk)
