"""Prodigy against prodigyopt: fed the same 1,000 gradients, the parameters, the sums s and the estimate d agree."""

import inspect
import math

import numpy as np
import pytest
import torch
from prodigyopt import Prodigy

from tests.engine.cases import RULES, Case
from tests.oracle_defaults import DEFAULTS
from tests.peers.runs import assert_near, engine, gradients, initial

CASES = [case for case in RULES if case.optimizer == "prodigy"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_parameters_sums_and_estimates_agree_after_1000_steps(case: Case, dtype: type[np.floating]) -> None:
    ours, state, _ = engine(case.config, dtype)
    params = {name: torch.nn.Parameter(torch.from_numpy(array.copy())) for name, array in initial(dtype).items()}
    others = {"params": [param for name, param in params.items() if name != "dense.bias"]}
    biases = {"params": [params["dense.bias"]], "weight_decay": 0.0}
    peer = Prodigy([others, biases], **case.hyperparameters)
    for grads in gradients(dtype):
        for name, grad in grads.items():
            params[name].grad = torch.from_numpy(grad.copy())
        peer.step()
    assert_near(ours, {name: param.detach().numpy() for name, param in params.items()})
    s = {name: peer.state[param]["s"].numpy().reshape(param.shape) for name, param in params.items()}
    apart = 1e-12 if dtype is np.float64 else 5e-5  # prodigyopt adds in float32
    assert_near({name: state.array(name, "s") for name in params}, s, apart)
    for name in params:
        assert state.array(name, "d") == pytest.approx(peer.param_groups[0]["d"], rel=apart)


def test_defaults_are_those_of_prodigyopt() -> None:
    theirs = {name: row.default for name, row in inspect.signature(Prodigy).parameters.items()}
    ours = {**DEFAULTS["prodigy"], "growth_rate": math.inf}
    assert {name: theirs[name] for name in ours} == ours
    assert theirs.keys() - ours.keys() == {"params", "fsdp_in_use", "slice_p"}
