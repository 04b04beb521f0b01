"""The optimizer as torch's own tools use it: closures, hooks, scalers, clipping, pickles."""

import pickle
from typing import Any

import pytest
import torch
from lion_pytorch import Lion
from optim_client import APIConnectionError, Client, InvalidSession, NonFinite
from optim_client.torch import RemoteAdam, RemoteAdamW, RemoteOptimizer, RemoteSGD

from optim_engine import OPTIMIZERS
from tests.peers.torch_client.pairs import Pair, is_same, params_of


def test_a_closure_computes_the_loss_with_gradients(client: Client) -> None:
    param = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = RemoteSGD([("w", param)], lr=0.25, client=client)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = param.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure) == 4.0
    assert param.item() == 1.0
    assert optimizer.step(closure, wait=False).result() == 1.0
    assert [row.loss for row in optimizer.session.history()] == [4.0, 1.0]


def test_step_hooks_run_and_may_change_the_gradients(client: Client) -> None:
    pair = Pair(client, "sgd", lr=0.1)
    seen: list[str] = []

    def halve(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        seen.append("before")
        for param in optimizer.param_groups[0]["params"]:
            param.grad.mul_(0.5)

    for optimizer in (pair.local, pair.remote):
        optimizer.register_step_pre_hook(halve)
        optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    pair.step()
    assert seen == ["before", "after"] * 2
    assert pair.apart() <= 1e-6


@pytest.mark.parametrize("clip", [torch.nn.utils.clip_grad_norm_, torch.nn.utils.clip_grad_value_])
def test_clipped_gradients_are_those_that_are_sent(client: Client, clip: Any) -> None:
    pair = Pair(client, "adamw")
    for _ in range(5):
        pair.grads()
        for params, optimizer in ((pair.here, pair.local), (pair.there, pair.remote)):
            clip(params.values(), 0.1)
            optimizer.step()
    assert pair.apart() <= 1e-6
    assert pair.remote.session.metrics.clip_scale == 1.0


@pytest.mark.parametrize("unscaled_first", [False, True])
def test_a_scaler_scales_and_skips_as_with_torch(client: Client, unscaled_first: bool) -> None:
    pair = Pair(client, "adamw", lr=0.05)
    scalers = [torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=3) for _ in range(2)]
    for i in range(12):
        pair.grads()
        for scaler, optimizer, params in zip(scalers, (pair.local, pair.remote), (pair.here, pair.there), strict=True):
            scaler.scale(torch.ones(()))  # makes the scale, which a loss would be multiplied by
            for param in params.values():
                param.grad.mul_(scaler.get_scale())
            if i in (4, 5):
                params["conv"].grad[0, 0, 0] = torch.inf
            if unscaled_first:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
            scaler.step(optimizer)
            scaler.update()
        assert scalers[0].get_scale() == scalers[1].get_scale()
        assert pair.apart() <= 1e-5
    assert pair.remote.session.info.step == 10


def test_half_gradients_are_unscaled_by_the_service(client: Client) -> None:
    """torch refuses to unscale gradients in float16, which would become zero. Divided in the service they do not."""
    param = torch.nn.Parameter(torch.ones(2, dtype=torch.float16))
    optimizer = RemoteAdam([param], lr=0.5, eps=1e-30, client=client)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    scaler.scale(torch.ones(()))
    param.grad = torch.full_like(param, 2.0**-10)
    scaler.step(optimizer)
    assert optimizer.session.metrics.grad_norm == pytest.approx(2**0.5 * 2.0**-30)
    assert torch.equal(param, torch.full_like(param, 0.5))


def test_a_failed_step_leaves_no_scale_behind(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    param = torch.nn.Parameter(torch.ones(1))
    optimizer, scaler = RemoteSGD([param], client=client), torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.ones(()))
    param.grad = torch.ones(1)
    step = optimizer.session.step
    scales = []

    def flaky(*given: Any, **named: Any) -> Any:
        scales.append(named["grad_scale"])
        if len(scales) == 1:
            raise APIConnectionError("no answer")
        return step(*given, **named)

    monkeypatch.setattr(optimizer.session, "step", flaky)
    with pytest.raises(APIConnectionError):
        scaler.step(optimizer)
    scaler.step(optimizer)
    assert scales == [4.0, 4.0]


def test_a_refused_step_leaves_everything_as_it_was(client: Client) -> None:
    pair = Pair(client, "adamw")
    pair.step()
    before = {name: param.detach().clone() for name, param in pair.there.items()}
    pair.grads()
    pair.there["conv"].grad[0, 0, 0] = torch.nan
    with pytest.raises(NonFinite, match="0/conv"):
        pair.remote.step()
    assert is_same(pair.there, before)
    pair.there["conv"].grad = pair.here["conv"].grad.clone()
    pair.local.step()
    pair.remote.step()
    assert pair.apart() <= 1e-6


def test_lion_agrees_with_its_package(client: Client) -> None:
    here, there = params_of("lion"), params_of("lion")
    local = Lion(list(here.values()), lr=1e-3, weight_decay=0.1)
    remote = RemoteOptimizer(
        there.items(), "lion", lr=1e-3, weight_decay=0.1, client=client, decoupled_weight_decay=False
    )
    for i in range(20):
        for name, param in here.items():
            param.grad = torch.full_like(param, (-1.0) ** i * 0.1 + 0.01 * i)
            there[name].grad = param.grad.clone()
        local.step()
        remote.step()
    assert all(torch.allclose(here[name], there[name], atol=1e-6) for name in here)


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_every_rule_of_the_service_steps(client: Client, rule: str) -> None:
    params = params_of(rule)
    optimizer = RemoteOptimizer(params.items(), rule, lr=0.05, client=client)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    before = {name: param.detach().clone() for name, param in params.items()}
    for _ in range(2):
        for param in params.values():
            param.grad = torch.ones_like(param)
        optimizer.step()
        scheduler.step()
    assert not any(torch.equal(params[name], before[name]) for name in params)
    assert [row.lr for row in optimizer.session.history()] == [0.05, 0.025]


def test_an_unknown_rule_or_setting_is_refused(client: Client) -> None:
    params = list(params_of("sgd").values())
    with pytest.raises(ValueError, match="unknown rule 'adamx'; expected one of adabelief, "):
        RemoteOptimizer(params, "adamx", client=client)
    with pytest.raises(InvalidSession, match="momentums"):
        RemoteOptimizer(params, "sgd", momentums=0.9, client=client)


def test_a_pickled_optimizer_goes_on(server_url: str) -> None:
    with Client(server_url) as client:
        pair = Pair(client, "adamw")
        pair.step()
        pair.remote = pickle.loads(pickle.dumps(pair.remote))
        names = list(pair.there)
        pair.there = dict(zip(names, pair.remote.param_groups[0]["params"], strict=True))
        pair.step()
        assert pair.apart() <= 1e-6
        pair.remote.session.client.close()


def test_param_groups_show_as_those_of_torch(client: Client) -> None:
    optimizer = RemoteAdamW(params_of("adamw").values(), client=client)
    local = torch.optim.AdamW(params_of("adamw").values())
    assert repr(optimizer) == f"Remote{local!r}"


def test_a_compiled_training_step_steps(client: Client) -> None:
    param = torch.nn.Parameter(torch.ones(2))
    optimizer = RemoteSGD([param], lr=0.5, client=client)

    @torch.compile(backend="eager")
    def train() -> None:
        optimizer.zero_grad()
        param.sum().backward()
        optimizer.step()

    for _ in range(2):
        train()
    assert param.tolist() == [0.0, 0.0]
