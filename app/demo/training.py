"""The training loop. Through the service or without it, it is the same loop: only `update` differs.

A step needs nothing but its number and the parameters, so a run can go on from any step whose parameters it has.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from optim_client.settings import WarmupCosineSchedule

from app.demo import network
from app.demo.digits import Digits
from app.demo.network import Tensors
from optim_engine import Config, State, step

STEPS = 1000
BATCH = 64
OPTIMIZER: Final = "adamw"
LR = 0.01
WEIGHT_DECAY = 0.1

Update = Callable[[Tensors, Tensors, float], Tensors]
"""Parameters, gradients and the loss go in; the next parameters come out."""


@dataclass(frozen=True, slots=True)
class Point:
    """What one step came to. `loss` is the batch's before the step, `params` are those after it."""

    step: int
    loss: float
    params: Tensors


def schedule(steps: int) -> WarmupCosineSchedule:
    """Up to the full learning rate in a twentieth of the steps, then down to zero."""
    return {"kind": "warmup_cosine", "warmup_steps": steps // 20, "total_steps": steps}


def train(update: Update, params: Tensors, digits: Digits, steps: range) -> Iterator[Point]:
    """Do the steps one after the other."""
    for number in steps:
        loss, grads = network.loss_and_grads(params, digits.batch(number, BATCH))
        params = update(params, grads, loss)
        yield Point(number, loss, params)


def local_update(steps: int) -> Update:
    """The optimizer without a service: the engine, called directly."""
    hyperparameters = {"lr": LR, "weight_decay": WEIGHT_DECAY}
    config = Config.parse(OPTIMIZER, hyperparameters=hyperparameters, schedule=schedule(steps))
    state = State.empty()

    def update(params: Tensors, grads: Tensors, _loss: float) -> Tensors:
        nonlocal state
        outcome = step(config, state, params, grads)
        state = outcome.state
        return outcome.params

    return update


def first_difference(points: Sequence[Point], digits: Digits) -> int | None:
    """Train once more without a service; the first step whose parameters are not the same bits."""
    steps = len(points)
    local = train(local_update(steps), network.init(), digits, range(1, steps + 1))
    for point, other in zip(points, local, strict=True):
        if any(point.params[name].tobytes() != tensor.tobytes() for name, tensor in other.params.items()):
            return point.step
    return None
