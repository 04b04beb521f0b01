"""Schedules against torch.optim.lr_scheduler, where the same one exists: every step's lr, and what it leads to."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from optim_engine import SCHEDULES, Config
from tests import oracle
from tests.peers.runs import STEPS, assert_near, engine, gradients, initial

LR = 0.25
Scheduler = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]


def by_oracle(schedule: dict[str, Any]) -> Scheduler:
    return lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: oracle.factor(schedule, epoch + 1))


def warmup_then_cosine(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    warmup = lr_scheduler.LinearLR(optimizer, start_factor=1 / 100, total_iters=99)
    cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS - 100, eta_min=0.1 * LR)
    return lr_scheduler.SequentialLR(optimizer, [warmup, cosine], milestones=[100])


def one_cycle(fraction: float, start: float, end: float) -> Scheduler:
    return lambda optimizer: lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=LR,
        total_steps=STEPS,
        pct_start=fraction,
        div_factor=start,
        final_div_factor=end,
        cycle_momentum=False,
    )


INVERSE_SQRT = {"kind": "inverse_sqrt", "warmup_steps": 40}
STABLE = {
    "kind": "warmup_stable_decay",
    "warmup_steps": 50,
    "stable_steps": 600,
    "decay_steps": 300,
    "min_factor": 0.05,
}

STAIRS = {"kind": "piecewise", "boundaries": [100, 250, 800], "factors": [0.1, 1.0, 0.0, 0.7]}

SCHEDULERS: list[tuple[dict[str, Any], Scheduler]] = [
    ({"kind": "constant"}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    ({"kind": "linear_warmup", "warmup_steps": 200}, lambda o: lr_scheduler.LinearLR(o, 1 / 200, total_iters=199)),
    ({"kind": "cosine", "total_steps": STEPS}, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS)),
    (
        {"kind": "cosine", "total_steps": STEPS, "min_factor": 0.2},
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.2 * LR),
    ),
    ({"kind": "warmup_cosine", "warmup_steps": 100, "total_steps": STEPS, "min_factor": 0.1}, warmup_then_cosine),
    ({"kind": "step", "step_size": 300}, lambda o: lr_scheduler.StepLR(o, step_size=300)),
    ({"kind": "step", "step_size": 7, "gamma": 0.99}, lambda o: lr_scheduler.StepLR(o, step_size=7, gamma=0.99)),
    ({"kind": "exponential", "gamma": 0.995}, lambda o: lr_scheduler.ExponentialLR(o, gamma=0.995)),
    ({"kind": "polynomial", "total_steps": 700}, lambda o: lr_scheduler.PolynomialLR(o, total_iters=700)),
    (
        {"kind": "polynomial", "total_steps": 700, "power": 2.5},
        lambda o: lr_scheduler.PolynomialLR(o, total_iters=700, power=2.5),
    ),
    (INVERSE_SQRT, by_oracle(INVERSE_SQRT)),
    (STABLE, by_oracle(STABLE)),
    (
        {"kind": "piecewise", "boundaries": [300, 310, 700], "factors": [1, 0.5, 0.25, 0.125]},
        lambda o: lr_scheduler.MultiStepLR(o, milestones=[300, 310, 700], gamma=0.5),
    ),
    (STAIRS, by_oracle(STAIRS)),
    (
        {"kind": "cosine_restarts", "period": 90},
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=90),
    ),
    (
        {"kind": "cosine_restarts", "period": 7, "multiplier": 3, "min_factor": 0.1},
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=7, T_mult=3, eta_min=0.1 * LR),
    ),
    ({"kind": "one_cycle", "total_steps": STEPS}, one_cycle(0.3, 25, 1e4)),
    (
        {"kind": "one_cycle", "total_steps": STEPS, "warmup_fraction": 0, "start_factor": 0.1, "end_factor": 0.01},
        one_cycle(0.0, 10, 10),
    ),
    (
        {"kind": "one_cycle", "total_steps": STEPS, "warmup_fraction": 0.9, "start_factor": 0.5, "end_factor": 0.1},
        one_cycle(0.9, 2, 5),
    ),
]


@pytest.mark.parametrize(("schedule", "scheduler"), SCHEDULERS, ids=lambda x: x["kind"] if isinstance(x, dict) else "")
def test_every_step_has_the_learning_rate_of_torch(schedule: dict[str, Any], scheduler: Scheduler) -> None:
    config = Config.parse("sgd", hyperparameters={"lr": LR, "momentum": 0.9}, schedule=schedule)
    ours, _, rates = engine(config, np.float64)
    params = {name: torch.nn.Parameter(torch.from_numpy(array.copy())) for name, array in initial(np.float64).items()}
    optimizer = torch.optim.SGD(params.values(), lr=LR, momentum=0.9)
    schedule_of_torch = scheduler(optimizer)
    seen = []
    for grads in gradients(np.float64):
        for name, grad in grads.items():
            params[name].grad = torch.from_numpy(grad.copy())
        optimizer.step()
        seen.append(schedule_of_torch.get_last_lr()[0])
        schedule_of_torch.step()
    np.testing.assert_allclose(np.array(rates), np.array(seen), rtol=1e-9, atol=1e-13)
    assert_near(ours, {name: param.detach().numpy() for name, param in params.items()})


def test_every_kind_of_schedule_is_among_them() -> None:
    assert {schedule["kind"] for schedule, _ in SCHEDULERS} == set(SCHEDULES)
