"""The client for async code: `_client.py` with `await`. What both decide is decided elsewhere."""

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, Unpack, overload

import httpx2

from optim_client import _calls
from optim_client._address import base_url as address_of
from optim_client._address import headers
from optim_client._async_transports import open_transport
from optim_client._files import replacing, sync
from optim_client._http import DEFAULT_TIMEOUT, Timeout
from optim_client._options import Options
from optim_client._protocol import Call, perform
from optim_client._state import SessionState
from optim_client._tensors import Arrays, ArraysLike, GradsLike
from optim_client._trees import Tree, TreeT
from optim_client.documents import HistoryRow, Page, SessionInfo
from optim_client.errors import APIConnectionError, ServiceUnavailable, StepMismatch
from optim_client.settings import Changes, Settings

HISTORY_PAGE = 1000

T = TypeVar("T")


class AsyncClient(Options):
    """A connection to the service at `base_url`, or to one of its own in this process (`"memory:"`, `"lmdb:PATH"`).

    `timeout` is in seconds without progress. A call that fails and may succeed later is tried again for
    `retry_seconds`; with `max_retries` so many times instead, and with both until the first of them is used up.
    `transport`, of HTTPX, replaces the connections, for a proxy, a socket or certificates.
    Close it, or use it in an `async with`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: Timeout = DEFAULT_TIMEOUT,
        retry_seconds: float | None = None,
        max_retries: int | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(address_of(base_url), transport, timeout, retry_seconds, max_retries)
        self._transport = open_transport(self.base_url, headers(api_key), transport)

    @property
    def sessions(self) -> "AsyncSessions":
        return AsyncSessions(self)

    async def ready(self) -> bool:
        """Say whether the service answers, and its store too. One try."""
        try:
            await self.with_options(max_retries=0)._run(_calls.ready())
        except (APIConnectionError, ServiceUnavailable):
            return False
        return True

    async def close(self) -> None:
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, call: Call[T]) -> T:
        conversation = perform(call, self.patience)
        try:
            pause = next(conversation)
            while True:
                if pause:
                    await asyncio.sleep(pause)
                pause = conversation.send(await self._transport.exchange(call.request, self.timeout))
        except StopIteration as end:
            result: T = end.value
            return result


class AsyncSessions:
    """The sessions of the service: `client.sessions`. Iterate over it for all of them, newest first."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def create(self, optimizer: str, **settings: Unpack[Settings]) -> "AsyncSession":
        """Start a session."""
        return self._session(*await self._client._run(_calls.tagged(_calls.create(optimizer, settings))))

    async def create_from_state(self, path: str | os.PathLike[str]) -> "AsyncSession":
        """Make a session of a saved state, with its settings, counts and labels."""
        with await asyncio.to_thread(Path(path).open, "rb") as file:
            return self._session(*await self._client._run(_calls.tagged(_calls.create_from_state(file))))

    async def get(self, session_id: str, *, step: int | None = None) -> "AsyncSession":
        """Return the session as it is now; with `step`, only if that is its step, else raise `StepMismatch`."""
        session = self._session(*await self._client._run(_calls.tagged(_calls.get(session_id))))
        if step is not None and session.info.step != step:
            raise StepMismatch(session_id, step, session.info.step)
        return session

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
        return self._session(*await self._client._run(_calls.tagged(_calls.update(session_id, changes))))

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

    def _session(self, info: SessionInfo, etag: str | None = None) -> "AsyncSession":
        return AsyncSession(self._client, info, etag)


class AsyncSession(SessionState):
    """One training run's optimizer: made by `client.sessions`. One step at a time, from one place at a time."""

    def __init__(self, client: AsyncClient, info: SessionInfo, etag: str | None = None) -> None:
        super().__init__(info, etag)
        self._client = client

    @property
    def client(self) -> AsyncClient:
        """The client that it was made by, or that it came with by pickle: to be closed."""
        return self._client

    @overload
    async def step(
        self,
        params: ArraysLike | None = None,
        grads: GradsLike | None = None,
        *,
        loss: float | None = None,
        lr: float | None = None,
    ) -> Arrays: ...

    @overload
    async def step(
        self,
        params: Tree | None = None,
        grads: Tree | None = None,
        *,
        loss: float | None = None,
        lr: float | None = None,
    ) -> Any: ...

    async def step(
        self,
        params: Tree | None = None,
        grads: Tree | None = None,
        *,
        loss: float | None = None,
        lr: float | None = None,
    ) -> Any:
        """Take one optimizer step; return the new parameters, in the dtypes, shapes and structure of the old.

        `params` and `grads` are mappings of names to arrays, or trees of them, whose names are their paths: `a/b/0`.
        A parameter whose gradient is `None` or left out comes back as it was given. `lr` is for this step alone.

        A session that holds its parameters is stepped with `step(grads=…)`; with a `wire_dtype`, float32 gradients are
        sent in that, and the parameters come back in it, as float32 again.
        """
        return await self._client._run(self._step(params, grads, loss, lr))

    async def get(self) -> SessionInfo:
        """Learn the session anew: after a `StepConflict`, or for `info.tensors` and `info.warnings`."""
        return self._learned(await self._client._run(self._tied(_calls.get(self.id))))

    async def update(self, **changes: Unpack[Changes]) -> SessionInfo:
        """Change settings from the next step on."""
        return self._changed(await self._client._run(self._tied(_calls.update(self.id, changes))))

    async def edit_tensors(
        self, *, rename: Mapping[str, str] | None = None, remove: Collection[str] = (), reset: Collection[str] = ()
    ) -> SessionInfo:
        """Rename, forget and begin anew tensors, all at once and by the names that they have so far.

        One that is removed may come again in another shape; one that is reset keeps its shape and held parameter.
        """
        return self._changed(
            await self._client._run(self._tied(_calls.edit_tensors(self.id, rename or {}, remove, reset)))
        )

    async def delete(self) -> None:
        """Remove the session as it is now, with its state and its history."""
        await self._see()
        await self._client._run(self._tied(_calls.delete(self.id)))

    @overload
    async def params(self) -> Arrays: ...

    @overload
    async def params(self, like: TreeT) -> TreeT: ...

    async def params(self, like: Tree | None = None) -> Any:
        """Return the parameters of a session that holds them, by name, or in the structure of the tree `like`."""
        return await self._client._run(self._params(like))

    async def put_params(self, params: Tree) -> None:
        """Give the parameters to a session that holds them."""
        await self._client._run(self._put_params(params))

    async def save_state(self, path: str | os.PathLike[str]) -> None:
        """Download the whole state into a file, which is replaced wholly or not at all."""
        with replacing(path) as file:
            await self._client._run(_calls.state(self.id, file))
            await asyncio.to_thread(sync, file)  # here, so that the loop does not wait for the disk

    async def load_state(self, path: str | os.PathLike[str], *, digest: Literal["none"] | None = None) -> SessionInfo:
        """Upload a saved state into this session as it is now; it goes on from the step in the file.

        `digest="none"` takes a file that names no digest, such as one that was made by hand.
        """
        await self._see()
        with await asyncio.to_thread(Path(path).open, "rb") as file:
            await self._client._run(self._tied(_calls.put_state(self.id, file, digest)))
        return await self.get()

    async def _see(self) -> None:
        """Learn the ETag of now, for a call that is right whatever the session has come to."""
        if self._etag is not None:
            await self._client._run(self._tied(_calls.get(self.id)))

    async def history(
        self, *, after: int | None = None, limit: int | None = None, last: int | None = None
    ) -> list[HistoryRow]:
        """Return the steps after step `after`, oldest first: all that are kept, or at least the oldest `limit` of them.

        `last` alone returns the newest so many instead.
        """
        if limit is not None or last is not None:
            return await self._client._run(_calls.history(self.id, after, limit, last))
        rows: list[HistoryRow] = []
        while True:
            page = await self._client._run(_calls.history(self.id, after, HISTORY_PAGE, None))
            rows += page
            if len(page) < HISTORY_PAGE:
                return rows
            after = page[-1].step  # all rows of a step come in one page
