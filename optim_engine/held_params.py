"""Parameters that a state holds, with the decay of lazy rows caught up."""

from collections.abc import Mapping

import numpy as np

from optim_engine.arrays import Array
from optim_engine.errors import TensorMismatch
from optim_engine.rows import Rows, check_rows
from optim_engine.state import State


@np.errstate(all="ignore")
def held_params(state: State, rows: Mapping[str, Array | None]) -> dict[str, Array]:
    """Return rows of parameters that the state holds, as the next step would find them; `None` stands for a whole
    tensor.

    `rows` maps names to indices (int64, rising). The state keeps the decay of a lazy row until the row is updated, so
    reading it changes no later bit. Arrays may be views of the state's memory. Raises `TensorMismatch`.
    """
    return {tensor: _held(state, tensor, indices) for tensor, indices in rows.items()}


def _held(state: State, tensor: str, indices: Array | None) -> Array:
    entry = state.entries.get(tensor)
    if entry is None or "params" not in entry.slots:
        raise TensorMismatch(tensor, "is not held: send it with the first step, or PUT …/params")
    if indices is None:
        return state.caught_up(tensor)
    check_rows(tensor, indices, entry.spec.shape)
    return state.caught_up(tensor, Rows.of(indices).take)
