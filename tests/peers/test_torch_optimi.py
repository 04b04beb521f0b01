"""StableAdamW against torch-optimi: fed the same 1,000 gradients, the parameters and the moments agree."""

import inspect

import numpy as np
import pytest
import torch
from optimi import StableAdamW

from tests.engine.cases import RULES, Case
from tests.peers.runs import assert_near, engine, gradients, initial

CASES = [case for case in RULES if case.optimizer == "stable_adamw"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_parameters_and_moments_agree_after_1000_steps(case: Case, dtype: type[np.floating]) -> None:
    ours, state, _ = engine(case.config, dtype)
    params = {name: torch.nn.Parameter(torch.from_numpy(array.copy())) for name, array in initial(dtype).items()}
    others = {"params": [param for name, param in params.items() if name != "dense.bias"]}
    biases = {"params": [params["dense.bias"]], "weight_decay": 0.0}
    settings = {"lr": 1e-3, "foreach": False, "triton": False, **case.hyperparameters}
    optimizer = StableAdamW([others, biases], **settings)
    for grads in gradients(dtype):
        for name, grad in grads.items():
            params[name].grad = torch.from_numpy(grad.copy())
        optimizer.step()
    assert_near(ours, {name: param.detach().numpy() for name, param in params.items()})
    for slot, theirs in {"m": "exp_avg", "v": "exp_avg_sq"}.items():
        moments = {name: optimizer.state[param][theirs].numpy() for name, param in params.items()}
        assert_near({name: state.array(name, slot) for name in params}, moments)


def test_defaults_are_those_of_torch_optimi() -> None:
    theirs = {name: row.default for name, row in inspect.signature(StableAdamW).parameters.items()}
    ours = Case("", "stable_adamw").config.effective()["hyperparameters"]
    assert ours.pop("lr") == 1e-3  # it has none
    assert {name: list(theirs[name]) if name == "betas" else theirs[name] for name in ours} == ours
