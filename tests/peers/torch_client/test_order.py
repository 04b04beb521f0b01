"""The order of parameters in a state: by name, where torch goes by place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from optim_client import Client
from optim_client.torch import RemoteAdamW, by_name, export_torch


def made(*names: str, kind: type[torch.optim.Optimizer] = torch.optim.AdamW) -> torch.optim.Optimizer:
    """Return a stepped optimizer of vectors, each of the length of its name and with moments of its own."""
    params = [(name, torch.nn.Parameter(torch.ones(len(name)))) for name in names]
    optimizer: torch.optim.Optimizer = kind(params)  # type: ignore[call-arg]
    for name, param in params:
        param.grad = torch.full(param.shape, float(len(name)))
    optimizer.step()
    return optimizer


def moment(optimizer: torch.optim.Optimizer, name: str) -> torch.Tensor:
    [group] = optimizer.param_groups
    exp_avg: torch.Tensor = optimizer.state[group["params"][group["param_names"].index(name)]]["exp_avg"]
    return exp_avg


def test_moments_go_to_the_parameter_of_their_name() -> None:
    theirs, ours = made("a", "bb", "ccc"), made("ccc", "new", "a", "bb")
    ours.register_load_state_dict_pre_hook(by_name)
    ours.load_state_dict(theirs.state_dict())
    for name in ("a", "bb", "ccc"):
        assert torch.equal(moment(ours, name), moment(theirs, name))
    assert len(ours.state) == 3
    assert ours.param_groups[0]["param_names"] == ["ccc", "new", "a", "bb"]


def test_a_file_of_a_remote_optimizer_goes_on_locally(client: Client, tmp_path: Path) -> None:
    """Its session names the parameters `0/a` and `0/bb`."""
    params = [(name, torch.nn.Parameter(torch.ones(len(name)))) for name in ("bb", "a")]
    remote, local = RemoteAdamW(params, lr=0.5, client=client), torch.optim.AdamW(params)
    for _, param in params:
        param.grad = torch.ones(param.shape)
    remote.step()
    remote.session.save_state(tmp_path / "state")
    export_torch(tmp_path / "state", tmp_path / "state.pt")
    local.load_state_dict(by_name(local, torch.load(tmp_path / "state.pt")))
    assert local.param_groups[0]["lr"] == 0.5
    assert [local.state[param]["step"].item() for _, param in params] == [1, 1]
    assert torch.equal(local.state[params[0][1]]["exp_avg"], remote.state_dict()["state"][0]["exp_avg"])


Change = Callable[[dict[str, Any]], Any]
REFUSED: list[tuple[Change, str]] = [
    (lambda d: d["param_groups"][0].pop("param_names"), "a group has no names: make the optimizer with model.named_"),
    (lambda d: d["param_groups"][0].update(param_names=["a", "x"]), "'x' of the state is none of the optimizer's"),
    (lambda d: d["param_groups"][0].update(param_names=["bb", "a"]), r"'exp_avg' is float32 \[2\] and should be"),
    (
        lambda d: d["param_groups"][0].update(decoupled_weight_decay=False),
        "the state is of adam, the optimizer is adamw",
    ),
    (
        lambda d: d["param_groups"].append({**d["param_groups"][0], "params": [9], "param_names": ["ccc"], "lr": 1.0}),
        "parameters of one group have different settings in the state",
    ),
]


@pytest.mark.parametrize(("change", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_a_state_of_others_is_refused_before_it_is_loaded(change: Change, words: str) -> None:
    ours, read = made("ccc", "a", "bb"), made("a", "bb").state_dict()
    before = {name: moment(ours, name).clone() for name in ("a", "bb", "ccc")}
    change(read)
    ours.register_load_state_dict_pre_hook(by_name)
    with pytest.raises(ValueError, match=words):
        ours.load_state_dict(read)
    assert all(torch.equal(moment(ours, name), kept) for name, kept in before.items())
