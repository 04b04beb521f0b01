"""The optimizer and the parameters in another process, by `torch.distributed.rpc`: it takes gradients and returns
parameters. Nothing is saved.

It uses sockets, as between machines. Torch's default within one machine is shared memory, which took the same time for
10 M parameters when this was written, and whose idle threads poll: on two cores they would slow every competitor.

This process is the client; `python -m benchmarks.peers.torch_rpc PORT THREADS` is the other one.
"""

import atexit
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

import torch
from torch.distributed import rpc

from benchmarks.peers.process import python
from benchmarks.peers.session import Session, Step
from benchmarks.peers.torch_adamw import TorchAdamW
from optim_engine.arrays import Array
from tests.servers import free_port

TIMEOUT_SECONDS = 600
held: list[TorchAdamW] = []
"""In the other process: the session's optimizer."""


@cache
def torch_rpc(threads: int) -> Session:
    """Start the other process at the first call, because a process can join only once; it ends with this one."""
    port = free_port()
    with ExitStack() as stack:
        stack.enter_context(python("-m", "benchmarks.peers.torch_rpc", str(port), str(threads)))
        _join("client", 0, port)
        stack.callback(_leave)
        atexit.register(stack.pop_all().close)
    return _session


@contextmanager
def _session(params: Array, grads: Array) -> Iterator[Step]:
    gradients = torch.from_numpy(grads)
    rpc.rpc_sync("optimizer", hold, (torch.from_numpy(params),))
    yield Step(lambda: rpc.rpc_sync("optimizer", step, (gradients,)), torch.Tensor.numpy)
    rpc.rpc_sync("optimizer", held.clear)


def hold(params: torch.Tensor) -> None:
    held[:] = [TorchAdamW(params)]


def step(grads: torch.Tensor) -> torch.Tensor:
    return held[0].step(grads)


def _join(name: str, rank: int, port: int) -> None:
    os.environ.update(TP_SOCKET_IFNAME="lo", GLOO_SOCKET_IFNAME="lo")
    options = rpc.TensorPipeRpcBackendOptions(
        init_method=f"tcp://127.0.0.1:{port}", rpc_timeout=TIMEOUT_SECONDS, _transports=["uv"], _channels=["basic"]
    )
    rpc.init_rpc(name, rank=rank, world_size=2, rpc_backend_options=options)


def _leave() -> None:
    """Leave, which returns when the other process leaves, too."""
    with warnings.catch_warnings():  # torch warns about its own calls
        warnings.simplefilter("ignore")
        rpc.shutdown()


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    _join("optimizer", 1, int(sys.argv[1]))
    _leave()
