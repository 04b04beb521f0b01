"""The training loop, the same through the service and without it: only `update` differs.

A step depends on its number and the parameters alone, so a run can go on from any step.
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
"""A function from parameters, gradients and the loss to the next parameters."""


@dataclass(frozen=True, slots=True)
class Point:
    """The result of a step: the loss of its batch before it, and the parameters after it."""

    step: int
    loss: float
    params: Tensors


def schedule(steps: int) -> WarmupCosineSchedule:
    """Return the schedule: up to the full learning rate in a twentieth of the steps, then down to zero."""
    return {"kind": "warmup_cosine", "warmup_steps": steps // 20, "total_steps": steps}


def train(update: Update, params: Tensors, digits: Digits, steps: range) -> Iterator[Point]:
    """Take the steps one after the other; yield the result of each."""
    for number in steps:
        loss, grads = network.loss_and_grads(params, digits.batch(number, BATCH))
        params = update(params, grads, loss)
        yield Point(number, loss, params)


def local_update(steps: int) -> Update:
    """Return an update by the engine itself, without a service."""
    hyperparameters = {"lr": LR, "weight_decay": WEIGHT_DECAY}
    config = Config.parse(OPTIMIZER, hyperparameters=hyperparameters, schedule=schedule(steps))
    state = State.empty()

    def update(params: Tensors, grads: Tensors, _loss: float) -> Tensors:
        nonlocal state
        outcome = step(config, state, params, grads)
        state = outcome.state
        return dict(outcome.params)

    return update


def first_difference(points: Sequence[Point], digits: Digits) -> int | None:
    """Train again without a service; return the first step whose parameters have other bits, `None` if all agree."""
    steps = len(points)
    local = train(local_update(steps), network.init(), digits, range(1, steps + 1))
    for point, other in zip(points, local, strict=True):
        if any(point.params[name].tobytes() != tensor.tobytes() for name, tensor in other.params.items()):
            return point.step
    return None
