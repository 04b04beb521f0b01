"""Rows of tensors by their names, as JSON: `{"rows": {"emb": [3, 17]}}`."""

import numpy as np

from app.errors import MalformedBody
from app.wire.codec import Buffer, Limits
from app.wire.json_text import read_text
from app.wire.rows import checked_indices
from optim_engine.arrays import Array
from optim_engine.fields import LARGEST_INTEGER, named


def read_rows(body: Buffer, limits: Limits) -> dict[str, Array]:
    """Return the indices by the name of their tensor. Raises `MalformedBody`."""
    document = read_text(body, "the body", limits.max_json_depth)
    if not isinstance(document, dict) or document.keys() != {"rows"} or not isinstance(document["rows"], dict):
        raise MalformedBody('the body must be an object with `rows` alone, such as {"rows": {"emb": [3, 17]}}')
    rows = document["rows"]
    limits.check_count(len(rows))
    for name in rows:
        limits.check_name(name)
    return {name: checked_indices(f"rows/{name}", _indices(name, indices)) for name, indices in rows.items()}


def _indices(name: str, indices: object) -> Array:
    wrong = _others(indices) if isinstance(indices, list) else [indices]
    if wrong:
        words = f"tensor {name!r:.80}: its rows must be a list of whole numbers, not {named(wrong[0])}"
        raise MalformedBody(words, tensor=name)
    return np.array(indices, np.int64)


def _others(indices: list[object]) -> list[object]:
    """Return the members that are no whole numbers."""
    return [i for i in indices if type(i) is not int or abs(i) > LARGEST_INTEGER]
