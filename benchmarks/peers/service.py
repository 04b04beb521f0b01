"""This service: `optim serve` in a separate process, asked by a bare socket or by its Python client.

Requests are built before they are timed.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import orjson
from optim_client import Client
from safetensors.numpy import save

from app.compute import FUSED_FROM
from benchmarks.bare_client import BareClient, Request, StepRequest
from benchmarks.peers.session import Step
from optim_engine.arrays import Array
from tests.durability.processes import ServerProcess

JSON, SAFETENSORS = "application/json", "application/vnd.safetensors"
ROOM = 1 << 16
"""The most bytes of an answer without its parameters."""
LONGEST_NUMBER = 32
TIMEOUT_SECONDS = 600
MAX_JSON_BYTES = 1 << 26
"""The limit of a body in JSON: more than the default, for the largest size."""


class Service(ServerProcess):
    """A server on a store, with that many compute threads. It starts cold and logs its requests, as in production.

    Its Python client uses the Unix socket, if there is one.
    """

    def __init__(
        self,
        store: str,
        log: Path,
        threads: int,
        *flags: str,
        unix_socket: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        options = ["--log-level=info", f"--compute-threads={threads}", f"--max-json-bytes={MAX_JSON_BYTES}", *flags]
        if unix_socket:
            options.append(f"--unix-socket={unix_socket}")
        super().__init__(store, log, options=options, environment=environment, cold=True)
        self.address = f"unix://{unix_socket}" if unix_socket else self.url

    @contextmanager
    def steps(self, params: Array, grads: Array) -> Iterator[Step]:
        """Open a session that holds its parameters; step it with binary bodies on a bare socket."""
        self._load_kernel(params, grads)
        with BareClient(self.port, params.nbytes + ROOM) as bare, held(bare, params) as path:
            request = StepRequest(f"{path}/steps", SAFETENSORS, body_of(grads))
            yield Step(lambda: bare.ask(request.next()), only_array)

    @contextmanager
    def replays(self, params: Array, grads: Array) -> Iterator[Step]:
        """Open a session and repeat one step: each replay is read, checked and answered, but takes no step."""
        with BareClient(self.port, params.nbytes + ROOM) as bare, held(bare, params) as path:
            request = StepRequest(f"{path}/steps", SAFETENSORS, body_of(grads)).next()
            bare.ask(request)
            yield Step(lambda: bare.ask(request), only_array)
            if b"idempotent-replayed: true" not in bare.head:
                raise RuntimeError(f"this was not a replay: {bare.head.decode()}")

    @contextmanager
    def health(self, params: Array, grads: Array) -> Iterator[Step]:
        """Open a session that holds its parameters and has taken a step; ask for the health of its tensors."""
        with BareClient(self.port, params.nbytes + ROOM) as bare, held(bare, params) as path:
            bare.ask(StepRequest(f"{path}/steps", SAFETENSORS, body_of(grads)).next())
            request = Request("GET", f"{path}/tensors", JSON, b"")
            yield Step(lambda: bare.ask(request))

    @contextmanager
    def step_requests(self, count: int, params: Array, grads: Array) -> Iterator[list[StepRequest]]:
        """Open sessions that hold their parameters; yield a step of each. Its key is new each time it is sent."""
        with BareClient(self.port, params.nbytes + ROOM) as bare, ExitStack() as stack:
            paths = [stack.enter_context(held(bare, params)) for _ in range(count)]
            yield [StepRequest(f"{path}/steps", SAFETENSORS, body_of(grads)) for path in paths]

    def check_steps(self, requests: Sequence[StepRequest], expected: Sequence[int]) -> None:
        """Raise `RuntimeError` unless the session of each request has taken as many steps as expected."""
        with BareClient(self.port, ROOM) as bare:
            for request, count in zip(requests, expected, strict=True):
                session = request.path.removesuffix("/steps")
                if (taken := orjson.loads(bare.send("GET", session, JSON, b""))["step"]) != count:
                    raise RuntimeError(f"{session} was answered {count} times and has taken {taken} steps")

    @contextmanager
    def client_steps(self, params: Array, grads: Array, tensors: int = 1, *, in_region: bool = False) -> Iterator[Step]:
        """Open a session that holds its parameters; step it with the Python client, from arrays to arrays.

        The parameters are cut into so many tensors. With `in_region` the gradients are made in the shared region.
        """
        self._load_kernel(params, grads)
        start, change = ({f"w{i}": w for i, w in enumerate(np.split(array, tensors))} for array in (params, grads))
        with Client(self.address, timeout=TIMEOUT_SECONDS, max_retries=0) as client:
            session = client.sessions.create("adamw", hold_params=True)
            session.put_params(start)
            if in_region:
                made = client.empty({name: array.shape for name, array in change.items()})
                for name, array in change.items():
                    made[name][...] = array
                change = made
            yield Step(lambda: session.step(grads=change), lambda answer: joined(answer, start))
            session.delete()

    @contextmanager
    def json_steps(self, params: Array, grads: Array) -> Iterator[Step]:
        """Open a session; step it with JSON lists of parameters and gradients on a bare socket."""
        with BareClient(self.port, LONGEST_NUMBER * params.size + ROOM) as bare:
            path = _create(bare, {"optimizer": "adamw"})
            body = json_of({"params": {"w": params}, "grads": {"w": grads}})
            request = StepRequest(f"{path}/steps", JSON, body)
            yield Step(lambda: bare.ask(request.next()), lambda answer: np.float32(orjson.loads(answer)["params"]["w"]))
            bare.send("DELETE", path, JSON, b"")

    def peak_bytes(self) -> int:
        """Return the process's peak memory with libraries and mapped files: Linux's `VmHWM`."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))

    def _load_kernel(self, params: Array, grads: Array) -> None:
        """Make the server load the fused kernel, if steps of this size do: by the second of the smallest that do."""
        size = FUSED_FROM // (4 * params.itemsize)
        if len(params) < size:
            return
        params, grads = params[:size], grads[:size]
        with BareClient(self.port, params.nbytes + ROOM) as bare, held(bare, params) as path:
            request = StepRequest(f"{path}/steps", SAFETENSORS, body_of(grads))
            for _ in range(2):
                bare.ask(request.next())
        self.rest()


@contextmanager
def held(bare: BareClient, params: Array, **settings: object) -> Iterator[str]:
    """Create a session that holds the parameters; yield its path, and delete it."""
    path = _create(bare, {"optimizer": "adamw", "hold_params": True, **settings})
    bare.send("PUT", f"{path}/params", SAFETENSORS, save({"params/w": params}))
    yield path
    bare.send("DELETE", path, JSON, b"")


def only_array(body: memoryview) -> Array:
    """Return a view of the one float32 tensor in a safetensors file."""
    (length,) = struct.unpack("<Q", body[:8])
    return np.frombuffer(body, np.float32, offset=8 + length)


def joined(tensors: Mapping[str, Array], names: Iterable[str]) -> Array:
    return np.concatenate([tensors[name] for name in names])


def body_of(grads: Array) -> bytes:
    """Return the body of a step in safetensors."""
    return save({"grads/w": grads})


def json_of(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _create(bare: BareClient, settings: object) -> str:
    return f"/v1/sessions/{orjson.loads(bare.send('POST', '/v1/sessions', JSON, json_of(settings)))['id']}"
