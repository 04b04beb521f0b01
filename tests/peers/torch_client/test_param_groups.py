"""Param groups as the session's groups: names, patterns, values and what a step overrides."""

from typing import Any

import pytest
import torch
from optim_client import Client, InvalidSession
from optim_client.torch import RemoteAdamW, RemoteSGD, _param_groups

from tests.peers.torch_client.pairs import Pair

FLAGS: list[dict[str, Any]] = [{"fused": True}, {"foreach": True}, {"capturable": True}, {"differentiable": True}]


def some(count: int = 2) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.ones(2)) for _ in range(count)]


def test_tensors_are_named_by_group_and_parameter(client: Client) -> None:
    w, b, v = some(3)
    optimizer = RemoteAdamW([{"params": [("*[x]?", w), ("b", b)]}, {"params": [("b", v)]}], client=client)
    w.grad, v.grad = torch.ones(2), torch.ones(2)
    optimizer.step()
    tensors = optimizer.session.get().tensors
    assert {name: tensor.group for name, tensor in tensors.items()} == {"0/*[x]?": 0, "0/b": 0, "1/b": 1}
    assert {name: tensor.step for name, tensor in tensors.items()} == {"0/*[x]?": 1, "0/b": 0, "1/b": 1}


def test_parameters_without_names_have_the_numbers_of_state_dict(client: Client) -> None:
    w, b, v = some(3)
    optimizer = RemoteAdamW([{"params": [w, b]}, {"params": [v]}], client=client)
    assert list(_param_groups.named(optimizer.param_groups)) == ["0/0", "0/1", "1/2"]


def test_two_parameters_of_one_name_are_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="two parameters are named 'w' in param group 0"):
        RemoteAdamW([("w", param) for param in some()], client=client)


@pytest.mark.parametrize("flag", FLAGS, ids=str)
def test_a_flag_of_execution_is_refused_if_on(client: Client, flag: dict[str, Any]) -> None:
    (name,) = flag
    with pytest.raises(ValueError, match=f"{name}=True says how torch computes a step"):
        RemoteAdamW(some(), client=client, **flag)
    RemoteAdamW(some(), client=client, **{name: False})


def test_groups_have_every_value_so_biases_decay(client: Client) -> None:
    optimizer = RemoteAdamW([("bias", some(1)[0])], weight_decay=0.5, client=client)
    (group,) = optimizer.session.info.groups
    assert (group["match"], group["weight_decay"], group["betas"]) == (["0/*"], 0.5, [0.9, 0.999])
    assert optimizer.session.info.hyperparameters["weight_decay"] == 0.5


def test_numbers_are_overrides_and_flags_change_the_session(client: Client) -> None:
    optimizer = RemoteSGD(some(), lr=0.1, client=client)
    (group,) = optimizer.param_groups
    known = _param_groups.settings("sgd", [group], optimizer.defaults)
    for changes, expected in [
        ({"lr": 0.5}, {"lr": 0.5, "groups": {"0": {"lr": 0.5}}}),
        ({"weight_decay": 0.5}, {"groups": {"0": {"weight_decay": 0.5}}}),
        ({"maximize": True}, None),
        ({"momentum": 0.5}, None),
        ({"initial_lr": 1.0, "mine": object()}, {}),
    ]:
        wanted = _param_groups.settings("sgd", [{**group, **changes}], optimizer.defaults)
        assert _param_groups.overrides(known, wanted) == expected


def test_decoupled_decay_cannot_be_switched_off_in_adamw(client: Client) -> None:
    optimizer = RemoteAdamW(some(), client=client)
    optimizer.param_groups[0]["decoupled_weight_decay"] = False
    optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
    with pytest.raises(ValueError, match="decoupled_weight_decay must be True"):
        optimizer.step()


def test_a_group_added_later_is_one_more_group(client: Client) -> None:
    pair = Pair(client, "adamw", lr=0.05, groups=lambda params: [{"params": [*params.items()][:2]}])
    pair.step()
    for optimizer, params in ((pair.local, pair.here), (pair.remote, pair.there)):
        optimizer.add_param_group({"params": [*params.items()][2:], "lr": 0.2, "weight_decay": 0.3})
    for _ in range(5):
        pair.step()
    assert pair.apart() <= 1e-5
    info = pair.remote.session.get()
    assert [group["lr"] for group in info.groups] == [0.05, 0.2]
    assert {name: tensor.step for name, tensor in info.tensors.items()} == {
        "0/conv": 6,
        "0/dense.weight": 6,
        "1/dense.bias": 5,
        "1/gain": 5,
    }


@pytest.mark.parametrize(
    ("group", "error"),
    [
        ({"params": some(1), "fused": True}, ValueError),
        ({"params": some(1), "lr": -1.0}, InvalidSession),
        ({"params": [torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))]}, TypeError),
    ],
    ids=["flag", "range", "dtype"],
)
def test_a_refused_group_leaves_the_optimizer_whole(
    client: Client, group: dict[str, Any], error: type[Exception]
) -> None:
    (param,) = some(1)
    optimizer = RemoteAdamW([param], client=client)
    with pytest.raises(error):
        optimizer.add_param_group(dict(group))
    assert len(optimizer.param_groups) == 1
    param.grad = torch.ones(2)
    optimizer.step()
    assert optimizer.session.info.step == 1
