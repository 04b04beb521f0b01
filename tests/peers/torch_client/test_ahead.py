"""A step that runs ahead: nothing moves until its answer is needed, and its errors surface once."""

import threading
from typing import Any

import pytest
import torch
from optim_client import Client, NonFinite
from optim_client.torch import RemoteAdamW, StepAhead

from tests.peers.torch_client.pairs import Pair


class Gate:
    """A gate before a session's steps."""

    def __init__(self, optimizer: RemoteAdamW, monkeypatch: pytest.MonkeyPatch) -> None:
        self.event = threading.Event()
        session = optimizer.session
        step = session.step

        def later(*given: Any, **named: Any) -> Any:
            self.event.wait()
            return step(*given, **named)

        monkeypatch.setattr(session, "step", later)


def test_parameters_change_once_the_result_is_taken(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(client, "adamw")
    gate = Gate(pair.remote, monkeypatch)
    before = pair.arrays
    pair.grads()
    ahead = pair.remote.step(wait=False)
    assert isinstance(ahead, StepAhead)
    with pytest.raises(TimeoutError):
        ahead.result(timeout=0.01)
    gate.event.set()
    while not ahead.done():
        pass
    assert all((pair.arrays[name] == before[name]).all() for name in before)
    assert ahead.result() is None
    assert ahead.is_settled
    pair.local.step()
    assert pair.apart() <= 1e-6


@pytest.mark.parametrize("call", ["step", "zero_grad", "session", "add_param_group", "forward"])
def test_the_next_use_waits(client: Client, call: str) -> None:
    layer = torch.nn.Linear(2, 1)
    optimizer = RemoteAdamW(layer.named_parameters(), client=client)
    layer(torch.ones(1, 2)).sum().backward()
    ahead = optimizer.step(wait=False)
    torch.nn.Linear(2, 1)(torch.ones(1, 2))  # a module with other parameters does not wait
    uses = {
        "step": optimizer.step,
        "zero_grad": optimizer.zero_grad,
        "session": lambda: optimizer.session,
        "add_param_group": lambda: optimizer.add_param_group({"params": [("x", torch.nn.Parameter(torch.ones(1)))]}),
        "forward": lambda: torch.nn.Sequential(layer)(torch.ones(1, 2)),
    }
    uses[call]()
    assert ahead.is_settled
    assert optimizer.session.info.step == (2 if call == "step" else 1)


@pytest.mark.parametrize("use", ["result", "zero_grad", "forward"])
def test_an_error_surfaces_once_and_the_step_may_be_repeated(client: Client, use: str) -> None:
    layer = torch.nn.Linear(2, 1)
    optimizer = RemoteAdamW(layer.named_parameters(), client=client)
    layer.weight.grad, layer.bias.grad = torch.full((1, 2), torch.nan), torch.ones(1)
    before = layer.weight.detach().clone()
    ahead = optimizer.step(wait=False)
    uses: dict[str, Any] = {
        "result": ahead.result,
        "zero_grad": optimizer.zero_grad,
        "forward": lambda: layer(torch.ones(1, 2)),
    }
    with pytest.raises(NonFinite):
        uses[use]()
    assert torch.equal(layer.weight, before)
    layer.weight.grad = torch.ones(1, 2)
    optimizer.step()
    assert optimizer.session.info.step == 1


def test_steps_ahead_end_where_steps_that_wait_do(client: Client) -> None:
    waiting, ahead = Pair(client, "adamw", amsgrad=True), Pair(client, "adamw", amsgrad=True)
    for _ in range(20):
        waiting.step()
        ahead.grads()
        ahead.remote.step(wait=False)
    assert ahead.remote.session.digest == waiting.remote.session.digest
    assert all((ahead.arrays[name] == array).all() for name, array in waiting.arrays.items())


def test_a_step_without_gradients_is_done_at_once(client: Client) -> None:
    optimizer = RemoteAdamW([torch.nn.Parameter(torch.ones(1))], client=client)
    assert optimizer.step(wait=False).result() is None
    assert optimizer.session.info.step == 0


def test_a_step_that_cannot_begin_leaves_nothing_to_wait_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = torch.nn.Linear(2, 1)
    optimizer = RemoteAdamW(layer.named_parameters(), client=client)
    layer(torch.ones(1, 2)).sum().backward()

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            optimizer.step(wait=False)
    layer(torch.ones(1, 2))
    optimizer.step()
    assert optimizer.session.info.step == 1


def test_an_interrupted_result_can_be_taken_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(client, "adamw")
    pair.grads()
    pair.local.step()
    write = pair.remote._link._staging.write
    interrupts = [KeyboardInterrupt()]

    def interrupted(*given: Any) -> None:
        if interrupts:
            raise interrupts.pop()
        write(*given)

    monkeypatch.setattr(pair.remote._link._staging, "write", interrupted)
    ahead = pair.remote.step(wait=False)
    with pytest.raises(KeyboardInterrupt):
        ahead.result()
    ahead.result()
    assert pair.apart() <= 1e-6
