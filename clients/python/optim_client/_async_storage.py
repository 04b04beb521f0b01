"""The verbs for an async session's settings, tensors and whole state: `_storage.py` with `await`."""

import asyncio
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, Protocol, Self, TypeVar, Unpack

import httpx2

from optim_client import _calls
from optim_client._address import shown
from optim_client._async_turn import AsyncTurn
from optim_client._calls import Conversation
from optim_client._files import replacing, sync
from optim_client._http import Timeout
from optim_client._protocol import Call
from optim_client._rollback import noticing
from optim_client._state import SessionState
from optim_client._transport import AsyncStream
from optim_client.documents import SessionInfo
from optim_client.settings import Changes

T = TypeVar("T")


class AsyncCaller(Protocol):
    """The part of a client that its sessions use."""

    base_url: str
    timeout: httpx2.Timeout

    def with_options(self, *, timeout: Timeout | None = None, max_retries: int | None = None) -> Self:
        """Return the same client with other options."""

    async def _run(self, call: Call[T]) -> T:
        """Make a call; return its result."""

    async def _make(self, conversation: Conversation[T]) -> T:
        """Make the calls of a conversation; return its result."""

    async def _open(self, call: Call[None]) -> AsyncStream:
        """Make a call that a stream answers; return the stream."""


class AsyncSessionCalls(SessionState):
    """The calls that depend on what a client knows of its session."""

    def __init__(self, client: AsyncCaller, info: SessionInfo, etag: str | None = None) -> None:
        super().__init__(info, etag, shown(client.base_url))
        self._client: AsyncCaller = client
        self._turn = AsyncTurn()

    async def get(self) -> SessionInfo:
        """Read the session again: after a `StepConflict`, or for `info.tensors`, which steps do not bring along.

        Returns:
            The session as it is now; `info` is the same from then on.

        Raises:
            SessionNotFound: It was deleted, or has expired.
            StateLost: The session went back to an earlier step: its store lost some. The next `get()` accepts that.

        Example:
            print((await session.get()).tensors)
        """
        async with self._turn.call():
            return await self._client._make(self._get())

    async def _run(self, call: Call[T]) -> T:
        """Make a call that depends on what this client knows of the session. Raises `StateLost`."""
        return await self._client._make(noticing(self, call))

    async def _see(self) -> None:
        """Read the current ETag, for a call that is right whatever other clients have changed."""
        if self._etag is not None:
            await self._client._run(self._tied(_calls.get(self.id)))


class AsyncSessionStorage(AsyncSessionCalls):
    """The verbs for a session's settings, its tensors and its whole state."""

    async def update(self, **changes: Unpack[Changes]) -> SessionInfo:
        """Change settings from the next step on, if the session is still as this client knows it.

        Args:
            changes: Settings by name. `None` puts a default back; labels are merged key by key.

        Returns:
            The session with the new settings.

        Raises:
            InvalidSession: A setting is unknown, of the wrong type, or out of range.
            TypeError: JSON lacks a setting's type, or the optimizer would change. Nothing was sent.
            ValueError: A setting is NaN or infinite. Nothing was sent.
            PreconditionFailed: Another client has changed the session.
            StateLost: The session went back to an earlier step: its store lost some.

        Example:
            await session.update(lr=1e-4, labels={"phase": "fine-tuning"})
        """
        async with self._turn.call():
            return self._changed(await self._run(self._tied(_calls.update(self.id, changes))))

    async def edit_tensors(
        self, *, rename: Mapping[str, str] | None = None, remove: Collection[str] = (), reset: Collection[str] = ()
    ) -> SessionInfo:
        """Rename, remove and reset tensors, all at once, if the session is still as this client knows it.

        Args:
            rename: Old names to new ones.
            remove: Tensors to forget; they may come again in another shape.
            reset: Tensors that start anew, with the same shape and held parameter.

        Returns:
            The session with the new tensors.

        Raises:
            TensorMismatch: A tensor is not there, or a new name is taken.
            PreconditionFailed: Another client has changed the session.
            TypeError: `rename` is no dict, or `remove` or `reset` no list of names. Nothing was sent.
            StateLost: The session went back to an earlier step: its store lost some.

        Example:
            await session.edit_tensors(rename={"w": "layer.w"}, reset=["b"])
        """
        call = _calls.edit_tensors(self.id, rename or {}, remove, reset)
        async with self._turn.call():
            return self._changed(await self._run(self._tied(call)))

    async def delete(self) -> None:
        """Delete the session as it is now, with its state and its history.

        Raises:
            SessionNotFound: It was deleted before, or has expired.

        Example:
            await session.delete()
        """
        async with self._turn.call():
            await self._see()
            await self._client._run(self._tied(_calls.delete(self.id)))

    async def save_state(self, path: str | os.PathLike[str]) -> None:
        """Download the whole state into a file, which is replaced wholly or not at all.

        Args:
            path: The file; its folder must exist.

        Raises:
            OSError: The file cannot be written.

        Example:
            await session.save_state(path)
        """
        with replacing(path) as file:
            await self._client._run(_calls.state(self.id, file))
            await asyncio.to_thread(sync, file)  # here, so that the loop does not wait for the disk

    async def load_state(self, path: str | os.PathLike[str], *, digest: Literal["none"] | None = None) -> SessionInfo:
        """Upload a saved state into this session as it is now; it goes on from the step in the file.

        Args:
            path: A file of `save_state`.
            digest: `"none"` takes a file that names no digest, such as one that was made by hand.

        Returns:
            The session at the step of the file.

        Raises:
            InvalidState: The file does not fit this session, or is not what its digest says.
            BadRequest: The file cannot be read as a state.
            OSError: The file cannot be read.

        Example:
            await session.save_state(path)
            await session.load_state(path)
        """
        async with self._turn.call():
            await self._see()
            with await asyncio.to_thread(Path(path).open, "rb") as file:
                await self._client._run(self._tied(_calls.put_state(self.id, file, digest)))
            return self._learned(await self._client._run(self._tied(_calls.get(self.id))))

    async def undo(self, step: int | None = None) -> SessionInfo:
        """Undo the session's last step, if the session is still as this client knows it: go back to the state before.

        Args:
            step: The number of that step; without it, the last one that this client knows of.

        Returns:
            The session at the step before. Go on from the parameters of that step; settings stay as they are.

        Raises:
            UndoUnavailable: Nothing is left: `undo`, given at creation, says how many steps can be undone.
            StepConflict: Another client stepped the session, or this one is stale.
            PreconditionFailed: Another client has changed the session.
            StateLost: The session went back to an earlier step: its store lost some.

        Example:
            await session.step(params, grads)  # of client.sessions.create("adamw", undo=1)
            await session.undo()
        """
        async with self._turn.call():
            return self._learned(await self._run(self._undo(step)))
