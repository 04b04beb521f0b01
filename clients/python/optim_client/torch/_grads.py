"""Gradients of torch's parameters as a step sends them: dense arrays, and sparse gradients as rows."""

from collections.abc import Mapping
from typing import Any

import torch

from optim_client._gradients import Rows
from optim_client.torch._memory import Staging

STILL = {"sgd": "momentum", "adagrad": ""}
"""The rules that leave rows without a gradient where they are, each with the setting that must be zero for that."""

Gradients = dict[str, Any]


def gradients(
    params: Mapping[str, torch.Tensor], rule: str, groups: list[dict[str, Any]], staging: Staging, *, rows: bool
) -> Gradients:
    """Return the gradients of those parameters that have one, by name.

    `groups` are the session's. Without `rows`, which a session takes that holds its parameters, sparse ones are made
    dense. Raises `ValueError` for a sparse gradient where other rows would move too.
    """
    found = {name: param.grad for name, param in params.items() if param.grad is not None}
    sparse = {name: grad for name, grad in found.items() if grad.layout != torch.strided}
    for name, grad in sparse.items():
        _check_rows(name, rule, groups[int(name.partition("/")[0])], grad)
    dense = {name: grad for name, grad in found.items() if name not in sparse}
    if not rows:
        dense |= {name: grad.to_dense() for name, grad in sparse.items()}
    arrays: Gradients = dict(staging.arrays(dense, "grads"))
    if rows:
        arrays |= {name: _rows(grad.coalesce(), staging, name) for name, grad in sparse.items()}
    return {name: arrays[name] for name in found}


def _rows(grad: torch.Tensor, staging: Staging, name: str) -> Rows:
    values = staging.arrays({f"{name}/rows": grad.values()}, "grads")
    return Rows(grad.indices()[0].cpu().numpy(), values[f"{name}/rows"])


def _check_rows(name: str, rule: str, group: Mapping[str, Any], grad: torch.Tensor) -> None:
    """Raise `ValueError` unless only the rows of the sparse gradient move."""
    if grad.layout != torch.sparse_coo or grad.sparse_dim() != 1:
        raise ValueError(f"the gradient of {name!r} is sparse ({grad.layout}), and not by rows: make it dense")
    is_still = rule in STILL and not group.get(STILL[rule])
    if (is_still or group.get("sparse") == "lazy") and not group.get("weight_decay"):
        return
    raise ValueError(
        f"the gradient of {name!r} is sparse, and {rule} with these settings moves rows without a gradient too: give "
        "its param group 'sparse': 'lazy' and no weight decay, or use layers with sparse=False"
    )
