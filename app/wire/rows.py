"""The rows of sparse gradients: checks of what both forms bring. Knows no session, so not how many rows a table has.

What is wrong with the indices alone makes a body malformed; indices that do not fit their gradient are a mismatch.
"""

from app.errors import MalformedBody, TensorMismatch
from optim_engine.arrays import Array, Arrays


def checked_rows(rows: Arrays, grads: Arrays) -> dict[str, Array]:
    """Return a copy of the indices of rows, of which each gradient has as many. A tensor may have none.

    A copy, because a client may share the memory of the body, and change what was checked.
    Raises `MalformedBody` and `TensorMismatch`.
    """
    return {name: _checked(name, indices, grads.get(name)) for name, indices in rows.items()} if rows else {}


def _checked(name: str, indices: Array, g: Array | None) -> Array:
    indices = checked_indices(f"rows/{name}", indices)
    if g is None:
        raise TensorMismatch(f"tensor {name!r:.80} has rows and no gradient: send grads/{name:.80} too", tensor=name)
    if g.ndim == 0:
        raise TensorMismatch(
            f"tensor {name!r:.80} has rows, and its gradient has no dimension: leave rows/{name:.80} out", tensor=name
        )
    if len(g) != len(indices):
        raise TensorMismatch(
            f"tensor {name!r:.80} has {len(indices)} rows, and a gradient of {len(g)}: its first dimension must be the "
            "number of rows",
            tensor=name,
            expected=str([len(indices), *g.shape[1:]]),
            got=str(list(g.shape)),
        )
    return indices


def checked_indices(name: str, indices: Array) -> Array:
    """Return a copy of indices that are one list, strictly increasing from 0 on. Raises `MalformedBody`."""
    if indices.ndim != 1:
        raise MalformedBody(
            f"tensor {name!r:.80} must be one flat list of indices, and has {indices.ndim} dimensions", tensor=name
        )
    indices = indices.copy()
    if indices.size and indices[0] < 0:
        raise MalformedBody(f"tensor {name!r:.80} has the index {indices[0]} at [0]: they begin at 0", tensor=name)
    if not (rising := indices[1:] > indices[:-1]).all():
        i = int(rising.argmin()) + 1
        raise MalformedBody(
            f"tensor {name!r:.80} must be strictly increasing, and has {indices[i]} at [{i}] after {indices[i - 1]}: "
            "sort the indices, and add up what has the same one",
            tensor=name,
        )
    return indices
