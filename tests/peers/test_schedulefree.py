"""The schedule-free rules against schedulefree: fed the same 1,000 gradients, y, z and x agree."""

import inspect
from typing import Any

import numpy as np
import pytest
import schedulefree
import torch

from optim_engine import State, step
from optim_engine.held_views import viewed
from tests.engine.cases import RULES, Case
from tests.oracle_defaults import DEFAULTS
from tests.peers.runs import assert_near, gradients, initial

KINDS: dict[str, Any] = {
    "schedule_free_adamw": schedulefree.AdamWScheduleFree,
    "schedule_free_sgd": schedulefree.SGDScheduleFree,
}
CASES = [case for case in RULES if case.optimizer in KINDS]


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_parameters_iterates_and_means_agree_after_1000_steps(case: Case, dtype: type[np.floating]) -> None:
    holding = Case("", case.optimizer, case.hyperparameters, {"hold_params": True}).config
    params = {name: torch.nn.Parameter(torch.from_numpy(array.copy())) for name, array in initial(dtype).items()}
    others = {"params": [param for name, param in params.items() if name != "dense.bias"]}
    biases = {"params": [params["dense.bias"]], "weight_decay": 0.0}
    peer = KINDS[case.optimizer]([others, biases], foreach=False, **case.hyperparameters)
    peer.train()
    state = State.empty().with_params(initial(dtype))
    for grads in gradients(dtype):
        state = step(holding, state, {}, grads).state
        for name, grad in grads.items():
            params[name].grad = torch.from_numpy(grad.copy())
        peer.step()
    assert_near(state.held(), {name: param.detach().numpy().copy() for name, param in params.items()})
    z = {name: peer.state[param]["z"].numpy() for name, param in params.items()}
    assert_near({name: state.array(name, "z") for name in params}, z)
    peer.eval()
    assert_near(viewed(holding, state, "eval"), {name: param.detach().numpy() for name, param in params.items()})


@pytest.mark.parametrize("optimizer", KINDS)
def test_defaults_are_those_of_schedulefree(optimizer: str) -> None:
    theirs = {name: row.default for name, row in inspect.signature(KINDS[optimizer]).parameters.items()}
    assert {name: theirs[name] for name in DEFAULTS[optimizer]} == DEFAULTS[optimizer]
    assert theirs.keys() - DEFAULTS[optimizer].keys() == {"params", "foreach"}
