"""Parameters that code changes between two steps: the session gets them, whoever wrote them."""

from collections.abc import Callable

import pytest
import torch
from optim_client import Client
from optim_client.torch import RemoteAdamW
from optim_client.torch._held import Held
from optim_client.torch._memory import Staging

from tests.peers.torch_client.pairs import Pair, Params


def clamp(params: Params) -> None:
    params["conv"].data.clamp_(-0.01, 0.01)


def assign(params: Params) -> None:
    params["dense.weight"].data = torch.zeros(4, 3)


def fill(params: Params) -> None:
    with torch.no_grad():
        params["gain"].fill_(3)


@pytest.mark.parametrize("change", [clamp, assign, fill])
def test_a_change_between_steps_counts(client: Client, change: Callable[[Params], None]) -> None:
    pair = Pair(client, "adamw", lr=0.05)
    for i in range(6):
        pair.step()
        if i == 2:
            change(pair.here)
            change(pair.there)
    assert pair.apart() <= 1e-5
    held = pair.remote.session.params()
    assert all((held[f"0/{name}"] == array).all() for name, array in pair.arrays.items())


def test_an_unchanged_parameter_is_put_once(client: Client) -> None:
    pair = Pair(client, "adamw")
    put = list[int]()
    session = pair.remote.session
    original, session.put_params = session.put_params, lambda params: (put.append(len(params)), original(params))
    for names in (None, ["conv"], None, ["gain", "conv"], None):
        pair.step(names)
    assert put == [4]
    clamp(pair.there)
    pair.step()
    assert put == [4, 1]


def test_a_nan_in_a_parameter_is_no_change() -> None:
    param = torch.full((3,), torch.nan)
    held = Held(Staging())
    held.put({"w": param}, Staging().arrays({"w": param}))
    assert not held.changed({"w": param})
    param[0] = 1
    assert held.changed({"w": param})


def test_answers_of_some_parameters_keep_no_whole_answer() -> None:
    params = {name: torch.zeros(2) for name in "ab"}
    held, answer = Held(Staging()), Staging().arrays({name: torch.ones(2) for name in "ab"})
    held.put(params, Staging().arrays(params))
    Staging().write(params, {"a": answer["a"]})
    held.answered(params, {"a": answer["a"]})
    answer["a"][:] = 7  # the answer's memory is used again
    assert not held.changed(params)


def test_put_params_puts_all(client: Client) -> None:
    param = torch.nn.Parameter(torch.ones(2))
    optimizer = RemoteAdamW([("w", param)], client=client)
    optimizer.put_params()
    assert optimizer.session.params()["0/w"].tolist() == [1, 1]
