"""Torch's memory and NumPy's: every dtype and layout, to the bit."""

import numpy as np
import pytest
import torch
from optim_client import Client, TensorMismatch
from optim_client.torch import RemoteAdamW, RemoteSGD, _held, _memory
from optim_client.torch._arrays import NAMES
from optim_client.torch._memory import Staging, same_bits

from optim_engine import Config, State, step
from tests.peers.torch_client.pairs import Pair

LAYOUTS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.mT.contiguous().mT,
    "strided": lambda x: torch.stack([x, x], -1)[..., 0],
    "expanded": lambda x: x[:1].expand(x.shape),
}


@pytest.mark.parametrize("dtype", NAMES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_go_out_and_come_back_to_the_bit(dtype: torch.dtype, layout: str) -> None:
    tensor = LAYOUTS[layout](torch.randn(4, 6).to(dtype))
    (array,) = Staging().arrays({"w": tensor}).values()
    assert array.flags.c_contiguous
    assert array.dtype.name == str(dtype).removeprefix("torch.")
    back = LAYOUTS["transposed"](torch.zeros(4, 6, dtype=dtype))
    Staging().write({"w": back}, {"w": array})
    assert torch.equal(back, tensor)


def test_contiguous_memory_is_not_copied() -> None:
    for dtype in NAMES:
        tensor = torch.zeros(3, 2, dtype=dtype)
        (array,) = Staging().arrays({"w": tensor}).values()
        assert array.ctypes.data == tensor.data_ptr()


def test_bits_tell_what_floats_do_not() -> None:
    values = np.array([0.0, np.nan, 1.0], np.float32)
    assert same_bits(values, values.copy())
    assert not same_bits(values, np.array([-0.0, np.nan, 1.0], np.float32))


@pytest.mark.parametrize("dtype", NAMES, ids=str)
def test_parameters_of_a_dtype_are_those_of_the_engine(client: Client, dtype: torch.dtype) -> None:
    pair = Pair(client, "adamw", dtype=dtype, lr=0.05)
    config = Config.parse("adamw", hyperparameters={"lr": 0.05}, groups=[])
    params, state = Staging().arrays({name: param.clone() for name, param in pair.there.items()}), State.empty()
    for _ in range(10):
        pair.grads()
        grads = Staging().arrays({name: param.grad for name, param in pair.there.items()})
        outcome = step(config, state, params, grads)
        params, state = outcome.params, outcome.state
        pair.remote.step()
    ours = Staging().arrays(pair.there)
    assert all(same_bits(ours[name], params[name]) for name in params)


def test_parameters_of_several_dtypes_train_together(client: Client) -> None:
    params = [torch.nn.Parameter(torch.ones(3, dtype=dtype)) for dtype in NAMES]
    optimizer = RemoteSGD(params, lr=0.5, client=client)
    for param in params:
        param.grad = torch.full_like(param, 0.5)
    optimizer.step()
    assert all(torch.equal(param, torch.full_like(param, 0.75)) for param in params)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn], ids=str)
def test_another_dtype_is_refused_by_name(client: Client, dtype: torch.dtype) -> None:
    param = torch.nn.Parameter(torch.zeros(2, dtype=dtype))
    with pytest.raises(TypeError, match=rf"parameter '0/w' is {dtype}; expected float64"):
        RemoteAdamW([("w", param)], client=client)


@pytest.mark.parametrize("holds", [True, False])
def test_tensors_elsewhere_pass_through_host_memory(
    client: Client, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    """These tensors are on the CPU, and are taken for an accelerator's."""
    for module in (_memory, _held):
        monkeypatch.setattr(module, "is_on_cpu", lambda _: False)
    pair = Pair(client, "adamw", lr=0.05, session=client.sessions.create("adamw", hold_params=holds))
    for i in range(6):
        pair.step()
        if i == 2:
            for params in (pair.here, pair.there):
                with torch.no_grad():
                    params["conv"].fill_(0.5)
        if i == 3:
            for params in (pair.here, pair.there):
                params["gain"].data.fill_(0.25)
            if holds:
                pair.remote.put_params()  # nothing else tells of a write through `.data`
    assert pair.apart() <= 1e-6


def test_a_channels_last_convolution_keeps_its_layout(client: Client) -> None:
    layer = torch.nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)
    twin = torch.nn.Conv2d(3, 4, 2)
    twin.load_state_dict(layer.state_dict())
    optimizers = RemoteAdamW(layer.parameters(), client=client), torch.optim.AdamW(twin.parameters())
    for optimizer, each in zip(optimizers, (layer, twin), strict=True):
        each(torch.ones(1, 3, 4, 4)).square().sum().backward()
        optimizer.step()
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(layer.weight, twin.weight, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_converted_after_a_step_is_refused_by_name(client: Client, dtype: torch.dtype) -> None:
    model = torch.nn.Linear(3, 1)
    optimizer = RemoteSGD(model.named_parameters(), client=client)
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    optimizer.step()
    model.to(dtype)
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    with pytest.raises(TensorMismatch, match="the session has it as float32"):
        optimizer.step()
