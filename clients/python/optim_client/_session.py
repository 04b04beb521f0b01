"""The verbs of a session; `_async_session.py` is the same with `await`. `_state.py` decides for both."""

from collections.abc import Mapping
from typing import Any, Literal, Unpack, overload

from numpy.typing import ArrayLike

from optim_client import _calls
from optim_client._events import Events
from optim_client._history import History
from optim_client._storage import SessionStorage
from optim_client._tensors import Arrays, ArraysLike, GradsLike
from optim_client._trees import Tree, TreeT
from optim_client.documents import Preview, TensorHealth
from optim_client.settings import StepOptions, View


class SessionParams(SessionStorage):
    """The verbs for the parameters of a session that holds them, and for the health of tensors."""

    @overload
    def params(self, *, view: View | None = None) -> Arrays: ...

    @overload
    def params(self, like: TreeT, *, view: View | None = None) -> TreeT: ...

    def params(self, like: Tree | None = None, *, view: View | None = None) -> Any:
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
            params = held.params()
        """
        with self._turn.call():
            return self._client._run(self._params(like, view))

    def rows(self, rows: Mapping[str, ArrayLike]) -> Arrays:
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
            some = held.rows({"w": [0, 1]})
        """
        with self._turn.call():
            return self._client._run(self._rows(rows))

    def put_params(self, params: Tree) -> None:
        """Give its parameters to a session that holds them, if it is still as this client knows it.

        Args:
            params: Names to arrays of any shape, in float64, float32, float16 or bfloat16; or a tree of them.

        Raises:
            InvalidSession: The session does not hold its parameters.
            TensorMismatch: A tensor has another shape or dtype than before.
            PreconditionFailed: Another client has changed the session.
            StateLost: The session went back to an earlier step: its store lost some.
            TypeError: An array has another dtype. Nothing was sent.

        Example:
            held.put_params(params)
        """
        with self._turn.call():
            self._run(self._put_params(params))

    def tensor_health(self) -> dict[str, TensorHealth]:
        """Return norms of each tensor, computed by the service now: of its parameter, its moments and its last update.

        Returns:
            The health of each tensor, by name; parts of it are `None` where the session holds no parameters.

        Raises:
            SessionNotFound: It was deleted, or has expired.

        Example:
            health = session.tensor_health()
            print({name: tensor.update_to_weight for name, tensor in health.items()})
        """
        return self._client._run(_calls.tensor_health(self.id))


class SessionHistory(SessionParams):
    """The verbs for what happened, and for what happens now."""

    def history(
        self,
        *,
        after: int | None = None,
        limit: int | None = None,
        last: int | None = None,
        points: int | None = None,
    ) -> History:
        """Return the rows of past steps, oldest first. Without arguments, all that the service keeps.

        Args:
            after: Only steps above this number.
            limit: At least this many of the oldest; a step's rows stay together.
            last: This many of the newest; not together with the others.
            points: All of the run, thinned by the service for a plot of so many points; not together with the others.

        Returns:
            A row for each step, with its number, loss, metrics, duration and time. The list also has an array for each
            column, such as `loss` and `grad_norm`, and `arrays()` has all of them by name.

        Raises:
            MalformedQuery: The arguments are out of range, or do not go together.

        Example:
            history = session.history(last=100)
            curve = history.step, history.loss
        """
        if (limit, last, points) != (None, None, None):
            call = _calls.history(self.id, after=after, limit=limit, last=last, points=points)
            return self._client._run(call)
        rows = History()
        while True:
            page = self._client._run(_calls.history(self.id, after=after, limit=_calls.HISTORY_PAGE))
            rows += page
            if len(page) < _calls.HISTORY_PAGE:
                return rows
            after = page[-1].step  # all rows of a step come in one page

    def events(self, *, after: int | None = None) -> Events:
        """Follow the session while it trains: an event for each step, undo and change of settings, by whatever client.

        Args:
            after: Begin after the event of this `number`; 0 begins with all that the service keeps. Without it, only
                events from now on come.

        Returns:
            An iterator, which waits for each event and reconnects by itself. It ends when the session is gone.

        Raises:
            SessionNotFound: The session was deleted before, or has expired. Raised on connection, as the others.
            Overloaded: The service has too many open streams, after all retries.
            TypeError: `after` is no whole number.

        Example:
            with session.events(after=0) as events:
                for event in events:
                    print(event.step, event.row.loss)
                    break
        """
        return Events(self._client, self.id, after)


class SessionSteps(SessionHistory):
    """The verbs of training: steps, their previews and their history."""

    @overload
    def step(
        self,
        params: ArraysLike | None = None,
        grads: GradsLike | None = None,
        *,
        return_params: Literal[True] = True,
        **options: Unpack[StepOptions],
    ) -> Arrays: ...

    @overload
    def step(
        self,
        params: Tree | None = None,
        grads: Tree | None = None,
        *,
        return_params: Literal[False],
        **options: Unpack[StepOptions],
    ) -> None: ...

    @overload
    def step(
        self,
        params: Tree | None = None,
        grads: Tree | None = None,
        *,
        return_params: bool = True,
        **options: Unpack[StepOptions],
    ) -> Any: ...

    def step(
        self,
        params: Tree | None = None,
        grads: Tree | None = None,
        *,
        return_params: bool = True,
        **options: Unpack[StepOptions],
    ) -> Any:
        """Take one optimizer step.

        Args:
            params: Names to arrays of any shape, in float64, float32, float16 or bfloat16; or a tree of them. Left out
                where the session holds its parameters.
            grads: The gradients, each in the shape and dtype of its parameter, or as `Rows`, `TopK` or `Int8`. Those
                that are `None` or left out are not stepped. A session with a `wire_dtype` rounds float32 to it.
            return_params: False for an answer without parameters, from a session that holds them.
            options: For this step alone: `loss`, for the history; `lr`, or others in `overrides`; `grad_scale`, which
                divides the gradients; `step`, its number: the last one with the same arguments is answered again.

        Returns:
            The new parameters, in the structure, shapes and dtypes of the old; float32 with a `wire_dtype`, too.
            `Rows` come back as `Rows`. `None` without `return_params`.

        Raises:
            StepConflict: Another client stepped the session, or this one is stale.
            StateLost: The session went back to an earlier step: its store lost some.
            ParamsConflict: These are not the parameters that were answered last, and the session rejects others.
            TensorMismatch: A tensor has another shape or dtype than before.
            InvalidSession: An override is unknown, out of range, or needs other moments.
            NonFinite: A gradient has a NaN or an infinity, and the session rejects those.
            StepUnderWay: Another thread or task is stepping the session, which holds no parameters. Nothing was sent.
            APIConnectionError: No answer came; the same call again is applied once.
            TypeError: `grads` is missing, or an array or an option has a wrong type. Nothing was sent.
            ValueError: There is no gradient, two arrays have one name, or nobody would have the new parameters.

        Example:
            params = session.step(params, grads, loss=0.53)
        """
        with self._turn.step(self, options.get("step")):
            return self._run(self._step(params, grads, return_params=return_params, **options))

    def preview(self, params: Tree | None = None, grads: Tree | None = None, **options: Unpack[StepOptions]) -> Preview:
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
            StateLost: The session went back to an earlier step: its store lost some.
            TypeError: `grads` is missing, an array has another dtype, or an option is unknown or no number.
                Nothing was sent.
            ValueError: No parameter has a gradient, or two arrays have one name. Nothing was sent.

        Example:
            trials = [session.preview(params, grads, lr=lr) for lr in (1e-3, 1e-2)]
            print([trial.metrics.update_norm for trial in trials])
        """
        return self._run(self._preview(params, grads, **options))
