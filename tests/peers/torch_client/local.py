"""Local optimizers of torch after some steps, for every good configuration that torch has."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from optim_engine.arrays import Array
from tests.engine.cases import Case
from tests.peers.test_torch import OPTIMIZERS, OURS

DTYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
CASES = [case for case in OURS if not case.name.startswith("adam_decoupled")]

Params = dict[str, torch.nn.Parameter]


def params_of(case: Case, dtype: torch.dtype) -> Params:
    """Return parameters: two that are stepped, and `late`, which is not."""
    shapes = {"conv": (2, 3, 4), "bias": (4,), "gain": (), "late": (2, 2)}
    arrays = case.tensors(0, np.float64, shapes)
    return {name: torch.nn.Parameter(torch.from_numpy(array.copy()).to(dtype)) for name, array in arrays.items()}


def optimizer_of(case: Case, params: Params) -> torch.optim.Optimizer:
    """Return a local optimizer with names, and two groups."""
    names = [[name for name in params if name != "bias"], ["bias"]]
    groups: list[Any] = [{"params": [(name, params[name]) for name in group]} for group in names]
    made: torch.optim.Optimizer = OPTIMIZERS[case.optimizer](groups, **case.hyperparameters)
    return made


def in_order(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the parameters by name, in the order of the groups."""
    groups = optimizer.param_groups
    return {name: p for group in groups for name, p in zip(group["param_names"], group["params"], strict=True)}


def stepped(case: Case, dtype: torch.dtype, steps: int = 3) -> torch.optim.Optimizer:
    """Return a local optimizer that has taken steps."""
    params = params_of(case, dtype)
    optimizer = optimizer_of(case, params)
    for seed in range(steps):
        step(optimizer, case, seed)
    return optimizer


def step(optimizer: torch.optim.Optimizer, case: Case, seed: int) -> Mapping[str, Array]:
    """Take a step of a local optimizer without `late`; return the gradients as NumPy has them."""
    params = {name: param for name, param in in_order(optimizer).items() if name != "late"}
    grads = case.tensors(seed + 1, np.float32, {name: tuple(param.shape) for name, param in params.items()})
    for name, param in params.items():
        param.grad = torch.from_numpy(grads[name].copy()).to(param.dtype)
    optimizer.step()
    return grads
