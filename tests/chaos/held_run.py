"""A session that holds its parameters, stepped by the Python client, whose store loses steps."""

import numpy as np
from optim_client import Client, StateLost
from optim_client._tensors import Arrays

from tests.durability.twin import bits


class Run:
    """A session that holds its parameters, and what each of its steps was answered."""

    def __init__(self, client: Client, rows: int) -> None:
        self.session = client.sessions.create("adamw", lr=0.01, hold_params=True)
        self._rows = rows
        self.session.put_params(self._drawn(0))
        self.answers = [(self.session.get().digest, bits(self.session.params()))]

    def _drawn(self, number: int) -> Arrays:
        return {"w": np.random.default_rng(number).standard_normal((self._rows, 1024), np.float32)}

    @property
    def known(self) -> int:
        """Return the number of the last answered step."""
        return len(self.answers) - 1

    def step(self) -> None:
        """Take the next step."""
        params = self.session.step(grads=self._drawn(len(self.answers)))
        self.answers.append((self.session.digest, bits(params)))

    def step_or_lose(self) -> int:
        """Take the next step; if steps were lost, take those again. Return how many the client said were lost."""
        known = self.known
        try:
            self.step()
        except StateLost as loss:
            self._go_back()
            return loss.known_step - loss.current_step if loss.known_step == known else 0
        return 0

    def _go_back(self) -> None:
        """Assert that the session is whole at the step that it is at, then take the lost ones again."""
        step = self.session.get().step
        assert (self.session.digest, bits(self.session.params())) == self.answers[step]
        lost = self.answers[step + 1 :]
        del self.answers[step + 1 :]
        for answer in lost:
            self.step()
            assert self.answers[-1] == answer
