"""Every class against torch's own: they agree at every step, and refuse bad arguments alike."""

import inspect
from typing import Any

import pytest
import torch
from optim_client import Client, InvalidSession
from optim_client.torch import RemoteAdagrad, RemoteMuon

from tests.engine.cases import Case
from tests.peers.test_torch import OPTIMIZERS, OURS
from tests.peers.torch_client.pairs import REMOTE, Pair, Params, params_of

STEPS = 100
TOLERANCE = {"muon": 2e-2, "adafactor": 2e-5}
"""Muon: torch iterates in bfloat16, the service in float32. Adafactor: torch sums squares in float32, we in float64."""

GOOD: dict[str, list[dict[str, Any]]] = {
    "adamw": [{"lr": torch.tensor(0.001), "amsgrad": True}, {"betas": (0.0, 0.0), "weight_decay": 0.9}],
    "adam": [{"lr": 0.01, "weight_decay": 0.1, "amsgrad": True, "maximize": True}, {"lr": torch.tensor(0.001)}],
    "sgd": [{"lr": torch.tensor(0.001)}, {"momentum": 0.9, "dampening": 0.5}, {"momentum": 0.5, "nesterov": True}],
    "rmsprop": [{"weight_decay": 0.1, "momentum": 0.1, "centered": True}, {"alpha": 0.95, "maximize": True}],
    "nadam": [{"momentum_decay": 6e-3, "weight_decay": 0.1, "decoupled_weight_decay": True}, {"lr": 0.001}],
    "radam": [{"eps": 1e-6}, {"weight_decay": 0.1, "decoupled_weight_decay": True}],
    "adamax": [{"weight_decay": 0.9, "maximize": True}, {"lr": torch.tensor(0.001)}],
    "adagrad": [{"initial_accumulator_value": 0.1, "weight_decay": 0.1}, {"lr": 0.1, "lr_decay": 0.5}],
    "adadelta": [{"rho": 0.95, "weight_decay": 0.9}, {"lr": 0.01, "maximize": True}],
    "rprop": [{"etas": (0.5, 1.5)}, {"step_sizes": (2e-6, 100.0)}, {"lr": 2e-4, "maximize": True}],
    "asgd": [{"lambd": 0.1}, {"lr": 0.02, "t0": 5, "weight_decay": 0.9}],
    "adafactor": [{"lr": 0.01, "weight_decay": 0.1}, {"beta2_decay": -1.0, "d": 1.5}],
    "muon": [{"lr": 0.01}, {"weight_decay": 0.2, "nesterov": False}, {"adjust_lr_fn": "match_rms_adamw"}],
}
"""Configurations as torch tries them on its own classes."""

BAD: dict[str, list[dict[str, Any]]] = {
    "adamw": [{"lr": -0.1}, {"eps": -1e-8}, {"betas": (1.0, 0.9)}, {"betas": (0.9, -0.1)}, {"weight_decay": -1.0}],
    "adam": [{"lr": -0.1}, {"betas": (0.0, 1.0)}, {"lr": torch.tensor([0.1, 0.2])}],
    "sgd": [{"lr": -0.5}, {"momentum": -0.5}, {"weight_decay": -0.5}, {"momentum": 0.0, "nesterov": True}],
    "rmsprop": [{"lr": -0.1}, {"momentum": -0.1}, {"alpha": -0.1}, {"eps": -1.0}],
    "nadam": [{"momentum_decay": -0.2}, {"betas": (1.0, 0.0)}, {"eps": -1e-8}],
    "radam": [{"betas": (1.0, 0.0)}, {"weight_decay": -1.0}],
    "adamax": [{"betas": (0.0, 1.0)}, {"lr": -2.0}],
    "adagrad": [{"lr_decay": -0.5}, {"initial_accumulator_value": -1.0}, {"eps": -1.0}],
    "adadelta": [{"rho": 1.1}, {"lr": -1.0}],
    "rprop": [{"etas": (1.0, 0.5)}, {"lr": -1.0}],
    "asgd": [{"weight_decay": -0.5}, {"lr": -1.0}],
    "adafactor": [{"eps": (-1e-30, 1e-3)}, {"d": 0.0}, {"beta2_decay": 0.8}, {"lr": torch.tensor([1.0, 2.0])}],
    "muon": [{"momentum": -0.1}, {"adjust_lr_fn": "unknown"}, {"weight_decay": -1.0}],
}


@pytest.mark.parametrize("case", OURS, ids=lambda case: case.name)
def test_parameters_agree_at_every_step(client: Client, case: Case) -> None:
    settings = {name: tuple(x) if isinstance(x, list) else x for name, x in case.hyperparameters.items()}
    pair = Pair(client, case.optimizer, **settings)
    for _ in range(STEPS):
        pair.step()
        assert pair.apart() <= TOLERANCE.get(case.optimizer, 1e-5)


def two_groups(params: Params) -> list[dict[str, Any]]:
    first, *others = params.items()
    return [{"params": [first], "lr": 0.005}, {"params": others}]


@pytest.mark.parametrize(("rule", "good"), [(rule, good) for rule, listed in GOOD.items() for good in listed], ids=str)
def test_good_configurations_agree_with_groups_and_a_scheduler(client: Client, rule: str, good: dict[str, Any]) -> None:
    pair = Pair(client, rule, groups=two_groups, **good)
    schedulers = [torch.optim.lr_scheduler.ReduceLROnPlateau(each, patience=1) for each in (pair.local, pair.remote)]
    for names in [None, None, [*pair.here][:2], None, [*pair.here][1:], None]:
        pair.step(names)
        for scheduler in schedulers:
            scheduler.step(1.0)
        assert pair.apart() <= TOLERANCE.get(rule, 1e-5)


@pytest.mark.parametrize("rule", REMOTE)
def test_parameters_agree_at_every_step_in_float64(client: Client, rule: str) -> None:
    pair = Pair(client, rule, dtype=torch.float64)
    for _ in range(STEPS):
        pair.step()
    assert pair.apart() <= (2e-2 if rule == "muon" else 1e-6)  # torch's NAdam and ASGD keep float32 scalars


@pytest.mark.parametrize(("rule", "bad"), [(rule, bad) for rule, all_bad in BAD.items() for bad in all_bad], ids=str)
def test_bad_arguments_are_refused_in_the_words_of_torch(client: Client, rule: str, bad: dict[str, Any]) -> None:
    params = list(params_of(rule).values())
    with pytest.raises(ValueError) as local:  # noqa: PT011
        OPTIMIZERS[rule](params, **bad)
    with pytest.raises(ValueError) as remote:  # noqa: PT011
        REMOTE[rule](params, client=client, **bad)
    assert str(remote.value) == str(local.value)


def test_bad_params_are_refused_in_the_words_of_torch(client: Client) -> None:
    leaf = torch.ones(2, requires_grad=True)
    bad: list[Any] = [[], leaf, [leaf * 2], ["w"], [{"params": {leaf}}], [{"params": [leaf]}, {"params": [leaf]}]]
    for params in bad:
        with pytest.raises((ValueError, TypeError)) as local:
            torch.optim.Adam(params)
        with pytest.raises(local.type) as remote:
            REMOTE["adam"](params, client=client)
        assert str(remote.value) == str(local.value)


@pytest.mark.parametrize("rule", REMOTE)
def test_a_class_is_one_of_torch_with_its_signature(client: Client, rule: str) -> None:
    local = OPTIMIZERS[rule]
    assert issubclass(REMOTE[rule], local)
    rows = inspect.signature(REMOTE[rule]).parameters
    assert list(rows) == [*inspect.signature(local).parameters, "client", "session", "worker"]
    optimizer = REMOTE[rule](params_of(rule).values(), client=client)
    assert optimizer.defaults == local(params_of(rule).values()).defaults


def test_a_setting_beyond_the_service_leaves_no_optimizer(client: Client) -> None:
    """torch takes an alpha of 1.5, which makes the mean of squares negative."""
    with pytest.raises(InvalidSession, match="alpha"):
        REMOTE["rmsprop"](params_of("rmsprop").values(), alpha=1.5, client=client)


def test_muon_takes_matrices_alone(client: Client) -> None:
    with pytest.raises(ValueError, match="2D"):
        RemoteMuon([torch.nn.Parameter(torch.ones(3))], client=client)


def test_adagrad_keeps_no_sums_of_its_own(client: Client) -> None:
    assert not RemoteAdagrad(params_of("adagrad").values(), client=client).state
