"""The gradients of the network: the derivatives of the loss that the demo shows."""

import numpy as np
import pytest

from app.demo import digits, network

NAMES = sorted(network.init())


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_finite_differences(name: str) -> None:
    batch = digits.load()[0].batch(1, 16)
    params = {key: tensor.astype(np.float64) for key, tensor in network.init().items()}
    _, grads = network.loss_and_grads(params, batch)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    for _ in range(20):
        place = tuple(rng.integers(params[name].shape))
        losses = []
        for h in (1e-6, -1e-6):
            moved = params | {name: params[name].copy()}
            moved[name][place] += h
            losses.append(network.loss_and_grads(moved, batch)[0])  # type: ignore[arg-type]
        assert grads[name][place] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_gradients_are_float32_and_have_their_parameters_shapes() -> None:
    params = network.init()
    _, grads = network.loss_and_grads(params, digits.load()[0].batch(1, 64))
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in grads.items()} == {
        name: (tensor.shape, np.dtype(np.float32)) for name, tensor in params.items()
    }


def test_an_untrained_network_has_the_loss_of_guessing() -> None:
    _, test = digits.load()
    params = network.init()
    assert network.loss_and_grads(params, test)[0] == pytest.approx(np.log(10), rel=0.3)
    assert network.accuracy(params, test) < 0.3
