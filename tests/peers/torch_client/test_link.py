"""Sessions of an optimizer: new ones, those that it goes on with, and the road back after a crash of the trainer."""

from typing import Any

import pytest
import torch
from optim_client import Client, ParamsConflict, SessionNotFound
from optim_client.torch import RemoteAdam, RemoteAdamW, RemoteOptimizer, RemoteSGD

from tests.peers.torch_client.pairs import Pair, is_same, params_of


def begun(client: Client, *, holds: bool, steps: int = 5) -> Pair:
    pair = Pair(client, "adamw", lr=0.05, session=client.sessions.create("adamw", hold_params=holds))
    for _ in range(steps):
        pair.step()
    return pair


def test_a_new_session_holds_the_parameters(client: Client) -> None:
    optimizer = RemoteAdamW(params_of("adamw").items(), client=client)
    assert optimizer.session.info.hold_params


def test_a_given_session_gets_the_groups_and_keeps_the_rest(client: Client) -> None:
    session = client.sessions.create("adamw", cautious=True, labels={"run": "x"}, clip={"global_norm": 1.0})
    optimizer = RemoteAdamW(params_of("adamw").items(), lr=0.3, session=session.id, client=client)
    info = optimizer.session.get()
    assert info.hyperparameters["cautious"]
    assert info.labels == {"run": "x"}
    assert info.clip is not None
    assert [(group["match"], group["lr"]) for group in info.groups] == [(["0/*"], 0.3)]


def test_a_session_of_plain_names_is_adopted(client: Client) -> None:
    """Such as one that NumPy began, or that was imported from a file of torch."""
    pair = Pair(client, "adamw", lr=0.05)
    session = client.sessions.create("adamw", lr=0.05, groups=[], hold_params=True)
    pair.grads()
    session.step(pair.arrays, {name: param.grad.numpy() for name, param in pair.there.items()})
    pair.local.step()
    pair.remote = RemoteAdamW.resume(client, session, pair.there.items())
    pair.step()
    assert pair.apart() <= 1e-6
    assert {tensor.step for tensor in pair.remote.session.get().tensors.values()} == {2}


def other_shape(params: dict[str, Any]) -> None:
    params["gain"] = torch.nn.Parameter(torch.ones(2))


def other_dtype(params: dict[str, Any]) -> None:
    params["gain"] = torch.nn.Parameter(torch.ones((), dtype=torch.float64))


def other_name(params: dict[str, Any]) -> None:
    params["scale"] = params.pop("gain")


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("change", [other_shape, other_dtype, other_name])
def test_parameters_unlike_the_tensors_are_refused(client: Client, change: Any, holds: bool) -> None:
    pair = begun(client, holds=holds)
    before, params = pair.remote.session.get(), dict(pair.there)
    change(params)
    with pytest.raises(ValueError, match="0/gain"):
        RemoteAdamW.resume(client, pair.remote.session.id, params.items())
    assert client.sessions.get(before.id).info == before


def test_a_session_of_another_kind_is_refused(client: Client) -> None:
    pair = begun(client, holds=True)
    with pytest.raises(ValueError, match="is of adamw, and this optimizer is adam"):
        RemoteAdam.resume(client, pair.remote.session, pair.there.items())
    with pytest.raises(ValueError, match="has 1 groups, and there are 2 param groups"):
        RemoteAdamW.resume(client, pair.remote.session, [{"params": [item]} for item in [*pair.there.items()][:2]])
    session = client.sessions.create("adamw", schedule={"kind": "cosine", "total_steps": 9})
    with pytest.raises(ValueError, match="has a schedule"):
        RemoteAdamW(pair.there.items(), session=session)
    with pytest.raises(SessionNotFound):
        RemoteAdamW.resume(client, "none", pair.there.items())


def test_a_url_in_place_of_a_client_is_refused() -> None:
    with pytest.raises(TypeError, match=r"client must be a Client, .* not 'http://localhost'"):
        RemoteAdamW([torch.zeros(2)], client="http://localhost")  # type: ignore[arg-type]


def test_a_session_brings_its_client(client: Client) -> None:
    session = client.sessions.create("sgd", hold_params=True)
    assert RemoteSGD(params_of("sgd").values(), session=session).session.client is client


@pytest.mark.parametrize("kind", [RemoteAdamW, RemoteOptimizer])
@pytest.mark.parametrize("holds", [True, False])
def test_a_resumed_run_ends_at_the_same_bits(client: Client, kind: Any, holds: bool) -> None:
    whole, pair = begun(client, holds=holds, steps=0), begun(client, holds=holds, steps=0)
    for _ in range(10):
        whole.step()
    for _ in range(4):
        pair.step()
    lost = params_of("adamw") if holds else pair.there  # without hold_params they come from a checkpoint
    pair.there = {name: torch.nn.Parameter(param.detach().clone()) for name, param in lost.items()}
    pair.remote = kind.resume(client, pair.remote.session.id, pair.there.items())
    assert pair.remote.session.info.step == 4
    assert pair.remote.param_groups[0]["lr"] == 0.05
    assert pair.remote.param_groups[0]["betas"] == (0.9, 0.999)
    for _ in range(6):
        pair.step()
    assert is_same(pair.there, whole.there)
    if kind is RemoteAdamW:  # the other class spells out more settings
        assert pair.remote.session.digest == whole.remote.session.digest


def test_parameters_of_another_step_are_refused(client: Client) -> None:
    pair = begun(client, holds=False)
    older = {name: torch.nn.Parameter(param.detach().clone()) for name, param in pair.there.items()}
    pair.step()
    with pytest.raises(ParamsConflict):
        RemoteAdamW.resume(client, pair.remote.session.id, older.items())
    info = client.sessions.get(pair.remote.session.id).info
    assert (info.step, info.on_other_params) == (6, "warn")


def test_a_resumed_group_may_have_other_values(client: Client) -> None:
    pair = begun(client, holds=True)
    group = {"params": list(pair.there.items()), "lr": 0.5}
    optimizer = RemoteAdamW.resume(client, pair.remote.session.id, [group])
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert optimizer.session.info.groups[0]["lr"] == 0.5


@pytest.mark.parametrize("named", [False, True])
def test_a_parameter_taken_out_of_its_list_is_refused(client: Client, named: bool) -> None:
    params = {name: torch.nn.Parameter(torch.ones(2)) for name in ("first", "second")}
    optimizer = RemoteAdamW(params.items() if named else params.values(), client=client)
    for param in params.values():
        param.grad = torch.ones(2)
    optimizer.step()
    before = [param.detach().clone() for param in params.values()]
    del optimizer.param_groups[0]["params"][0]
    with pytest.raises(ValueError, match="leave the lists of parameters as they are; freeze one by"):
        optimizer.step()
    assert all(map(torch.equal, params.values(), before))
    assert optimizer.session.get().step == 1


def test_a_parameter_moved_to_another_group_is_refused(client: Client) -> None:
    first, second = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = RemoteAdamW([{"params": [first, second]}, {"params": []}], client=client)
    first.grad = second.grad = torch.ones(2)
    optimizer.step()
    optimizer.param_groups[1]["params"].append(optimizer.param_groups[0]["params"].pop())
    with pytest.raises(ValueError, match="parameter '0/1' of the session would be '1/1' now"):
        optimizer.step()
    optimizer.param_groups[0]["params"].append(torch.nn.Parameter(torch.ones(2)))
    with pytest.raises(ValueError, match="'0/1' is another parameter than in the session"):
        optimizer.put_params()


def test_the_log_tells_that_held_parameters_are_replaced(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    pair = begun(client, holds=True)
    session, same = pair.remote.session.id, pair.there
    for there, told in ((same, 0), (params_of("adamw"), 1)):
        pair.there = {name: torch.nn.Parameter(param.detach().clone()) for name, param in there.items()}
        pair.remote = RemoteAdamW(pair.there.items(), lr=0.05, session=session, client=client)
        pair.step()
        pair.step()
        assert len(caplog.messages) == told
    assert f"session {session} at step 7 holds other parameters" in caplog.messages[0]


def test_the_log_tells_that_a_momentum_buffer_is_dropped(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair(client, "sgd", lr=0.1, momentum=0.9)
    pair.step()
    assert not caplog.messages
    pair.remote.param_groups[0]["momentum"] = 0.0
    pair.step()
    assert caplog.messages == [
        "a momentum of SGD is 0: its buffer is dropped, and begins anew if the momentum comes back"
    ]


@pytest.mark.parametrize("returned", [None, "text", (1.0, 2.0), torch.ones(3), {"loss": 1.0}, 1 + 2j], ids=repr)
def test_a_closure_may_return_what_is_no_loss(client: Client, returned: Any) -> None:
    param = torch.nn.Parameter(torch.ones(2))
    param.grad = torch.ones(2)
    optimizer = RemoteSGD([param], lr=0.5, client=client)
    assert optimizer.step(lambda: returned) is returned
    assert param.tolist() == [0.5, 0.5]
    assert [row.loss for row in optimizer.session.history()] == [None]
