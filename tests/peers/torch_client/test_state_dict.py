"""States in torch's own format: from the local class to the service and back, with the moments to the bit."""

import io
from typing import Any

import pytest
import torch
from optim_client import Client

from tests.peers.torch_client.pairs import REMOTE, Pair, is_same, params_of

SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9},
    "adamw": {"amsgrad": True},
    "rmsprop": {"centered": True, "momentum": 0.5},
}


def entries(state_dict: dict[str, Any]) -> dict[tuple[int, str], torch.Tensor]:
    return {
        (number, name): torch.as_tensor(value)
        for number, kept in state_dict["state"].items()
        for name, value in kept.items()
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("rule", REMOTE)
def test_a_run_goes_on_remotely_and_comes_back(client: Client, rule: str, dtype: torch.dtype) -> None:
    pair = Pair(client, rule, dtype=dtype, lr=0.02, **SETTINGS.get(rule, {}))
    for _ in range(3):
        pair.grads()
        pair.local.step()
    for name, param in pair.here.items():
        pair.there[name].data.copy_(param)
    begun = pair.local.state_dict()
    pair.remote.load_state_dict(begun)
    there = entries(pair.remote.state_dict())
    for key, value in entries(begun).items():
        if key[1] not in ("step", "eta", "mu", "mu_product"):
            assert torch.equal(there[key], value), key
    for _ in range(3):
        pair.step()
    within = 2e-2 if rule == "muon" else 1e-5
    assert pair.apart() <= within
    pair.local.load_state_dict(pair.remote.state_dict())
    pair.step()
    assert pair.apart() <= within


def test_a_state_restored_by_the_safe_loader_keeps_its_bits(client: Client) -> None:
    pair = Pair(client, "adamw", lr=0.05)
    for _ in range(3):
        pair.step()
    file, values = io.BytesIO(), {name: param.detach().clone() for name, param in pair.there.items()}
    torch.save(pair.remote.state_dict(), file)
    pair.step()
    after = {name: param.detach().clone() for name, param in pair.there.items()}
    file.seek(0)
    pair.remote.load_state_dict(torch.load(file, weights_only=True))
    for name, param in pair.there.items():
        param.data.copy_(values[name])
    assert pair.remote.session.info.step == 3
    for param, other in zip(pair.there.values(), pair.here.values(), strict=True):
        param.grad = other.grad
    pair.remote.step()
    assert is_same(pair.there, after)


def test_hooks_see_the_state(client: Client) -> None:
    pair = Pair(client, "sgd", lr=0.05, momentum=0.9)
    pair.step()
    seen = []
    pair.remote.register_state_dict_pre_hook(lambda _: seen.append("save"))
    pair.remote.register_state_dict_post_hook(lambda _, state: seen.append(len(state["state"])))
    pair.remote.register_load_state_dict_pre_hook(lambda _, state: seen.append(len(state["state"])))
    pair.remote.register_load_state_dict_post_hook(lambda _: seen.append("loaded"))
    pair.remote.load_state_dict(pair.remote.state_dict())
    assert seen == ["save", 4, 4, "loaded"]


def test_loaded_groups_bring_their_values_and_not_their_flags(client: Client) -> None:
    params = params_of("adamw")
    optimizer = REMOTE["adamw"](params.items(), client=client)
    local = torch.optim.AdamW(params_of("adamw").items(), lr=0.25, betas=(0.5, 0.6), foreach=True)
    optimizer.load_state_dict(local.state_dict())
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["foreach"]) == (0.25, (0.5, 0.6), None)
    for param in params.values():
        param.grad = torch.ones_like(param)
    optimizer.step()
    assert optimizer.session.metrics.lr == 0.25


def renamed(state: dict[str, Any]) -> None:
    state["param_groups"][0]["param_names"][0] = "other"


def reshaped(state: dict[str, Any]) -> None:
    state["state"][0]["exp_avg"] = torch.zeros(2)


def retyped(state: dict[str, Any]) -> None:
    state["state"][0]["exp_avg"] = state["state"][0]["exp_avg"].double()


def regrouped(state: dict[str, Any]) -> None:
    state["param_groups"] *= 2


@pytest.mark.parametrize("change", [renamed, reshaped, retyped, regrouped])
def test_a_state_of_other_parameters_is_refused(client: Client, change: Any) -> None:
    pair = Pair(client, "adamw")
    pair.step()
    state, before = pair.local.state_dict(), pair.remote.session.get()
    change(state)
    with pytest.raises(ValueError, match=r"param|exp_avg"):
        pair.remote.load_state_dict(state)
    assert pair.remote.session.get().digest == before.digest


def test_a_state_of_another_optimizer_is_refused(client: Client) -> None:
    pair, other = Pair(client, "adamw"), Pair(client, "adamax")
    other.step()
    with pytest.raises(ValueError, match="is of Adamax"):
        pair.remote.load_state_dict(other.local.state_dict())
