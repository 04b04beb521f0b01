"""The sync client; `_async_client.py` is the same with `await`. `_calls.py` and `_protocol.py` decide for both."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self, TypeVar, Unpack

import httpx2

from optim_client import _calls
from optim_client._address import base_url as address_of
from optim_client._address import headers
from optim_client._empty import DTypes, Plan, Shapes
from optim_client._http import DEFAULT_TIMEOUT, Timeout
from optim_client._options import Options
from optim_client._protocol import Call, perform
from optim_client._session import SessionSteps
from optim_client._tensors import Arrays
from optim_client._transports import open_transport
from optim_client.documents import OptimizerInfo, Page, SessionInfo
from optim_client.errors import APIConnectionError, ServiceUnavailable
from optim_client.settings import Changes, ForkSettings, Optimizer, Settings

T = TypeVar("T")


class Client(Options):
    """A connection to a service, for many threads. Close it, or use it as a context manager.

    Every call may raise `APIConnectionError` where no answer comes, and an `APIStatusError` where the service refuses;
    a verb's docstring names the refusals of its own.

    Args:
        base_url: The address, else `OPTIM_BASE_URL`, else `http://127.0.0.1:8000`. `"memory:"` and `"lmdb:PATH"` run a
            service in this process; `"unix:///PATH"` is a service behind a Unix socket.
        api_key: The key, else `OPTIM_API_KEY`.
        timeout: Seconds without progress, not seconds in all; or an `httpx2.Timeout`.
        retry_seconds: The time in which a call that failed is tried again, in seconds since its first failure. 120,
            unless either limit is given.
        max_retries: The number of times that it is tried again. With both limits, the first that is reached ends it.
        transport: A transport of HTTPX to use for every request, for example a mock.

    Raises:
        TypeError: `base_url` or `api_key` is no string.
        ValueError: An argument is malformed or out of range.

    Example:
        with Client("memory:") as client:
            session = client.sessions.create("adamw", lr=1e-3)
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: Timeout = DEFAULT_TIMEOUT,
        retry_seconds: float | None = None,
        max_retries: int | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        super().__init__(address_of(base_url), transport, timeout, retry_seconds, max_retries)
        self._transport = open_transport(self.base_url, headers(api_key), transport)

    @property
    def sessions(self) -> "Sessions":
        """Return the sessions of the service."""
        return Sessions(self)

    def optimizers(self) -> dict[str, OptimizerInfo]:
        """Return the optimizers that the service has.

        Returns:
            Each optimizer's hyperparameters, slots, bits and reference, by its name.

        Raises:
            NotFound: The service is of a version that has no such list.

        Example:
            found = client.optimizers()
            default = found["adamw"].hyperparameters["lr"]["default"]
        """
        return self._run(_calls.optimizers())

    def ready(self) -> bool:
        """Return whether the service can be used now. Makes one try.

        Returns:
            False if the service does not answer, or cannot write to its store.

        Raises:
            APIStatusError: Something else refused the request, such as a proxy.

        Example:
            assert client.ready()
        """
        try:
            self.with_options(max_retries=0)._run(_calls.ready())
        except (APIConnectionError, ServiceUnavailable):
            return False
        return True

    def empty(self, shapes: Shapes, dtype: DTypes = "float32") -> Arrays:
        """Return arrays for gradients, with arbitrary values: `step` sends them without a copy where it can.

        Over a Unix socket, on Linux, they lie in memory that the service shares. In a session with `hold_params` and no
        `wire_dtype`, a step by all of these gradients copies only those below 4 KiB; any other step copies all once.
        Write into them anew for each step, but not while one is under way.

        Args:
            shapes: The shape of each, by name.
            dtype: The dtype of all, or of each by name.

        Returns:
            The arrays by name. Where no memory is shared they are as NumPy makes them, and the logger `optim_client`
            says at debug why.

        Raises:
            TypeError: A name is no string, a dtype is unknown, or a shape is no integer or list of integers.
            ValueError: A length is below 0, or an array has no dtype.

        Example:
            held = client.sessions.create("adamw", hold_params=True)
            held.put_params(params)
            grads = client.empty({"w": 2, "b": 1})
            grads["w"][:], grads["b"][:] = 0.5, 1
            params = held.step(grads=grads)
        """
        plan = Plan(shapes, dtype)
        return plan.of(self._transport.empty(plan.nbytes, plan.before, self.timeout))

    def close(self) -> None:
        """Close the connections. A later call raises `RuntimeError`.

        Example:
            client.close()
        """
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, call: Call[T]) -> T:
        """Make a call, with every try that it needs; return its result."""
        conversation = perform(call, self.patience)
        try:
            pause = next(conversation)
            while True:
                if pause:  # a sleep of 0 costs as much as the rest of a small step
                    time.sleep(pause)
                pause = conversation.send(self._transport.exchange(call.request, self.timeout))
        except StopIteration as end:
            result: T = end.value
            return result


class SessionList:
    """The sessions of a service, newest first: by pages, by labels, or all of them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        labels: Mapping[str, str] | None = None,
        optimizer: Optimizer | None = None,
    ) -> Page["Session"]:
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
            page = client.sessions.list(limit=10, optimizer="adamw")
        """
        page = self._client._run(_calls.list_sessions(limit, cursor, labels, optimizer))
        return Page([Session(self._client, info) for info in page.sessions], page.next_cursor, page.unreadable)

    def find(
        self, *, labels: Mapping[str, str] | None = None, optimizer: Optimizer | None = None
    ) -> Iterator["Session"]:
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
            steps = [each.info.step for each in client.sessions.find(labels={"run": "mnist-3"})]
        """
        page = self.list(labels=labels, optimizer=optimizer)
        yield from page.sessions
        while page.next_cursor is not None:
            page = self.list(cursor=page.next_cursor, labels=labels, optimizer=optimizer)
            yield from page.sessions

    def __iter__(self) -> Iterator["Session"]:
        return self.find()


class Sessions(SessionList):
    """The sessions of a service: `client.sessions`. Iterate over it for all of them, newest first."""

    def create(self, optimizer: Optimizer, **settings: Unpack[Settings]) -> "Session":
        """Create a session.

        Args:
            optimizer: The name of the update rule.
            settings: Hyperparameters (`lr`, `weight_decay`, …) and the session's other settings (`schedule`, `clip`,
                `groups`, `labels`, `hold_params`, …), by name; the service has the defaults.

        Returns:
            The session, at step 0.

        Raises:
            InvalidSession: A setting is unknown, of the wrong type, or out of range.
            QuotaExceeded: The tenant has reached its limit of sessions.
            TypeError: JSON lacks a setting's type. Nothing was sent.
            ValueError: A setting is NaN or infinite. Nothing was sent.

        Example:
            session = client.sessions.create("adamw", lr=1e-3, labels={"run": "mnist-3"})
        """
        return self._session(_calls.create(optimizer, settings))

    def create_from_state(self, path: str | os.PathLike[str]) -> "Session":
        """Create a session from a saved state, with its settings, counts and labels.

        Args:
            path: A file of `save_state`.

        Returns:
            A new session, at the step of the file.

        Raises:
            InvalidState: The file is not what its digest says.
            BadRequest: The file cannot be read as a state.
            OSError: The file cannot be read.

        Example:
            session.save_state(path)
            copy = client.sessions.create_from_state(path)
        """
        with Path(path).open("rb") as file:
            return self._session(_calls.create_from_state(file))

    def get(self, session_id: str, *, step: int | None = None) -> "Session":
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
            session = client.sessions.get(session.id, step=1)
        """
        return self._session(_calls.get(session_id, step))

    def update(self, session_id: str, **changes: Unpack[Changes]) -> "Session":
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
            client.sessions.update(session.id, lr=1e-4)
        """
        return self._session(_calls.update(session_id, changes))

    def delete(self, session_id: str) -> None:
        """Delete a session, with its state and its history.

        Args:
            session_id: Its id.

        Raises:
            SessionNotFound: The session does not exist.

        Example:
            client.sessions.delete(session.id)
        """
        self._client._run(_calls.delete(session_id))

    def _session(self, call: Call[SessionInfo]) -> "Session":
        """Make a call that answers a session; return that, with its ETag."""
        info, etag = self._client._run(_calls.tagged(call))
        return Session(self._client, info, etag)


class Session(SessionSteps):
    """One training run's optimizer, made by `client.sessions`. For one step at a time, from one place at a time."""

    _client: Client

    def __init__(self, client: Client, info: SessionInfo, etag: str | None = None) -> None:
        super().__init__(client, info, etag)

    @property
    def client(self) -> Client:
        """Return the session's client. A session from a pickle has a client of its own, which must be closed."""
        return self._client

    def fork(self, **settings: Unpack[ForkSettings]) -> "Session":
        """Make a session in the same state, if this one is still as this client knows it. Neither changes the other.

        Args:
            settings: `labels` and `ttl_seconds`; those that are left out are this session's.

        Returns:
            The new session, at the same step and with the same digest. Its history is empty.

        Raises:
            PreconditionFailed: Another client has changed the session.
            QuotaExceeded: The tenant has reached its limit of sessions or of state.
            InvalidSession: A setting is unknown, of the wrong type, or out of range.
            TypeError: JSON lacks a setting's type. Nothing was sent.
            ValueError: A setting is NaN or infinite. Nothing was sent.

        Example:
            trial = session.fork(labels={"lr": "0.01"})
            trial.update(lr=0.01)
        """
        info, etag = self._client._run(_calls.tagged(self._conditional(_calls.fork(self.id, settings))))
        return Session(self._client, info, etag)
