"""Rows that are named in JSON: lists of whole numbers by the names of tensors, and what is wrong with others."""

import numpy as np
import pytest

from app.errors import MalformedBody
from app.wire.codec import Limits
from app.wire.named_rows import read_rows

LIMITS = Limits(2, 10)


def test_rows_are_read_by_the_name_of_their_tensor() -> None:
    found = read_rows(b'{"rows": {"emb": [3, 17], "none": []}}', LIMITS)
    assert {name: (rows.dtype, rows.tolist()) for name, rows in found.items()} == {
        "emb": (np.dtype(np.int64), [3, 17]),
        "none": (np.dtype(np.int64), []),
    }


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "an object with `rows` alone"),
        (b'{"rows": [3]}', "an object with `rows` alone"),
        (b'{"rows": {}, "params": {}}', "an object with `rows` alone"),
        (b'{"rows": {"emb": 3}}', "'emb': its rows must be a list of whole numbers, not 3"),
        (b'{"rows": {"emb": [3, 4.5]}}', "not 4.5"),
        (b'{"rows": {"emb": [true]}}', "not true"),
        (b'{"rows": {"emb": [[1]]}}', "not a list"),
        (b'{"rows": {"emb": [36893488147419103232]}}', "not 3.6893488147419103e"),
        (b'{"rows": {"emb": [-1]}}', "has the index -1"),
        (b'{"rows": {"emb": [3, 3]}}', "must be strictly increasing"),
        (b'{"rows": {"a": [], "b": [], "c": []}}', "3 tensors are more than the 2"),
        (b'{"rows": {"a-longer-name": []}}', "must have 1 to 10 characters"),
    ],
)
def test_a_body_of_other_rows_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(MalformedBody, match=words.replace("[", r"\[")):
        read_rows(body, LIMITS)
