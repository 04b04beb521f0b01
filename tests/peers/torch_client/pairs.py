"""Pairs of a local optimizer of torch and the remote one, which are given the same gradients."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from optim_client import Client, Session
from optim_client import torch as remote

from optim_engine.arrays import Array
from tests.peers.test_torch import OPTIMIZERS

REMOTE: Mapping[str, Any] = {name: getattr(remote, f"Remote{local.__name__}") for name, local in OPTIMIZERS.items()}
"""The remote classes by the name of the rule."""
SHAPES = {"conv": (2, 3, 2), "dense.weight": (4, 3), "dense.bias": (3,), "gain": ()}
MATRICES = {"wide": (3, 5), "tall": (6, 2), "square": (4, 4)}

Params = dict[str, torch.nn.Parameter]


def shapes_of(rule: str) -> Mapping[str, tuple[int, ...]]:
    return MATRICES if rule == "muon" else SHAPES


def params_of(rule: str, dtype: torch.dtype = torch.float32) -> Params:
    draw = torch.Generator().manual_seed(0)
    return {
        name: torch.nn.Parameter(torch.randn(shape, generator=draw).to(dtype))
        for name, shape in shapes_of(rule).items()
    }


class Pair:
    """A local optimizer and the remote one, each with parameters of its own."""

    def __init__(
        self,
        client: Client,
        rule: str,
        *,
        dtype: torch.dtype = torch.float32,
        groups: Callable[[Params], list[dict[str, Any]]] | None = None,
        session: Session | None = None,
        **settings: Any,
    ) -> None:
        self.here, self.there = params_of(rule, dtype), params_of(rule, dtype)
        of = groups or (lambda params: [{"params": list(params.items())}])
        self.local = OPTIMIZERS[rule](of(self.here), **settings)
        self.remote = REMOTE[rule](of(self.there), client=client, session=session, **settings)
        self._draw = torch.Generator().manual_seed(1)

    def grads(self, names: Sequence[str] | None = None) -> None:
        """Give both the same gradients; parameters of other names have none."""
        for name, param in self.here.items():
            grad = torch.randn(param.shape, generator=self._draw).to(param.dtype)
            given = grad if names is None or name in names else None
            param.grad, self.there[name].grad = given, None if given is None else given.clone()

    def step(self, names: Sequence[str] | None = None) -> None:
        self.grads(names)
        self.local.step()
        self.remote.step()

    def apart(self) -> float:
        """Return the largest difference, as a share of the tensor's largest element if that is above 1."""
        here, there = ({name: param.detach() for name, param in params.items()} for params in (self.here, self.there))
        return max(float((there[name] - x).abs().max() / x.abs().max().clamp(min=1)) for name, x in here.items())

    @property
    def arrays(self) -> dict[str, Array]:
        return {name: param.detach().numpy().copy() for name, param in self.there.items()}


def is_same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return all(np.array_equal(one[name].detach().numpy(), other[name].detach().numpy()) for name in one)
