"""Workers: several optimizers that train one session, each with gradients of its own, beside one local optimizer."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
from optim_client import Client, Session
from optim_client.torch import RemoteAdamW, RemoteSGD, StepAhead
from torch.optim.lr_scheduler import ExponentialLR

from tests.peers.torch_client.pairs import is_same, params_of

NAMES = ("gpu-0", "gpu-1", "gpu-2")
WEIGHTS = (1, 3, 4)


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [running.result() for running in [pool.submit(call) for call in calls]]


def shared(client: Client, expected: int = len(NAMES)) -> Session:
    return client.sessions.create("adamw", hold_params=True, workers={"expected": expected, "quorum": expected})


class Team:
    """Optimizers of several workers, and a local one that is given the mean of their gradients."""

    def __init__(self, client: Client, session: Session, **settings: Any) -> None:
        self.params = [params_of("adamw") for _ in NAMES]
        for factor, params in enumerate(self.params):
            for param in params.values():
                param.data.mul_(factor + 1)
        self.remote: list[RemoteAdamW] = at_once(
            [
                partial(RemoteAdamW, params.items(), client=client, session=session.id, worker=name, **settings)
                for params, name in zip(self.params, NAMES, strict=True)
            ]
        )
        self.here = {name: torch.nn.Parameter(param.detach().clone()) for name, param in self.params[0].items()}
        self.local = torch.optim.AdamW(self.here.values(), **settings)
        self._draw = torch.Generator().manual_seed(1)

    def step(self, **options: Any) -> list[Any]:
        for name, param in self.here.items():
            grads = [torch.randn(param.shape, generator=self._draw) for _ in NAMES]
            param.grad = torch.stack([w * grad for w, grad in zip(WEIGHTS, grads, strict=True)]).sum(0) / sum(WEIGHTS)
            for params, grad in zip(self.params, grads, strict=True):
                params[name].grad = grad
        self.local.step()
        pairs = zip(self.remote, WEIGHTS, strict=True)
        return at_once([partial(optimizer.step, weight=weight, **options) for optimizer, weight in pairs])

    def check(self) -> None:
        assert all(is_same(params, self.params[0]) for params in self.params)
        for name, param in self.here.items():
            assert torch.allclose(self.params[0][name], param, atol=1e-5)


def test_workers_train_as_one_optimizer_with_the_mean(client: Client) -> None:
    session = shared(client)
    team, used = Team(client, session, lr=0.05), []
    team.check()
    schedulers = [ExponentialLR(each, 0.5) for each in (team.local, *team.remote)]
    for _ in range(6):
        used.append(team.local.param_groups[0]["lr"])
        team.step()
        team.check()
        for scheduler in schedulers:
            scheduler.step()
    assert [row.lr for row in session.history()] == used


def test_steps_of_workers_run_ahead(client: Client) -> None:
    team = Team(client, shared(client), lr=0.05)
    before = [params["gain"].item() for params in team.params]
    ahead: list[StepAhead[Any]] = team.step(wait=False)
    assert [params["gain"].item() for params in team.params] == before
    for each in ahead:
        each.result()
    team.check()


def test_a_worker_takes_the_parameters_of_the_session(client: Client) -> None:
    team = Team(client, shared(client), lr=0.05)
    team.step()
    other = {name: torch.nn.Parameter(torch.zeros_like(param)) for name, param in team.here.items()}
    team.remote[1] = RemoteAdamW(
        other.items(), client=client, session=team.remote[1].session.id, worker=NAMES[1], lr=0.05
    )
    team.params[1] = other
    team.check()
    team.step()
    team.check()


def test_a_late_worker_changes_nothing_and_goes_on(client: Client) -> None:
    session = client.sessions.create("adamw", hold_params=True, workers={"expected": 2, "grace_seconds": 0})
    models = [params_of("adamw") for _ in range(2)]
    early, late = (
        RemoteAdamW(params.items(), client=client, session=session.id, worker=name, lr=0.05)
        for params, name in zip(models, NAMES, strict=False)
    )
    for param in (*models[0].values(), *models[1].values()):
        param.grad = torch.ones_like(param)
    early.step()
    late.param_groups[0]["lr"] = 7.0  # of a round that is closed
    late.step()
    assert is_same(*models)
    assert session.get().step == 1
    late.param_groups[0]["lr"] = 0.01
    late.step()
    assert [row.lr for row in session.history()] == [0.05, 0.01]


def test_a_parameter_changed_by_a_worker_is_refused(client: Client) -> None:
    session, params = shared(client, expected=1), params_of("adamw")
    optimizer = RemoteAdamW(params.items(), client=client, session=session.id, worker="gpu-0")
    for param in params.values():
        param.grad = torch.ones_like(param)
    optimizer.step()
    params["gain"].data.fill_(7.0)
    with pytest.raises(ValueError, match="'0/gain' was changed since the last step"):
        optimizer.step()
    assert session.get().step == 1


def test_a_new_parameter_of_a_worker_is_refused(client: Client) -> None:
    session, params = shared(client, expected=1), params_of("adamw")
    optimizer = RemoteAdamW(params.items(), client=client, session=session.id, worker="gpu-0")
    with pytest.raises(ValueError, match="has no tensor '1/new', and gets none while it has workers"):
        optimizer.add_param_group({"params": [("new", torch.nn.Parameter(torch.ones(2)))], "lr": 0.5})
    for param in params.values():
        param.grad = torch.ones_like(param)
    optimizer.step()
    assert session.get().step == 1
    assert len(session.info.groups) == 1


def test_a_worker_without_rounds_takes_steps_with_its_settings(client: Client) -> None:
    session, params = client.sessions.create("adamw", hold_params=True, workers={"mode": "async"}), params_of("adamw")
    optimizer = RemoteAdamW(params.items(), client=client, session=session.id, worker="gpu-0", lr=0.5)
    for lr in (0.5, 0.25):
        for param in params.values():
            param.grad = torch.ones_like(param)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    assert [row.lr for row in session.history()] == [0.5, 0.25]


def test_an_optimizer_of_a_worker_is_not_copied(client: Client) -> None:
    optimizer = RemoteAdamW(params_of("adamw").items(), client=client, session=shared(client, 1).id, worker="gpu-0")
    with pytest.raises(TypeError, match="cannot be copied"):
        copy.deepcopy(optimizer)


def test_a_worker_without_a_session_of_workers_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="worker 'gpu-0' needs the session that it shares"):
        RemoteAdamW(params_of("adamw").items(), client=client, worker="gpu-0")
    alone = client.sessions.create("adamw", hold_params=True)
    with pytest.raises(ValueError, match="has no workers"):
        RemoteAdamW(params_of("adamw").items(), session=alone, worker="gpu-0")
    assert not alone.get().tensors


def test_a_weight_without_a_worker_is_refused(client: Client) -> None:
    params = params_of("sgd")
    optimizer = RemoteSGD(params.items(), client=client)
    params["gain"].grad = torch.tensor(1.0)
    with pytest.raises(TypeError, match="make the optimizer with worker="):
        optimizer.step(weight=3)
    assert optimizer.session.info.step == 0
