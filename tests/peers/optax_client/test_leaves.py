"""Names of the arrays of JAX trees."""

from typing import Any, NamedTuple

import numpy as np
import optax
import pytest
from optim_client._trees import flattened
from optim_client.optax._leaves import named_leaves


class Point(NamedTuple):
    x: Any
    y: Any


def test_names_are_those_of_the_clients_trees() -> None:
    tree = {"a": {"b": np.ones(1)}, "l": [np.ones(1), (np.ones(1),)], "p": Point(np.ones(1), None)}
    names = {name for name, leaf in flattened("params", tree).items() if leaf is not None}
    assert named_leaves("params", tree).keys() == names == {"a/b", "l/0", "l/1/0", "p/x"}


def test_an_array_alone_and_masked_leaves_have_names_too() -> None:
    assert named_leaves("params", np.ones(1)).keys() == {"params"}
    assert named_leaves("params", {"a": optax.MaskedNode(), "b": None, "c": np.ones(1)}).keys() == {"c"}


def test_two_arrays_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two arrays named 'a/b'"):
        named_leaves("grads", {"a": {"b": np.ones(1)}, "a/b": np.ones(1)})
