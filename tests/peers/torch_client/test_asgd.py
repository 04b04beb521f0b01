"""ASGD's rate beside torch's own, which follows a change of the settings one step later."""

from typing import Any

import pytest
import torch
from optim_client import Client, NonFinite
from optim_client.torch import RemoteASGD
from torch.optim.lr_scheduler import ExponentialLR

from tests.peers.torch_client.pairs import Pair, Params

SETTINGS: dict[str, Any] = {"lr": 0.2, "lambd": 0.1}


def in_groups(params: Params) -> list[dict[str, Any]]:
    first, *others = params.items()
    return [{"params": [first]}, {"params": others, "lr": 0.05}]


class Scheduled(Pair):
    """A pair under schedulers that make the learning rates much smaller at each step."""

    def __init__(self, client: Client) -> None:
        super().__init__(client, "asgd", groups=in_groups, **SETTINGS)
        self.schedulers = [ExponentialLR(each, 0.7) for each in (self.local, self.remote)]

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
            for scheduler in self.schedulers:
                scheduler.step()


@pytest.mark.parametrize("changes", [{"alpha": 0.1}, {"t0": 2.0}, {"lr": 0.01, "alpha": 1.5, "t0": 0.0}], ids=str)
def test_a_changed_setting_holds_when_it_does_in_torch(client: Client, changes: dict[str, Any]) -> None:
    pair = Pair(client, "asgd", **SETTINGS)
    for i in range(8):
        if i == 4:
            for optimizer in (pair.local, pair.remote):
                optimizer.param_groups[0].update(changes)
        pair.step()
    assert pair.apart() <= 1e-5
    kept, ours = pair.local.state_dict()["state"], pair.remote.state_dict()["state"]
    for number, entries in kept.items():
        for name in ("eta", "mu", "ax"):
            assert torch.allclose(ours[number][name], entries[name], rtol=1e-5, atol=1e-6), name


def test_a_state_between_two_rates_goes_both_ways(client: Client) -> None:
    pair = Scheduled(client)
    pair.run(3)
    pair.remote.load_state_dict(pair.local.state_dict())
    pair.run(3)
    assert pair.apart() <= 1e-5
    pair.local.load_state_dict(pair.remote.state_dict())
    pair.run(3)
    assert pair.apart() <= 1e-5


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_resumed_run_uses_the_rate_of_its_last_step(client: Client) -> None:
    pair = Scheduled(client)
    pair.run(3)
    pair.remote = RemoteASGD.resume(client, pair.remote.session, in_groups(pair.there))
    pair.schedulers[1] = ExponentialLR(pair.remote, 0.7)
    for _ in range(pair.remote.session.info.step):
        pair.schedulers[1].step()
    pair.run(3)
    assert pair.apart() <= 1e-5


def test_a_refused_step_leaves_the_rate_as_it_was(client: Client) -> None:
    pair = Scheduled(client)
    pair.run(2)
    given = pair.there["gain"].grad
    pair.there["gain"].grad = torch.tensor(float("nan"))
    with pytest.raises(NonFinite):
        pair.remote.step()
    pair.there["gain"].grad = given
    pair.run(2)
    assert pair.apart() <= 1e-5
