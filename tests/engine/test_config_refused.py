"""Refused configurations: each refusal names the place, the value and the way out."""

import math
from typing import Any

import pytest

from optim_engine import OPTIMIZERS, SCHEDULES, Config, InvalidConfig
from tests.oracle_defaults import DEFAULTS

HUGE = 10**5000
KNOWN = ", ".join(OPTIMIZERS)
ADAMW = "lr, weight_decay, maximize, betas, eps, amsgrad, bias_correction, cautious"
LION = "lr, weight_decay, betas, decoupled_weight_decay, cautious"

NUMBERS = [-1, -1e-9, math.nan, math.inf, -math.inf, HUGE, True, "0.1", None, [0.1], {"value": 1}]
"""Wrong learning rates."""


def shown(value: object) -> str:
    return "huge" if value is HUGE else repr(value)


@pytest.mark.parametrize("lr", NUMBERS, ids=shown)
def test_a_learning_rate_must_be_a_number_in_range(lr: object) -> None:
    with pytest.raises(InvalidConfig, match=r"^hyperparameters\.lr: ") as refused:
        Config.parse("adamw", hyperparameters={"lr": lr})
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("value", [0, 1, "true", None, 1.0, []])
def test_a_flag_must_be_true_or_false(value: object) -> None:
    with pytest.raises(InvalidConfig, match=r"^hyperparameters\.amsgrad: must be true or false, not "):
        Config.parse("adam", hyperparameters={"amsgrad": value})


BAD: list[tuple[dict[str, Any], str]] = [
    ({"optimizer": "adamx"}, f"optimizer: 'adamx' is unknown; expected one of {KNOWN}"),
    ({"optimizer": "AdamW"}, f"optimizer: 'AdamW' is unknown; expected one of {KNOWN}"),
    ({"optimizer": None}, f"optimizer: null is unknown; expected one of {KNOWN}"),
    ({"optimizer": ["adam"]}, f"optimizer: a list is unknown; expected one of {KNOWN}"),
    ({"average": {"decay": 0.5}}, "average: needs `hold_params` true: it is of the parameters that the session holds"),
    ({"average": {"decay": 1}, "hold_params": True}, "average.decay: 1 is out of range: finite, above 0, below 1"),
    ({"average": {}, "hold_params": True}, "average.decay: is required"),
    ({"hyperparameters": []}, "hyperparameters: must be an object, not a list"),
    ({"hyperparameters": False}, "hyperparameters: must be an object, not false"),
    ({"hyperparameters": "lr"}, "hyperparameters: must be an object, not 'lr'"),
    ({"hyperparameters": {"lr": -1}}, "hyperparameters.lr: -1 is out of range: finite, at least 0"),
    ({"hyperparameters": {"lr": math.nan}}, "hyperparameters.lr: nan is out of range: finite, at least 0"),
    ({"hyperparameters": {"lr": True}}, "hyperparameters.lr: must be a number, not true"),
    ({"hyperparameters": {"lr": "0.1"}}, "hyperparameters.lr: must be a number, not '0.1'"),
    (
        {"hyperparameters": {"lr": HUGE}},
        "hyperparameters.lr: a whole number of 16610 bits is out of range: finite, at least 0",
    ),
    (
        {"hyperparameters": {"learning_rate": 0.1}},
        f"hyperparameters.learning_rate: unknown setting 'learning_rate'; expected one of {ADAMW}",
    ),
    (
        {"hyperparameters": {"betas": [0.9, 1.0]}},
        "hyperparameters.betas[1]: 1.0 is out of range: finite, at least 0, below 1",
    ),
    (
        {"hyperparameters": {"betas": [-0.1, 0.9]}},
        "hyperparameters.betas[0]: -0.1 is out of range: finite, at least 0, below 1",
    ),
    ({"hyperparameters": {"betas": [0.9, True]}}, "hyperparameters.betas[1]: must be a number, not true"),
    ({"hyperparameters": {"betas": [0.9]}}, "hyperparameters.betas: must be two numbers, not a list of 1"),
    ({"hyperparameters": {"betas": [0.9, 0.99, 0.999]}}, "hyperparameters.betas: must be two numbers, not a list of 3"),
    ({"hyperparameters": {"betas": 0.9}}, "hyperparameters.betas: must be two numbers, not 0.9"),
    (
        {"optimizer": "sgd", "hyperparameters": {"nesterov": True}},
        "hyperparameters.nesterov: needs a momentum above 0 and a dampening of 0; they are 0 and 0",
    ),
    (
        {"optimizer": "sgd", "hyperparameters": {"nesterov": True, "momentum": 0.9, "dampening": 0.1}},
        "hyperparameters.nesterov: needs a momentum above 0 and a dampening of 0; they are 0.9 and 0.1",
    ),
    (
        {"optimizer": "rmsprop", "hyperparameters": {"alpha": 1}},
        "hyperparameters.alpha: 1 is out of range: finite, at least 0, below 1",
    ),
    (
        {"optimizer": "nadam", "hyperparameters": {"momentum_decay": -1}},
        "hyperparameters.momentum_decay: -1 is out of range: finite, at least 0",
    ),
    (
        {"optimizer": "adafactor", "hyperparameters": {"beta2_decay": 0.1}},
        "hyperparameters.beta2_decay: 0.1 is out of range: finite, at most 0",
    ),
    (
        {"optimizer": "adafactor", "hyperparameters": {"d": 0.5}},
        "hyperparameters.d: 0.5 is out of range: finite, at least 1",
    ),
    (
        {"optimizer": "adafactor", "hyperparameters": {"eps": [None, None]}},
        "hyperparameters.eps[1]: must be a number, not null",
    ),
    (
        {"optimizer": "adafactor", "hyperparameters": {"eps": 1e-3}},
        "hyperparameters.eps: must be two numbers, not 0.001",
    ),
    (
        {"optimizer": "muon", "hyperparameters": {"ns_coefficients": [1, 2]}},
        "hyperparameters.ns_coefficients: must be three numbers, not a list of 2",
    ),
    (
        {"optimizer": "muon", "hyperparameters": {"ns_steps": 100}},
        "hyperparameters.ns_steps: 100 is out of range: at least 0, at most 99",
    ),
    (
        {"optimizer": "muon", "hyperparameters": {"adjust_lr_fn": "other"}},
        "hyperparameters.adjust_lr_fn: 'other' is unknown; expected one of original, match_rms_adamw",
    ),
    (
        {"optimizer": "muon", "hyperparameters": {"maximize": True}},
        f"hyperparameters.maximize: unknown setting 'maximize'; expected one of {', '.join(DEFAULTS['muon'])}",
    ),
    (
        {"optimizer": "radam", "hyperparameters": {"betas": [0.9, 1]}},
        "hyperparameters.betas[1]: 1 is out of range: finite, at least 0, below 1",
    ),
    (
        {"optimizer": "adamax", "hyperparameters": {"eps": -1}},
        "hyperparameters.eps: -1 is out of range: finite, at least 0",
    ),
    (
        {"optimizer": "adagrad", "hyperparameters": {"lr_decay": -1}},
        "hyperparameters.lr_decay: -1 is out of range: finite, at least 0",
    ),
    (
        {"optimizer": "yogi", "hyperparameters": {"b1": 0.9}},
        "hyperparameters.b1: unknown setting 'b1'; expected one of lr, weight_decay, betas, eps, bias_correction",
    ),
    (
        {"optimizer": "adabelief", "hyperparameters": {"eps_root": -1}},
        "hyperparameters.eps_root: -1 is out of range: finite, at least 0",
    ),
    (
        {"optimizer": "ademamix", "hyperparameters": {"betas": [0.9, 0.999]}},
        "hyperparameters.betas: must be three numbers, not a list of 2",
    ),
    (
        {"optimizer": "asgd", "hyperparameters": {"t0": -1}},
        "hyperparameters.t0: -1 is out of range: finite, at least 0",
    ),
    (
        {"optimizer": "rprop", "hyperparameters": {"etas": [0.5, 1]}},
        "hyperparameters.etas[1]: 1 is out of range: finite, above 1",
    ),
    (
        {"optimizer": "rprop", "hyperparameters": {"step_sizes": [2, 1]}},
        "hyperparameters.step_sizes: the first must be at most the second; they are 2 and 1",
    ),
    (
        {"optimizer": "adan", "hyperparameters": {"betas": [0.9, 0.9, 1]}},
        "hyperparameters.betas[2]: 1 is out of range: finite, at least 0, below 1",
    ),
    (
        {"optimizer": "lion", "hyperparameters": {"maximize": True}},
        f"hyperparameters.maximize: unknown setting 'maximize'; expected one of {LION}",
    ),
    (
        {"optimizer": "adadelta", "hyperparameters": {"rho": 1.5}},
        "hyperparameters.rho: 1.5 is out of range: finite, at least 0, at most 1",
    ),
    (
        {"optimizer": "lamb", "hyperparameters": {"betas": [1, 0.9]}},
        "hyperparameters.betas[0]: 1 is out of range: finite, at least 0, below 1",
    ),
    (
        {"optimizer": "lars", "hyperparameters": {"trust_coefficient": -1}},
        "hyperparameters.trust_coefficient: -1 is out of range: finite, at least 0",
    ),
    (
        {"optimizer": "stable_adamw", "hyperparameters": {"max_lr": 0}},
        "hyperparameters.max_lr: 0 is out of range: finite, above 0",
    ),
    (
        {"optimizer": "schedule_free_adamw", "hyperparameters": {"betas": [0, 0.9]}},
        "hyperparameters.betas[0]: 0 is out of range: finite, above 0, below 1",
    ),
    (
        {"optimizer": "schedule_free_sgd", "hyperparameters": {"momentum": 1}},
        "hyperparameters.momentum: 1 is out of range: finite, above 0, below 1",
    ),
    (
        {"optimizer": "prodigy", "hyperparameters": {"d0": 0}},
        "hyperparameters.d0: 0 is out of range: finite, above 0",
    ),
    (
        {"optimizer": "prodigy", "groups": [{"match": ["w"], "d_coef": 2}]},
        "groups[0].d_coef: must be 1.0 as elsewhere: all tensors of prodigy share what follows from it",
    ),
    (
        {"optimizer": "schedule_free_sgd", "hyperparameters": {"r": 11}},
        "hyperparameters.r: 11 is out of range: finite, at least 0, at most 10",
    ),
    (
        {"wire_dtype": "float8", "hold_params": True},
        "wire_dtype: 'float8' is unknown; expected one of bfloat16, float16",
    ),
    (
        {"wire_dtype": ["float16"], "hold_params": True},
        "wire_dtype: a list is unknown; expected one of bfloat16, float16",
    ),
    (
        {"wire_dtype": "bfloat16"},
        "wire_dtype: bfloat16 needs `hold_params` true: otherwise nobody has the parameters as float32",
    ),
    ({"schedule": "cosine"}, 'schedule: must be an object, such as {"kind": "constant"}, not \'cosine\''),
    ({"schedule": {}}, f"schedule.kind: is required; expected one of {', '.join(SCHEDULES)}"),
    ({"schedule": {"kind": None}}, f"schedule.kind: null is unknown; expected one of {', '.join(SCHEDULES)}"),
    ({"schedule": {"kind": "cosin"}}, f"schedule.kind: 'cosin' is unknown; expected one of {', '.join(SCHEDULES)}"),
    ({"schedule": {"kind": ["cosine"]}}, f"schedule.kind: a list is unknown; expected one of {', '.join(SCHEDULES)}"),
    ({"schedule": {"kind": "cosine"}}, "schedule.total_steps: is required"),
    (
        {"schedule": {"kind": "constant", "total_steps": 9}},
        "schedule.total_steps: unknown setting 'total_steps'; expected one of start_step",
    ),
    (
        {"schedule": {"kind": "cosine", "total_steps": 0}},
        "schedule.total_steps: 0 is out of range: at least 1, at most 9007199254740992",
    ),
    ({"schedule": {"kind": "cosine", "total_steps": 1.5}}, "schedule.total_steps: must be a whole number, not 1.5"),
    ({"schedule": {"kind": "cosine", "total_steps": True}}, "schedule.total_steps: must be a whole number, not true"),
    (
        {"schedule": {"kind": "cosine", "total_steps": HUGE}},
        "schedule.total_steps: a whole number of 16610 bits is out of range: at least 1, at most 9007199254740992",
    ),
    (
        {"schedule": {"kind": "cosine", "total_steps": 9, "min_factor": 1.5}},
        "schedule.min_factor: 1.5 is out of range: finite, at least 0, at most 1",
    ),
    (
        {"schedule": {"kind": "warmup_cosine", "warmup_steps": 9, "total_steps": 9}},
        "schedule.total_steps: 9 must be above warmup_steps (9)",
    ),
    ({"schedule": {"kind": "exponential"}}, "schedule.gamma: is required"),
    ({"schedule": {"kind": "exponential", "gamma": 0}}, "schedule.gamma: 0 is out of range: finite, above 0"),
    (
        {"schedule": {"kind": "polynomial", "total_steps": 9, "power": 0}},
        "schedule.power: 0 is out of range: finite, above 0",
    ),
    (
        {"schedule": {"kind": "piecewise", "boundaries": [], "factors": [1]}},
        "schedule.boundaries: must be a list of at least 1, at most 999 numbers, not a list of 0",
    ),
    (
        {"schedule": {"kind": "piecewise", "boundaries": [*range(1, 1001)], "factors": [1]}},
        "schedule.boundaries: must be a list of at least 1, at most 999 numbers, not a list of 1000",
    ),
    (
        {"schedule": {"kind": "piecewise", "boundaries": 5, "factors": [1, 2]}},
        "schedule.boundaries: must be a list of at least 1, at most 999 numbers, not 5",
    ),
    (
        {"schedule": {"kind": "piecewise", "boundaries": [5, 2.5], "factors": [1, 2, 3]}},
        "schedule.boundaries[1]: must be a whole number, not 2.5",
    ),
    (
        {"schedule": {"kind": "piecewise", "boundaries": [0], "factors": [1, 2]}},
        "schedule.boundaries[0]: 0 is out of range: at least 1, at most 9007199254740992",
    ),
    (
        {"schedule": {"kind": "piecewise", "boundaries": [5, 5], "factors": [1, 2, 3]}},
        "schedule.boundaries[1]: 5 must be above the boundary before it (5)",
    ),
    (
        {"schedule": {"kind": "piecewise", "boundaries": [5], "factors": [1, 2, 3]}},
        "schedule.factors: must have one number more than boundaries, 2, not 3",
    ),
    (
        {"schedule": {"kind": "piecewise", "boundaries": [5], "factors": [1, -0.5]}},
        "schedule.factors[1]: -0.5 is out of range: finite, at least 0",
    ),
    (
        {"schedule": {"kind": "cosine_restarts", "period": 5, "multiplier": 1.5}},
        "schedule.multiplier: must be a whole number, not 1.5",
    ),
    (
        {"schedule": {"kind": "one_cycle", "total_steps": 5, "warmup_fraction": 1.5}},
        "schedule.warmup_fraction: 1.5 is out of range: finite, at least 0, at most 1",
    ),
    ({"clip": 1.0}, "clip: must be an object, not 1.0"),
    ({"clip": {}}, "clip: give either global_norm or value"),
    ({"clip": {"global_norm": 1, "value": 1}}, "clip: give either global_norm or value"),
    ({"clip": {"global_norm": 0}}, "clip.global_norm: 0 is out of range: finite, above 0"),
    ({"clip": {"value": math.inf}}, "clip.value: inf is out of range: finite, above 0"),
    ({"clip": {"norm": 1}}, "clip.norm: unknown setting 'norm'; expected one of global_norm, value"),
    ({"on_non_finite": "ignore"}, "on_non_finite: 'ignore' is unknown; expected one of reject, skip"),
    ({"on_non_finite": None}, "on_non_finite: null is unknown; expected one of reject, skip"),
    ({"hold_params": 1}, "hold_params: must be true or false, not 1"),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=lambda x: x.split(":")[0] if isinstance(x, str) else "")
def test_a_refusal_names_place_value_and_way_out(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        Config.parse(**{"optimizer": "adamw", **given})
    assert str(refused.value) == message


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_setting_of_another_optimizer_is_refused(optimizer: str) -> None:
    own = DEFAULTS[optimizer]
    foreign = {name: x for other in DEFAULTS.values() for name, x in other.items() if name not in own}
    assert foreign
    for name, value in foreign.items():
        with pytest.raises(InvalidConfig, match=rf"^hyperparameters\.{name}: unknown setting"):
            Config.parse(optimizer, hyperparameters={name: value})


def test_a_refusal_shows_only_the_beginning_of_a_text() -> None:
    with pytest.raises(InvalidConfig) as refused:
        Config.parse("adamw", hyperparameters={"lr": "9" * 10_000})
    assert len(str(refused.value)) < 200
