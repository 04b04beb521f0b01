"""Learning rates: what the schedule and a step make of them, in each group."""

import math
from typing import Any

import pytest

from optim_engine import Config, InvalidConfig
from optim_engine.rates import learning_rates


def test_a_step_learning_rate_replaces_all_but_groups_own() -> None:
    config = Config.parse(
        "sgd",
        hyperparameters={"lr": 1},
        groups=[
            {"match": ["a"], "lr": 2},
            {"match": ["b"], "weight_decay": 0.1},
            {"match": ["c"], "optimizer": "lars"},
        ],
        schedule={"kind": "linear_warmup", "warmup_steps": 4},
    )
    assert learning_rates(config, 1) == {None: 0.25, 0: 0.5, 1: 0.25, 2: 0.00025}
    assert learning_rates(config, 1, 7.0) == {None: 7.0, 0: 0.5, 1: 7.0, 2: 0.00025}


@pytest.mark.parametrize(
    "lr", [-1, -1e-9, math.nan, math.inf, 10**400, True, "0.1", [0.1]], ids=lambda lr: repr(lr)[:9]
)
def test_a_learning_rate_given_for_a_step_is_checked(lr: Any) -> None:
    with pytest.raises(InvalidConfig, match=r"^lr: "):
        learning_rates(Config.parse("sgd"), 1, lr)
