"""Lion against lion-pytorch: fed the same 1,000 gradients, the parameters and the momentum agree."""

import inspect

import numpy as np
import pytest
import torch
from lion_pytorch import Lion

from tests.engine.cases import RULES, Case
from tests.peers.runs import assert_near, engine, gradients, initial

CASES = [case for case in RULES if case.optimizer == "lion" and "cautious" not in case.hyperparameters]
"""Caution is timm's."""


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_parameters_and_momentum_agree_after_1000_steps(case: Case, dtype: type[np.floating]) -> None:
    ours, state, _ = engine(case.config, dtype)
    params = {name: torch.nn.Parameter(torch.from_numpy(array.copy())) for name, array in initial(dtype).items()}
    others = {"params": [param for name, param in params.items() if name != "dense.bias"]}
    optimizer = Lion([others, {"params": [params["dense.bias"]], "weight_decay": 0.0}], **case.hyperparameters)
    for grads in gradients(dtype):
        for name, grad in grads.items():
            params[name].grad = torch.from_numpy(grad.copy())
        optimizer.step()
    assert_near(ours, {name: param.detach().numpy() for name, param in params.items()})
    momentum = {name: optimizer.state[param]["exp_avg"].numpy() for name, param in params.items()}
    assert_near({name: state.array(name, "m") for name in params}, momentum)


def test_defaults_are_those_of_lion_pytorch() -> None:
    theirs = {name: row.default for name, row in inspect.signature(Lion).parameters.items()}
    ours = Case("", "lion").config.effective()["hyperparameters"]
    assert ours.pop("cautious") is False
    assert {name: list(theirs[name]) if name == "betas" else theirs[name] for name in ours} == ours
