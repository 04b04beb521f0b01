"""Every rule and flag against torch.optim: fed the same 1,000 gradients, the parameters and the moments agree."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from optim_engine import Config, State, step
from optim_engine.arrays import Array
from tests.engine.cases import RULES, Case
from tests.peers.runs import assert_near, engine, gradients, initial

OPTIMIZERS: dict[str, Any] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "nadam": torch.optim.NAdam,
    "adafactor": torch.optim.Adafactor,
    "muon": torch.optim.Muon,
    "radam": torch.optim.RAdam,
    "adamax": torch.optim.Adamax,
    "adagrad": torch.optim.Adagrad,
    "asgd": torch.optim.ASGD,
    "rprop": torch.optim.Rprop,
    "adadelta": torch.optim.Adadelta,
}
STATE = {
    "adamw": {"m": "exp_avg", "v": "exp_avg_sq", "v_max": "max_exp_avg_sq"},
    "adam": {"m": "exp_avg", "v": "exp_avg_sq", "v_max": "max_exp_avg_sq"},
    "sgd": {"m": "momentum_buffer"},
    "rmsprop": {"v": "square_avg", "m": "grad_avg", "b": "momentum_buffer"},
    "nadam": {"m": "exp_avg", "v": "exp_avg_sq"},
    "adafactor": {"v": "variance", "v_row": "row_var", "v_col": "col_var"},
    "muon": {"m": "momentum_buffer"},
    "radam": {"m": "exp_avg", "v": "exp_avg_sq"},
    "adamax": {"m": "exp_avg", "u": "exp_inf"},
    "adagrad": {"v": "sum"},
    "asgd": {"ax": "ax"},
    "rprop": {"g_last": "prev", "step_size": "step_size"},
    "adadelta": {"v": "square_avg", "delta": "acc_delta"},
}
"""Torch's names of our slots. Its product of NAdam's momentum is in its default dtype, ours always in float64;
it keeps no update of Adadelta."""

OWN = {
    "adamw": {"bias_correction", "cautious"},
    "adam": {"bias_correction", "cautious"},
    "nadam": {"cautious"},
    "rprop": {"weight_decay"},
}
"""The hyperparameters that torch does not have."""
OURS = [
    case
    for case in RULES
    if case.optimizer in OPTIMIZERS and not OWN.get(case.optimizer, set()) & case.hyperparameters.keys()
]
CLIPPED = [
    Case(f"{case.name}_{name}", case.optimizer, case.hyperparameters, {"clip": {name: bound}})
    for case in OURS
    if case.name in ("adamw_maximize", "adam_decay", "sgd_nesterov_all", "rmsprop_all")
    for name, bound in {"global_norm": 3.0, "value": 0.5}.items()
]

Clipping = Callable[[list[torch.Tensor]], object]


def clipping(case: Case) -> Clipping:
    clip = case.around.get("clip", {})
    if "global_norm" in clip:
        return lambda params: torch.nn.utils.clip_grad_norm_(params, clip["global_norm"])
    if "value" in clip:
        return lambda params: torch.nn.utils.clip_grad_value_(params, clip["value"])
    return lambda params: None


def peer(case: Case, dtype: type[np.floating]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the parameters and moments of torch after all steps; biases do not decay, as by our default."""
    begun = initial(dtype, case.shaped).items()
    params = {name: torch.nn.Parameter(torch.from_numpy(array.copy())) for name, array in begun}
    without_decay = {} if case.optimizer == "muon" else {"weight_decay": 0.0}
    biases = {"params": [params["dense.bias"]], **without_decay}
    others = {"params": [param for name, param in params.items() if name != "dense.bias"]}
    optimizer = OPTIMIZERS[case.optimizer]([others, biases], **case.hyperparameters)
    clip = clipping(case)
    for grads in gradients(dtype, case.shaped):
        for name, grad in grads.items():
            params[name].grad = torch.from_numpy(grad.copy())
        clip(list(params.values()))
        optimizer.step()
    moments = {
        f"{ours}/{name}": _squeezed(ours, optimizer.state[param][theirs].numpy())
        for name, param in params.items()
        for ours, theirs in STATE[case.optimizer].items()
        if optimizer.state[param].get(theirs) is not None
    }
    return {name: param.detach().numpy() for name, param in params.items()}, moments


def _squeezed(slot: str, array: Array) -> Array:
    """Return torch's means of rows and columns without the dimension of one that it keeps."""
    return array.squeeze({"v_row": -1, "v_col": -2}[slot]) if slot in ("v_row", "v_col") else array


def moments_of(state: State) -> dict[str, Array]:
    return {f"{slot}/{name}": array for slot, name, array in state.arrays() if slot not in ("mu_product", "update")}


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", [*OURS, *CLIPPED], ids=lambda case: case.name)
def test_parameters_and_moments_agree_after_1000_steps(case: Case, dtype: type[np.floating]) -> None:
    params, state, _ = engine(case.config, dtype, case.shaped)
    torch.set_default_dtype(torch.float64 if dtype is np.float64 else torch.float32)  # of NAdam's product
    try:
        theirs, moments = peer(case, dtype)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_near(params, theirs, 1e-2 if case.optimizer == "muon" else None)  # torch's iterates in bfloat16
    assert_near(moments_of(state), moments)


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_muon_beside_adamw_agrees_after_1000_steps(dtype: type[np.floating]) -> None:
    groups = [{"match": ["dense.weight"], "optimizer": "muon", "lr": 0.02}, {"match": ["*bias"], "weight_decay": 0.0}]
    config = Config.parse("adamw", hyperparameters={"lr": 0.01}, groups=groups, clip={"global_norm": 3.0})
    after, _, _ = engine(config, dtype)
    ours = dict(after)
    params = {name: torch.nn.Parameter(torch.from_numpy(array.copy())) for name, array in initial(dtype).items()}
    bias, rest = [params["dense.bias"]], [params["conv"], params["gain"]]
    peers = [
        torch.optim.Muon([params["dense.weight"]], lr=0.02),
        torch.optim.AdamW([{"params": rest}, {"params": bias, "weight_decay": 0.0}], lr=0.01),
    ]
    for grads in gradients(dtype):
        for name, grad in grads.items():
            params[name].grad = torch.from_numpy(grad.copy())
        torch.nn.utils.clip_grad_norm_(list(params.values()), 3.0)
        for peer in peers:
            peer.step()
    theirs = {name: param.detach().numpy() for name, param in params.items()}
    matrix = {"dense.weight": theirs.pop("dense.weight")}
    assert_near({"dense.weight": ours.pop("dense.weight")}, matrix, 1e-2)  # torch's iterates in bfloat16
    assert_near(ours, theirs)


def test_this_is_the_torch_that_the_defaults_are_taken_from() -> None:
    assert torch.__version__.split("+")[0] == "2.13.0"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_defaults_are_those_of_torch(optimizer: str) -> None:
    theirs = OPTIMIZERS[optimizer]([torch.nn.Parameter(torch.ones(1, 1))]).defaults
    found = Case("", optimizer).config.effective()["hyperparameters"]
    ours = {name: value for name, value in found.items() if name not in OWN.get(optimizer, set())}
    assert {name: list(x) if isinstance(x, tuple) else x for name, x in theirs.items() if name in ours} == ours


def test_a_negative_variance_is_nan_in_torch_and_zero_here() -> None:
    """The v − m² of constant gradients is 0 except for rounding."""
    grad = np.linspace(0.1, 3, 50, dtype=np.float32)
    config = Case("", "rmsprop", {"centered": True, "alpha": 0.5}).config
    param = torch.nn.Parameter(torch.zeros(50))
    optimizer = torch.optim.RMSprop([param], centered=True, alpha=0.5)
    params, state = {"x": np.zeros(50, np.float32)}, State.empty()
    for _ in range(60):
        outcome = step(config, state, params, {"x": grad})
        params, state = outcome.params, outcome.state
        param.grad = torch.from_numpy(grad.copy())
        optimizer.step()
    assert torch.isnan(param).any()
    assert np.isfinite(params["x"]).all()
