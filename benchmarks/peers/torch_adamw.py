"""`torch.optim.AdamW` over one vector: what the peers with torch do on their side, and what is compared in process."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.peers.session import Session, Step
from optim_engine.arrays import Array

FORMS = {"single-tensor": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


class TorchAdamW:
    """Parameters and moments, held; the defaults of torch, which are the service's too."""

    def __init__(self, params: torch.Tensor, form: str = "fused") -> None:
        self._params = torch.nn.Parameter(params.clone())
        self._optimizer = torch.optim.AdamW([self._params], **FORMS[form])

    def step(self, grads: torch.Tensor) -> torch.Tensor:
        """The new parameters themselves, no copy."""
        self._params.grad = grads
        self._optimizer.step()
        return self._params.detach()

    def state(self) -> list[Array]:
        """The parameters and both moments, after the first step: views."""
        moments = self._optimizer.state[self._params]
        return [array.detach().numpy() for array in (self._params, moments["exp_avg"], moments["exp_avg_sq"])]


def in_process(form: str) -> Session:
    """No other process: the arithmetic alone."""

    @contextmanager
    def session(params: Array, grads: Array) -> Iterator[Step]:
        optimizer, gradients = TorchAdamW(torch.from_numpy(params), form), torch.from_numpy(grads)
        yield Step(lambda: optimizer.step(gradients), torch.Tensor.numpy)

    return session
