"""The entries that torch keeps for one parameter: counts, and numbers that follow from others."""

import pytest
import torch
from optim_client.torch._entries import Place, read, write

from tests.engine.cases import Case
from tests.peers.torch_client.local import in_order, stepped


def place_of(optimizer: torch.optim.Optimizer, kind: str) -> Place:
    [group, *_] = optimizer.state_dict()["param_groups"]
    return Place(0, "conv", group, kind, in_order(optimizer)["conv"])


@pytest.mark.parametrize("t0", [1e6, 2.0])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_the_numbers_of_asgd_are_those_of_torch(t0: float, steps: int) -> None:
    optimizer = stepped(Case("", "asgd", {"t0": t0, "lambd": 0.1, "lr": 0.3}), torch.float32, steps)
    place, entries = place_of(optimizer, "asgd"), optimizer.state_dict()["state"][0]
    count, kept = read(place, entries)
    assert count == steps
    again = write(place, kept, steps)
    assert {name: again[name].item() for name in ("eta", "mu", "step")} == {
        name: entries[name].item() for name in ("eta", "mu", "step")
    }


def test_counts_beyond_float32_are_exact() -> None:
    optimizer = stepped(Case("", "adamw"), torch.float32)
    place, entries = place_of(optimizer, "adamw"), optimizer.state_dict()["state"][0]
    _, kept = read(place, entries)
    written = write(place, kept, 2**24 + 1)
    assert written["step"].item() == 2**24 + 1
    assert read(place, written)[0] == 2**24 + 1


def test_an_old_buffer_of_none_is_no_buffer() -> None:
    optimizer = stepped(Case("", "sgd", {"momentum": 0.9}), torch.float32)
    assert read(place_of(optimizer, "sgd"), {"momentum_buffer": None}) == (None, {})
