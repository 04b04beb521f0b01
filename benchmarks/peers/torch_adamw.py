"""`torch.optim.AdamW` on one vector, for the competitors with torch and for the comparison in process."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.peers.session import Session, Step
from optim_engine.arrays import Array

FORMS = {"single-tensor": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


class TorchAdamW:
    """An optimizer with its parameters and moments. It has torch's defaults, which are also the service's."""

    def __init__(self, params: torch.Tensor, form: str = "fused") -> None:
        self._params = torch.nn.Parameter(params.clone())
        self._optimizer = torch.optim.AdamW([self._params], **FORMS[form])

    def step(self, grads: torch.Tensor) -> torch.Tensor:
        """Take a step; return the new parameters without a copy."""
        self._params.grad = grads
        self._optimizer.step()
        return self._params.detach()

    def state(self) -> list[Array]:
        """Return views of the parameters and both moments, once there was a step."""
        moments = self._optimizer.state[self._params]
        return [array.detach().numpy() for array in (self._params, moments["exp_avg"], moments["exp_avg_sq"])]


def in_process(form: str) -> Session:
    """Return sessions that compute in this process."""

    @contextmanager
    def session(params: Array, grads: Array) -> Iterator[Step]:
        optimizer, gradients = TorchAdamW(torch.from_numpy(params), form), torch.from_numpy(grads)
        yield Step(lambda: optimizer.step(gradients), torch.Tensor.numpy)

    return session
