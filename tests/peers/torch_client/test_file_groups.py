"""Groups of torch as settings of a session, and back."""

from typing import Any

import pytest
import torch
from optim_client.torch._file_groups import groups_of, left_out, settings_of

ADAM = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]).defaults


def group(*names: str, **changed: Any) -> dict[str, Any]:
    return {**ADAM, **changed, "params": [*range(len(names))], "param_names": [*names]}


def test_the_largest_group_has_the_sessions_hyperparameters() -> None:
    lr = torch.tensor(0.25)
    settings = settings_of([group("odd*[name]", lr=lr, initial_lr=1.0), group("a", "b", "c", betas=(0.5, 0.75))])
    assert settings["optimizer"] == "adam"
    assert settings["hyperparameters"]["betas"] == [0.5, 0.75]
    assert settings["hyperparameters"].keys() == {*ADAM} - {"foreach", "capturable", "differentiable", "fused"}
    assert settings["groups"] == [{"match": ["odd[*][[]name]"], "lr": 0.25, "betas": [0.9, 0.999]}]


def test_groups_of_two_optimizers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the optimizer is unknown: .* adam, adamw; expected one of adamw, adam, sgd"):
        settings_of([group("a"), group("b", decoupled_weight_decay=True)])
    with pytest.raises(ValueError, match="the groups are of none; expected one of"):
        settings_of([{"lr": 0.1, "params": [0], "param_names": ["a"]}])


def test_a_group_with_its_own_optimizer_has_its_defaults() -> None:
    session = {
        "optimizer": "adamw",
        "hyperparameters": {"lr": 0.5, "betas": [0.5, 0.75], "bias_correction": True},
        "groups": [{"match": ["m"], "optimizer": "muon", "momentum": 0.5, "name": "matrices"}],
        "tensors": {"m": {"group": 0}, "b": {"group": None}},
    }
    rest, matrices = groups_of(session)
    assert (rest["param_names"], rest["params"], rest["lr"], rest["betas"]) == (["b"], [0], 0.5, (0.5, 0.75))
    assert (matrices["param_names"], matrices["params"], matrices["lr"], matrices["momentum"]) == (
        ["m"],
        [1],
        1e-3,
        0.5,
    )
    assert "name" not in matrices
    assert left_out(session) == []
    session["hyperparameters"]["bias_correction"] = False  # type: ignore[index]
    assert left_out({**session, "schedule": {"kind": "constant"}}) == ["bias_correction", "schedule"]
