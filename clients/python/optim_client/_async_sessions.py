"""The sessions of an async client: `_sessions.py` with `await`."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from optim_client import _calls
from optim_client._async_workers import AsyncSessionWorkers
from optim_client._protocol import Call
from optim_client.documents import Page, SessionInfo
from optim_client.settings import Changes, ForkSettings, Optimizer, Settings

if TYPE_CHECKING:
    from optim_client._async_client import AsyncClient


class AsyncSessionList:
    """The sessions of a service, newest first: by pages, by labels, or all of them."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        labels: Mapping[str, str] | None = None,
        optimizer: Optimizer | None = None,
    ) -> Page["AsyncSession"]:
        """Return a page of sessions, newest first; `find` follows the pages.

        Args:
            limit: The largest number of sessions in the page.
            cursor: The `next_cursor` of the page before.
            labels: Only sessions that have all of these.
            optimizer: Only sessions of this one.

        Returns:
            The page, which may be empty and have a `next_cursor`.

        Raises:
            MalformedQuery: An argument is unknown or out of range.
            TypeError: `labels` is no dict. Nothing was sent.

        Example:
            page = await client.sessions.list(limit=10, optimizer="adamw")
        """
        page = await self._client._run(_calls.list_sessions(limit, cursor, labels, optimizer))
        return Page([AsyncSession(self._client, info) for info in page.sessions], page.next_cursor, page.unreadable)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._client!r}>"

    async def find(
        self, *, labels: Mapping[str, str] | None = None, optimizer: Optimizer | None = None
    ) -> AsyncIterator["AsyncSession"]:
        """Return sessions, newest first, a page at a time as they are asked for.

        Args:
            labels: Only sessions that have all of these.
            optimizer: Only sessions of this one.

        Returns:
            An iterator over the sessions.

        Raises:
            MalformedQuery: An argument is unknown.
            TypeError: `labels` is no dict. Nothing was sent.

        Example:
            steps = [each.info.step async for each in client.sessions.find(labels={"run": "mnist-3"})]
        """
        page = await self.list(labels=labels, optimizer=optimizer)
        for session in page.sessions:
            yield session
        while page.next_cursor is not None:
            page = await self.list(cursor=page.next_cursor, labels=labels, optimizer=optimizer)
            for session in page.sessions:
                yield session

    def __aiter__(self) -> AsyncIterator["AsyncSession"]:
        return self.find()


class AsyncSessions(AsyncSessionList):
    """The sessions of a service: `client.sessions`. Iterate over it for all of them, newest first."""

    async def create(
        self, optimizer: Optimizer, *, idempotency_key: str | None = None, **settings: Unpack[Settings]
    ) -> "AsyncSession":
        """Create a session.

        Args:
            optimizer: The name of the update rule.
            idempotency_key: A name of your own for this creation, such as "run-7": a program that makes the same call
                again, also after a crash, gets the same session as it is now. Without it, each call makes a session.
            settings: Hyperparameters (`lr`, `weight_decay`, …) and the session's other settings (`schedule`, `clip`,
                `groups`, `labels`, `hold_params`, …), by name; the service has the defaults.

        Returns:
            The session, at step 0.

        Raises:
            InvalidSession: A setting is unknown, of the wrong type, or out of range.
            QuotaExceeded: The tenant has reached its limit of sessions.
            IdempotencyMismatch: The key was used for other settings, or for another call.
            SessionNotFound: The key's session was deleted, or has expired.
            TypeError: JSON lacks a setting's type. Nothing was sent.
            ValueError: A setting is NaN or infinite, or no header can carry the key. Nothing was sent.

        Example:
            session = await client.sessions.create("adamw", lr=1e-3, idempotency_key="mnist-3")
        """
        return await self._session(_calls.create(optimizer, settings, idempotency_key))

    async def create_from_state(
        self, path: str | os.PathLike[str], *, idempotency_key: str | None = None
    ) -> "AsyncSession":
        """Create a session from a saved state, with its settings, counts and labels.

        Args:
            path: A file of `save_state`.
            idempotency_key: As for `create()`; the same call has the same file.

        Returns:
            A new session, at the step of the file.

        Raises:
            InvalidState: The file is not what its digest says.
            IdempotencyMismatch: The key was used for another file, or for another call.
            SessionNotFound: The key's session was deleted, or has expired.
            BadRequest: The file cannot be read as a state.
            OSError: The file cannot be read.
            ValueError: No header can carry the key. Nothing was sent.

        Example:
            await session.save_state(path)
            copy = await client.sessions.create_from_state(path)
        """
        with await asyncio.to_thread(Path(path).open, "rb") as file:
            return await self._session(_calls.create_from_state(file, idempotency_key))

    async def get(self, session_id: str, *, step: int | None = None) -> "AsyncSession":
        """Return a session as it is now.

        Args:
            session_id: Its id.
            step: The step that it must be at.

        Returns:
            The session.

        Raises:
            SessionNotFound: The session was deleted, has expired, never existed, or is another tenant's.
            StepMismatch: The session is at another step than `step`.

        Example:
            session = await client.sessions.get(session.id, step=1)
        """
        return await self._session(_calls.get(session_id, step))

    async def update(self, session_id: str, **changes: Unpack[Changes]) -> "AsyncSession":
        """Change settings from the next step on, even if other clients have changed the session.

        Args:
            session_id: Its id.
            changes: Settings by name. `None` puts a default back; labels are merged key by key.

        Returns:
            The session with the new settings.

        Raises:
            SessionNotFound: The session does not exist.
            InvalidSession: A setting is unknown, of the wrong type, or out of range.
            TypeError: JSON lacks a setting's type, or the optimizer would change. Nothing was sent.
            ValueError: A setting is NaN or infinite. Nothing was sent.

        Example:
            await client.sessions.update(session.id, lr=1e-4)
        """
        return await self._session(_calls.update(session_id, changes))

    async def delete(self, session_id: str) -> None:
        """Delete a session, with its state and its history.

        Args:
            session_id: Its id.

        Raises:
            SessionNotFound: The session does not exist.

        Example:
            await client.sessions.delete(session.id)
        """
        await self._client._run(_calls.delete(session_id))

    async def _session(self, call: Call[SessionInfo]) -> "AsyncSession":
        """Make a call that answers a session; return that, with its ETag."""
        info, etag = await self._client._run(_calls.tagged(call))
        return AsyncSession(self._client, info, etag)


class AsyncSession(AsyncSessionWorkers):
    """One training run's optimizer, made by `client.sessions`. It takes one step at a time.

    Its calls may come from many tasks. With `hold_params` one step waits for another; without, a second one raises
    `StepUnderWay`.
    """

    _client: "AsyncClient"

    def __init__(self, client: "AsyncClient", info: SessionInfo, etag: str | None = None) -> None:
        super().__init__(client, info, etag)

    @property
    def client(self) -> "AsyncClient":
        """Return the session's client. A session from a pickle has a client of its own, which must be closed."""
        return self._client

    async def fork(self, *, idempotency_key: str | None = None, **settings: Unpack[ForkSettings]) -> "AsyncSession":
        """Make a session in the same state, if this one is still as this client knows it. Neither changes the other.

        Args:
            idempotency_key: As for `create()`: the same call gets the same fork, also if this session has moved on.
            settings: `labels` and `ttl_seconds`; those that are left out are this session's.

        Returns:
            The new session, at the same step and with the same digest. Its history is empty.

        Raises:
            PreconditionFailed: Another client has changed the session.
            QuotaExceeded: The tenant has reached its limit of sessions or of state.
            InvalidSession: A setting is unknown, of the wrong type, or out of range.
            IdempotencyMismatch: The key was used for other settings, or for another call.
            SessionNotFound: The key's fork was deleted, or has expired.
            TypeError: JSON lacks a setting's type. Nothing was sent.
            ValueError: A setting is NaN or infinite, or no header can carry the key. Nothing was sent.

        Example:
            trial = await session.fork(labels={"lr": "0.01"})
            await trial.update(lr=0.01)
        """
        call = _calls.fork(self.id, settings, idempotency_key)
        async with self._turn.call():
            info, etag = await self._client._run(_calls.tagged(self._conditional(call)))
        return AsyncSession(self._client, info, etag)
