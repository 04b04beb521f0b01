"""`RemoteAdamW` in place of `torch.optim.AdamW`: its steps are taken by a session of this service."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from optim_client import Client
from optim_client.torch import RemoteAdamW

from benchmarks.peers.service import TIMEOUT_SECONDS, Service
from benchmarks.peers.session import Session, Step
from optim_engine.arrays import Array


def remote_adamw(server: Service) -> Session:
    """Return sessions of that server that a torch optimizer steps."""

    @contextmanager
    def session(params: Array, grads: Array) -> Iterator[Step]:
        param = torch.nn.Parameter(torch.from_numpy(params.copy()))
        param.grad = torch.from_numpy(grads)
        with Client(server.address, timeout=TIMEOUT_SECONDS, max_retries=0) as client:
            optimizer = RemoteAdamW([("w", param)], client=client)
            yield Step(optimizer.step, lambda _: param.detach().numpy().copy())
            optimizer.session.delete()

    return session
