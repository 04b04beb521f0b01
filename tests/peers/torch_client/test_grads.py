"""Gradients: none in some steps, sparse by rows, and tied parameters."""

from typing import Any

import pytest
import torch
from optim_client import Client
from optim_client.torch import RemoteAdagrad, RemoteAdam, RemoteAdamW, RemoteSGD

from tests.peers.torch_client.pairs import Pair, is_same


@pytest.mark.parametrize("rule", ["adamw", "sgd", "nadam"])
def test_parameters_without_a_gradient_stay(client: Client, rule: str) -> None:
    pair = Pair(client, rule, lr=0.05)
    for names in (["conv"], None, [], ["gain", "dense.bias"], None):
        pair.step(names)
        assert pair.apart() <= 1e-5
    counts = {name: tensor.step for name, tensor in pair.remote.session.get().tensors.items()}
    assert counts == {"0/conv": 3, "0/dense.weight": 2, "0/dense.bias": 3, "0/gain": 3}


torch.sparse.check_sparse_tensor_invariants.disable()  # its default, which torch warns of


def table() -> torch.nn.Embedding:
    torch.manual_seed(0)
    return torch.nn.Embedding(50, 3, sparse=True)


def train(optimizer: torch.optim.Optimizer, layer: torch.nn.Embedding) -> None:
    for i in range(8):
        optimizer.zero_grad()
        layer(torch.tensor([i, 2 * i, 7, i])).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize(
    ("remote", "local"), [(RemoteSGD, torch.optim.SGD), (RemoteAdagrad, torch.optim.Adagrad)], ids=["sgd", "adagrad"]
)
def test_sparse_gradients_are_those_of_torch(client: Client, remote: Any, local: Any, holds: bool) -> None:
    ours, theirs = table(), table()
    session = client.sessions.create(remote.rule, hold_params=holds)
    train(remote(ours.parameters(), lr=0.1, session=session), ours)
    train(local(theirs.parameters(), lr=0.1), theirs)
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)


def test_lazy_rows_are_those_of_sparse_adam(client: Client) -> None:
    ours, theirs = table(), table()
    group = {"params": list(ours.parameters()), "sparse": "lazy"}
    optimizer = RemoteAdam([group], lr=0.1, client=client)
    train(optimizer, ours)
    train(torch.optim.SparseAdam(list(theirs.parameters()), lr=0.1), theirs)
    never = torch.tensor([row for row in range(50) if row not in {7, *range(8), *range(0, 16, 2)}])
    assert torch.equal(ours.weight[never], theirs.weight[never])
    assert optimizer.session.info.groups[0]["sparse"] == "lazy"
    assert (optimizer.session.params()["0/0"] == ours.weight.detach().numpy()).all()


@pytest.mark.parametrize(
    ("remote", "settings"),
    [(RemoteAdamW, {}), (RemoteSGD, {"momentum": 0.9}), (RemoteAdagrad, {"weight_decay": 0.1})],
    ids=["adamw", "momentum", "decay"],
)
def test_sparse_gradients_that_move_other_rows_are_refused(
    client: Client, remote: Any, settings: dict[str, Any]
) -> None:
    layer = table()
    optimizer = remote(layer.parameters(), client=client, **settings)
    before = layer.weight.detach().clone()
    layer(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match=r"is sparse, and .* moves rows without a gradient too"):
        optimizer.step()
    assert torch.equal(layer.weight, before)


def test_tied_parameters_are_stepped_once(client: Client) -> None:
    def tied() -> torch.nn.Sequential:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 4))
        model[2].weight = model[0].weight
        return model

    ours, theirs = tied(), tied()
    optimizers = RemoteAdamW(ours.named_parameters(), client=client), torch.optim.AdamW(theirs.parameters())
    for optimizer, model in zip(optimizers, (ours, theirs), strict=True):
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).square().sum().backward()
            optimizer.step()
    assert ours[2].weight is ours[0].weight
    assert torch.allclose(ours[0].weight, theirs[0].weight, atol=1e-6)


def test_zeroed_gradients_are_gradients(client: Client) -> None:
    pair = Pair(client, "adamw")
    pair.step()
    for optimizer in (pair.local, pair.remote):
        optimizer.zero_grad(set_to_none=False)
        optimizer.step()
    assert pair.remote.session.info.step == 2
    assert pair.apart() <= 1e-6
    pair.remote.zero_grad()
    before = {name: param.detach().clone() for name, param in pair.there.items()}
    pair.remote.step()
    assert pair.remote.session.info.step == 2
    assert is_same(pair.there, before)
