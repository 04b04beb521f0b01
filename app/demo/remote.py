"""The run through the service: one session, and the points of all its steps."""

from collections.abc import Callable

from optim_client import Client

from app.demo import digits, network
from app.demo.network import Tensors
from app.demo.training import LR, OPTIMIZER, WEIGHT_DECAY, Point, schedule, train

SHOW_EVERY = 10
DAY = 86_400.0

Show = Callable[[Point, float], None]
"""A function that shows a step, and the accuracy after it."""


class RemoteRun:
    """A training run of `steps` steps in one session, which survives the server's crash and expires after a day."""

    def __init__(self, client: Client, steps: int, show: Show) -> None:
        self.points: list[Point] = []
        self._train, self._test = digits.load()
        self._show = show
        self.session = client.sessions.create(
            OPTIMIZER,
            lr=LR,
            weight_decay=WEIGHT_DECAY,
            schedule=schedule(steps),
            ttl_seconds=DAY,
            labels={"by": "demo"},
        )

    def until(self, step: int) -> None:
        """Train from the run's last step up to this one."""
        params = self.points[-1].params if self.points else network.init()
        for point in train(self._update, params, self._train, range(len(self.points) + 1, step + 1)):
            self.points.append(point)
            if point.step % SHOW_EVERY == 0:
                self._show(point, network.accuracy(point.params, self._test))

    def _update(self, params: Tensors, grads: Tensors, loss: float) -> Tensors:
        return self.session.step(params, grads, loss=loss)
