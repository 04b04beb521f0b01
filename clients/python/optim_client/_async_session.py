"""The verbs of an async session: `_session.py` with `await`."""

import asyncio
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, Unpack, overload

from numpy.typing import ArrayLike

from optim_client import _calls
from optim_client._files import replacing, sync
from optim_client._protocol import Call
from optim_client._state import SessionState
from optim_client._tensors import Arrays, ArraysLike, GradsLike
from optim_client._trees import Tree, TreeT
from optim_client.documents import HistoryRow, Preview, SessionInfo
from optim_client.settings import Changes, StepOptions, View

T = TypeVar("T")


class AsyncCaller(Protocol):
    """The part of a client that its sessions use."""

    async def _run(self, call: Call[T]) -> T:
        """Make a call; return its result."""


class AsyncSessionStorage(SessionState):
    """The verbs for a session's settings, its tensors and its whole state."""

    def __init__(self, client: AsyncCaller, info: SessionInfo, etag: str | None = None) -> None:
        super().__init__(info, etag)
        self._client: AsyncCaller = client

    async def get(self) -> SessionInfo:
        """Read the session again: after a `StepConflict`, or for `info.tensors`, which steps do not bring along.

        Returns:
            The session as it is now; `info` is the same from then on.

        Raises:
            SessionNotFound: It was deleted, or has expired.

        Example:
            print((await session.get()).tensors)
        """
        return self._learned(await self._client._run(self._tied(_calls.get(self.id))))

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

        Example:
            await session.update(lr=1e-4, labels={"phase": "fine-tuning"})
        """
        return self._changed(await self._client._run(self._tied(_calls.update(self.id, changes))))

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

        Example:
            await session.edit_tensors(rename={"w": "layer.w"}, reset=["b"])
        """
        call = _calls.edit_tensors(self.id, rename or {}, remove, reset)
        return self._changed(await self._client._run(self._tied(call)))

    async def delete(self) -> None:
        """Delete the session as it is now, with its state and its history.

        Raises:
            SessionNotFound: It was deleted before, or has expired.

        Example:
            await session.delete()
        """
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
        await self._see()
        with await asyncio.to_thread(Path(path).open, "rb") as file:
            await self._client._run(self._tied(_calls.put_state(self.id, file, digest)))
        return await self.get()

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

        Example:
            await session.step(params, grads)  # of client.sessions.create("adamw", undo=1)
            await session.undo()
        """
        return self._learned(await self._client._run(self._undo(step)))

    async def _see(self) -> None:
        """Read the current ETag, for a call that is right whatever other clients have changed."""
        if self._etag is not None:
            await self._client._run(self._tied(_calls.get(self.id)))


class AsyncSessionParams(AsyncSessionStorage):
    """The verbs for the parameters of a session that holds them."""

    @overload
    async def params(self, *, view: View | None = None) -> Arrays: ...

    @overload
    async def params(self, like: TreeT, *, view: View | None = None) -> TreeT: ...

    async def params(self, like: Tree | None = None, *, view: View | None = None) -> Any:
        """Return the parameters of a session that holds them.

        Args:
            like: A tree that gives the answer its structure; without it, names to arrays.
            view: "average" for the average that the session keeps; "eval" for the parameters to evaluate with, where
                the rule has some; without it, the parameters that steps answer.

        Returns:
            The parameters, in the shapes and dtypes that the session holds them in.

        Raises:
            InvalidSession: The session does not hold its parameters, or has no such view.

        Example:
            params = await held.params()
        """
        return await self._client._run(self._params(like, view))

    async def rows(self, rows: Mapping[str, ArrayLike]) -> Arrays:
        """Return some rows of the parameters of a session that holds them, as the next step will find them.

        Args:
            rows: The rows' numbers, strictly increasing, by the name of the tensor.

        Returns:
            The rows of each tensor, as an array with one row for each number.

        Raises:
            InvalidSession: The session does not hold its parameters.
            TensorMismatch: A tensor is unknown, or has no such row.
            TypeError: The rows are not lists of whole numbers. Nothing was sent.

        Example:
            some = await held.rows({"w": [0, 1]})
        """
        return await self._client._run(self._rows(rows))

    async def put_params(self, params: Tree) -> None:
        """Give its parameters to a session that holds them, if it is still as this client knows it.

        Args:
            params: Names to arrays of any shape, in float64, float32, float16 or bfloat16; or a tree of them.

        Raises:
            InvalidSession: The session does not hold its parameters.
            TensorMismatch: A tensor has another shape or dtype than before.
            PreconditionFailed: Another client has changed the session.
            TypeError: An array has another dtype. Nothing was sent.

        Example:
            await held.put_params(params)
        """
        await self._client._run(self._put_params(params))


class AsyncSessionSteps(AsyncSessionParams):
    """The verbs of training: steps, their previews and their history."""

    @overload
    async def step(
        self,
        params: ArraysLike | None = None,
        grads: GradsLike | None = None,
        *,
        return_params: Literal[True] = True,
        **options: Unpack[StepOptions],
    ) -> Arrays: ...

    @overload
    async def step(
        self,
        params: Tree | None = None,
        grads: Tree | None = None,
        *,
        return_params: Literal[False],
        **options: Unpack[StepOptions],
    ) -> None: ...

    @overload
    async def step(
        self,
        params: Tree | None = None,
        grads: Tree | None = None,
        *,
        return_params: bool = True,
        **options: Unpack[StepOptions],
    ) -> Any: ...

    async def step(
        self,
        params: Tree | None = None,
        grads: Tree | None = None,
        *,
        return_params: bool = True,
        **options: Unpack[StepOptions],
    ) -> Any:
        """Take one optimizer step.

        Args:
            params: Names to arrays of any shape, in float64, float32, float16 or bfloat16; or a tree of them, whose
                names are their paths (`a/b/0`). Left out where the session holds its parameters.
            grads: The gradients, each in the shape and dtype of its parameter, or as `Rows`, `TopK` or `Int8`. Those
                that are `None` or left out are not stepped. A session with a `wire_dtype` rounds float32 to it.
            return_params: False for an answer without parameters, from a session that holds them.
            options: For this step alone: `loss`, for the history; `lr`, or other hyperparameters in `overrides`;
                `grad_scale`, by which the service divides the gradients before it checks them.

        Returns:
            The new parameters, in the structure, shapes and dtypes of the old; float32 with a `wire_dtype`, too.
            `Rows` come back as `Rows`. `None` without `return_params`.

        Raises:
            StepConflict: Another client stepped the session, or this one is stale.
            ParamsConflict: These are not the parameters that were answered last, and the session rejects others.
            TensorMismatch: A tensor has another shape or dtype than before.
            InvalidSession: An override is unknown, out of range, or needs other moments.
            NonFinite: A gradient has a NaN or an infinity, and the session rejects those.
            APIConnectionError: No answer came; the same call again is applied once.
            TypeError: `grads` is missing, an array has another dtype, or an option is unknown or no number.
                Nothing was sent.
            ValueError: No parameter has a gradient, two arrays have one name, or the new parameters would be lost:
                `return_params` is false and the session does not hold them. Nothing was sent.

        Example:
            params = await session.step(params, grads, loss=0.53)
        """
        call = self._step(params, grads, return_params=return_params, **options)
        return await self._client._run(call)

    async def preview(
        self, params: Tree | None = None, grads: Tree | None = None, **options: Unpack[StepOptions]
    ) -> Preview:
        """Compute the next step without taking it: nothing is kept, neither in the service nor here.

        Args:
            params: As for `step()`.
            grads: As for `step()`.
            options: As for `step()`; `loss` has no effect.

        Returns:
            The answer that `step()` with the same arguments would get now, to the bit.

        Raises:
            StepConflict: Another client stepped the session, or this one is stale.
            ParamsConflict: These are not the parameters that were answered last, and the session rejects others.
            TensorMismatch: A tensor has another shape or dtype than before.
            NonFinite: A gradient has a NaN or an infinity, and the session rejects those.
            InvalidSession: An override is unknown, out of range, or needs other moments.
            TypeError: `grads` is missing, an array has another dtype, or an option is unknown or no number.
                Nothing was sent.
            ValueError: No parameter has a gradient, or two arrays have one name. Nothing was sent.

        Example:
            trials = [await session.preview(params, grads, lr=lr) for lr in (1e-3, 1e-2)]
            print([trial.metrics.update_norm for trial in trials])
        """
        return await self._client._run(self._preview(params, grads, **options))

    async def history(
        self, *, after: int | None = None, limit: int | None = None, last: int | None = None
    ) -> list[HistoryRow]:
        """Return the rows of past steps, oldest first. Without arguments, all that the service keeps.

        Args:
            after: Only steps above this number.
            limit: At least this many of the oldest; a step's rows stay together.
            last: This many of the newest; not together with the others.

        Returns:
            A row for each step, with its number, loss, metrics, duration and time.

        Raises:
            MalformedQuery: The arguments are out of range, or do not go together.

        Example:
            losses = [row.loss for row in await session.history(last=100)]
        """
        if limit is not None or last is not None:
            return await self._client._run(_calls.history(self.id, after, limit, last))
        rows: list[HistoryRow] = []
        while True:
            page = await self._client._run(_calls.history(self.id, after, _calls.HISTORY_PAGE, None))
            rows += page
            if len(page) < _calls.HISTORY_PAGE:
                return rows
            after = page[-1].step  # all rows of a step come in one page
