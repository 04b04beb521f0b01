"""Every scheduler of torch.optim.lr_scheduler: the learning rates used are torch's, and so are momentum and betas."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from optim_client import Client
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from tests.peers.torch_client.pairs import REMOTE, Pair

Scheduler = Callable[[torch.optim.Optimizer], Any]
STEPS = 30
SETTINGS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9}, "asgd": {"lambd": 0.1, "t0": 9}}


def has_momentum(optimizer: torch.optim.Optimizer) -> bool:
    return bool({"momentum", "betas"} & optimizer.defaults.keys())


def chained(optimizer: torch.optim.Optimizer) -> Any:
    parts = [lr_scheduler.ConstantLR(optimizer, 0.5, 4), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    return lr_scheduler.ChainedScheduler(parts, optimizer=optimizer)


def sequential(optimizer: torch.optim.Optimizer) -> Any:
    warmup = lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5)
    cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=15)
    return lr_scheduler.SequentialLR(optimizer, [warmup, cosine], milestones=[5])


SCHEDULERS: dict[str, Scheduler] = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.95**epoch),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda epoch: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 5),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [3, 9], gamma=0.3),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, factor=0.3, total_iters=7),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, total_iters=11),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.93),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, total_iters=17, power=1.7),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=9, eta_min=1e-3),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=4, T_mult=2),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(
        o, 0.01, 0.1, step_size_up=4, mode="triangular2", cycle_momentum=has_momentum(o)
    ),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=STEPS + 1, cycle_momentum=has_momentum(o)),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=2),
    "SequentialLR": sequential,
    "ChainedScheduler": chained,
    "SWALR": lambda o: SWALR(o, swa_lr=0.02, anneal_epochs=6),
}


@pytest.mark.parametrize("rule", ["sgd", "adamw", "asgd"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_learning_rates_and_momenta_are_those_of_torch(client: Client, name: str, rule: str) -> None:
    pair = Pair(client, rule, lr=0.05, **SETTINGS.get(rule, {}))
    local, remote = SCHEDULERS[name](pair.local), SCHEDULERS[name](pair.remote)
    plateau = [1.0] if name == "ReduceLROnPlateau" else []
    used = []
    for _ in range(STEPS):
        used.append(pair.local.param_groups[0]["lr"])
        pair.step()
        assert pair.remote.session.metrics.lr == used[-1]
        assert pair.apart() <= 1e-5
        local.step(*plateau)
        remote.step(*plateau)
    assert len(set(used)) > 1
    history = pair.remote.session.history(last=STEPS)
    assert [row.lr for row in history] == used


@pytest.mark.parametrize("rule", REMOTE)
def test_every_class_follows_a_rate_that_changes_each_step(client: Client, rule: str) -> None:
    pair = Pair(client, rule, lr=0.05, **SETTINGS.get(rule, {}))
    for _ in range(STEPS):
        pair.step()
        for optimizer in (pair.local, pair.remote):
            optimizer.param_groups[0]["lr"] *= 0.9
    assert pair.apart() <= {"muon": 2e-2, "adafactor": 2e-5}.get(rule, 1e-5)


def test_every_scheduler_of_torch_is_among_them() -> None:
    bases = {"LRScheduler", "SWALR"}
    there = {
        name
        for name, found in vars(lr_scheduler).items()
        if isinstance(found, type) and issubclass(found, lr_scheduler.LRScheduler) and not name.startswith("_")
    }
    assert SCHEDULERS.keys() - bases == there - bases


def test_each_group_has_its_own_learning_rate(client: Client) -> None:
    def groups(params: Any) -> list[dict[str, Any]]:
        first, *others = params.items()
        return [{"params": [first], "lr": 0.1, "weight_decay": 0.0}, {"params": others}]

    pair = Pair(client, "adamw", lr=0.01, groups=groups)
    schedulers = [lr_scheduler.LambdaLR(o, [lambda n: 0.9**n, lambda n: 0.5**n]) for o in (pair.local, pair.remote)]
    for _ in range(STEPS):
        pair.step()
        for scheduler in schedulers:
            scheduler.step()
    assert pair.apart() <= 1e-5


def test_a_learning_rate_in_a_tensor_is_followed(client: Client) -> None:
    lr = torch.tensor(0.1)
    pair = Pair(client, "sgd", lr=lr)
    for factor in (1.0, 0.5, 0.25):
        lr.fill_(0.1 * factor)
        pair.step()
        assert math.isclose(pair.remote.session.metrics.lr, 0.1 * factor, rel_tol=1e-7)
    assert pair.apart() <= 1e-5


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("sgd", {"momentum": 0.9}),
        ("sgd", {"weight_decay": 0.1}),
        ("sgd", {"maximize": True}),
        ("adamw", {"betas": (0.5, 0.6)}),
        ("adamw", {"eps": 0.1}),
        ("nadam", {"momentum_decay": 0.1}),
    ],
    ids=str,
)
def test_a_setting_changed_between_steps_holds_from_then_on(client: Client, rule: str, changes: dict[str, Any]) -> None:
    pair = Pair(client, rule, lr=0.01)
    for i in range(8):
        if i == 4:
            pair.local.param_groups[0].update(changes)
            pair.remote.param_groups[0].update(changes)
        pair.step()
    assert pair.apart() <= 1e-5
