"""The types in what torch saved: junk in any place is refused with a `ValueError`, and nothing else happens."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optim_client import Client
from optim_client.torch import export_torch
from optim_client.torch._checks import document_of, parts_of
from optim_client.torch._files import from_file

JUNK = [None, -1, 2.5, "x", [], {}, [1], {"a": 1}, {1: 2}, torch.ones(3), torch.ones(()), (1, 2), b"x", 10**30]


@pytest.fixture(params=["whole", "local"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return what a file of torch has: one of the service, and one of a local optimizer."""
    with Client("memory:") as client:
        session = client.sessions.create("adamw", hold_params=True, groups=[{"match": ["b"], "lr": 0.5}])
        params = {"w": np.ones((2, 3), "f4"), "b": np.ones(3, "f8")}
        session.put_params(params)
        session.step(grads=params)
        session.save_state(tmp_path / "state")
    export_torch(tmp_path / "state", tmp_path / "state.pt")
    read: dict[str, Any] = torch.load(tmp_path / "state.pt")
    return read if request.param == "whole" else {name: read[name] for name in ("state", "param_groups")}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each object or list in a value, with each of its keys."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def test_junk_in_any_place_is_refused_or_taken(saved: dict[str, Any]) -> None:
    refused = 0
    for i in range(len(list(places(saved)))):
        for junk in JUNK:
            changed = deepcopy(saved)
            holder, key = list(places(changed))[i]
            holder[key] = junk
            try:
                from_file(changed)
            except ValueError:
                refused += 1
    assert refused > 300


@pytest.mark.parametrize("value", [None, [], "x", {"state": {}}, {"state": [], "param_groups": []}])
def test_other_values_are_no_state(value: Any) -> None:
    with pytest.raises(ValueError, match="expected what `state_dict"):
        parts_of(value)


def test_a_document_must_be_json() -> None:
    for value in ({"optimizer": torch.ones(1)}, {"optimizer": float("nan")}, None, {"optimizer": "adamw"}):
        with pytest.raises(ValueError, match="`session` is not the document of a session"):
            document_of(value)
