"""The sync client; `_async_client.py` is the same with `await`. `_calls.py` and `_protocol.py` decide for both."""

import time
from contextlib import suppress
from typing import Self, TypeVar, cast

import httpx2

from optim_client import _calls
from optim_client._address import base_url as address_of
from optim_client._address import headers
from optim_client._calls import Conversation
from optim_client._empty import DTypes, Plan, Shapes
from optim_client._http import DEFAULT_TIMEOUT, Timeout
from optim_client._options import Options
from optim_client._protocol import Call, Outcome
from optim_client._sessions import Sessions
from optim_client._tensors import Arrays
from optim_client._transport import Stream, Transport
from optim_client._transports import open_transport
from optim_client.documents import OptimizerInfo
from optim_client.errors import APIConnectionError, OptimError, ServiceUnavailable

T = TypeVar("T")


class Connection(Options):
    """The calls over a client's connection."""

    _transport: Transport

    def _run(self, call: Call[T]) -> T:
        """Make a call, with every try that it needs; return its result."""
        request, conversation = self._begin(call)
        try:
            pause = next(conversation)
            while True:
                if pause:  # a sleep of 0 costs as much as the rest of a small step
                    time.sleep(pause)
                pause = conversation.send(self._transport.exchange(request, self.timeout))
        except StopIteration as end:
            return cast("T", end.value)
        finally:
            conversation.close()

    def _make(self, conversation: Conversation[T]) -> T:
        """Make the calls of a conversation; return its result."""
        try:
            call = next(conversation)
            while True:
                try:
                    answer = self._run(call)
                except OptimError as error:
                    call = conversation.throw(error)
                else:
                    call = conversation.send(answer)
        except StopIteration as end:
            return cast("T", end.value)

    def _open(self, call: Call[None]) -> Stream:
        """Make a call that a stream answers, with every try that it needs; return the stream."""
        request, conversation = self._begin(call)
        pause = next(conversation)
        while True:
            if pause:
                time.sleep(pause)
            outcome = self._transport.open(request, self.timeout)
            if isinstance(outcome, Outcome):
                pause = conversation.send(outcome)
                continue
            with suppress(StopIteration):
                conversation.send(outcome.head)
            return outcome


class Client(Connection):
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
        tracing: Make each call a span of OpenTelemetry, with the service's in it; needs `optim-client[otel]`.

    Raises:
        TypeError: `base_url` or `api_key` is no string.
        ValueError: An argument is malformed or out of range.
        ImportError: `tracing` without OpenTelemetry, or a service in this process that is not installed.

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
        tracing: bool = False,
    ) -> None:
        super().__init__(address_of(base_url), transport, timeout, retry_seconds, max_retries, tracing)
        self._transport = open_transport(self.base_url, headers(api_key), transport)

    @property
    def sessions(self) -> Sessions:
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
            The arrays by name. Where no memory is shared they are as NumPy makes them; over a Unix socket the logger
            `optim_client` says at debug why.

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
