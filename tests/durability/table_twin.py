"""A training of a lazy table that is done twice: each step names some of its rows."""

import numpy as np
from optim_client import _calls
from optim_client._protocol import Request
from optim_client._tensors import Arrays

from optim_engine import Outcome, held_params, step
from tests.bodies import in_one
from tests.durability.twin import LOSS, Twin
from tests.durability.wire import Wire

TABLE = "weight"
NAMED = 40


class TableTwin(Twin):
    """A twin whose largest tensor is a table with lazy rows. Each second step names rows next to each other."""

    settings = Twin.settings | {"groups": [{"match": [TABLE], "sparse": "lazy"}]}
    slots = (*Twin.slots, "row_steps", "row_decay", "decay")

    def __init__(self, wire: Wire, rows: int) -> None:
        super().__init__(wire, hold_params=True, rows=rows)

    def grads(self, seed: int = 0) -> Arrays:
        """Return the next step's gradients. That of the table has the rows which the step names."""
        grads, rows = super().grads(seed), self.rows()
        return {**grads, TABLE: grads[TABLE][rows[TABLE]]}

    def rows(self) -> Arrays:
        """Return the rows that the next step names."""
        number, count = self.state.t + 1, len(self.params[TABLE])
        chance = np.random.default_rng(number)
        if number % 2:
            first = int(chance.integers(count - NAMED))
            return {TABLE: np.arange(first, first + NAMED)}
        return {TABLE: np.sort(chance.choice(count, NAMED, replace=False))}

    def request(self, grads: Arrays | None = None) -> Request:
        grads = self.grads() if grads is None else grads
        number, others = self.state.t + 1, {"rows": self.rows()}
        call = _calls.step(self.id, number, self._params(grads), grads, LOSS, None, others=others)
        return in_one(call.request)

    def advance(self, grads: Arrays | None = None) -> Outcome:
        grads = self.grads() if grads is None else grads
        outcome = step(self.config, self.state, self._params(grads), grads, rows=self.rows())
        held = held_params(outcome.state, {TABLE: None})
        self.state, self.params = outcome.state, {**self.params, **outcome.params, **held}
        return outcome
