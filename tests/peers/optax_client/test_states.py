"""Live states of optax from state files, and back: moments to the bit, and runs that go on as if they had stayed."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from optim_client import Client
from optim_client._state_file import StateFile
from optim_client.optax import load_optax_state, remote, save_optax_state
from optim_client.optax._forms import FORMS

from tests.peers.optax_client.loops import alike, client

__all__ = ["client"]

LR = 0.01
LOCAL: dict[str, tuple[dict[str, Any], Any]] = {
    "adabelief": ({}, optax.adabelief(LR)),
    "adadelta": ({"lr": 1}, optax.adadelta(1.0)),
    "adagrad": ({"eps": 0, "initial_accumulator_value": 0.1}, optax.adagrad(LR, eps=0)),
    "adam": ({}, optax.inject_hyperparams(optax.adam)(LR)),
    "adamax": ({}, optax.adamax(LR)),
    "adamw": ({"weight_decay": 0.1}, optax.adamw(optax.constant_schedule(LR), weight_decay=0.1)),
    "adan": ({}, optax.adan(LR)),
    "ademamix": ({}, optax.contrib.ademamix(LR)),
    "lamb": ({}, optax.lamb(LR)),
    "lars": ({"lr": 1}, optax.lars(1.0)),
    "lion": ({}, optax.lion(LR, weight_decay=0)),
    "radam": ({"eps": 0}, optax.radam(LR, eps=0)),
    "rmsprop": ({}, optax.rmsprop(LR, decay=0.99, eps_in_sqrt=False)),
    "rmsprop_centered": ({"centered": True}, optax.rmsprop(LR, decay=0.99, eps_in_sqrt=False, centered=True)),
    "sgd": ({}, optax.sgd(LR)),
    "sgd_momentum": ({"momentum": 0.9}, optax.chain(optax.clip(9.0), optax.sgd(LR, momentum=0.9))),
    "yogi": ({}, optax.yogi(LR)),
}


def some_params(dtype: Any = jnp.float32) -> dict[str, Any]:
    return {"a": {"w": jnp.asarray([0.5, -1.5, 2.0], dtype)}, "b": jnp.asarray([0.25, 0.75, -0.125], dtype)}


def steps(tx: Any, params: Any, state: Any, seeds: range) -> Any:
    for seed in seeds:
        grads = jax.tree.map(lambda p: jnp.sin(7 * p + seed), params)  # noqa: B023
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def near(ours: Any, theirs: Any) -> None:
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


def test_every_form_has_a_local_optimizer() -> None:
    assert {case.split("_", maxsplit=1)[0] for case in LOCAL} == FORMS.keys()


@pytest.mark.parametrize("case", LOCAL)
def test_a_run_moves_to_the_service_and_back(case: str, client: Client, tmp_path: Path) -> None:
    settings, local = LOCAL[case]
    optimizer: Any = case.split("_", maxsplit=1)[0]
    session = client.sessions.create(optimizer, **{"lr": LR, "groups": [], **settings})
    params = some_params(jnp.float64)
    stayed, _ = steps(local, params, local.init(params), range(9))
    moved, state = steps(local, params, local.init(params), range(3))
    save_optax_state(tmp_path / "state", state, moved, optimizer, step=3, **settings)
    session.load_state(tmp_path / "state", digest="none")
    tx = remote(session)
    moved, _ = steps(tx, moved, tx.init(moved), range(3, 6))
    session.save_state(tmp_path / "state")
    state = load_optax_state(tmp_path / "state", local.init(moved))
    moved, _ = steps(local, moved, state, range(6, 9))
    near(moved, stayed)


@pytest.mark.parametrize("case", LOCAL)
def test_moments_go_there_and_back_with_every_bit(case: str, client: Client, tmp_path: Path) -> None:
    settings, local = LOCAL[case]
    params = some_params()
    _, state = steps(local, params, local.init(params), range(2))
    save_optax_state(tmp_path / "state", state, params, case.split("_", maxsplit=1)[0], step=2, **settings)  # type: ignore[arg-type]
    again = load_optax_state(tmp_path / "state", local.init(params))
    assert jax.tree.structure(again) == jax.tree.structure(state)
    assert alike(again, state)


def test_moments_of_half_precision_keep_the_services_digits(client: Client, tmp_path: Path) -> None:
    session = client.sessions.create("adamw", lr=LR)
    tx, params = remote(session), some_params(jnp.bfloat16)
    params, _ = steps(tx, params, tx.init(params), range(2))
    session.save_state(tmp_path / "state")
    local = optax.adamw(LR)
    state = load_optax_state(tmp_path / "state", local.init(params))
    assert {leaf.dtype.name for leaf in jax.tree.leaves((state[0].mu, state[0].nu))} == {"float32"}
    _, state = steps(local, params, state, range(2, 3))
    save_optax_state(tmp_path / "further", state, params, "adamw")
    assert session.load_state(tmp_path / "further", digest="none").step == 3


def test_masked_states_take_their_own_tensors(client: Client, tmp_path: Path) -> None:
    params = {"a": jnp.ones(2, jnp.float32), "b": jnp.ones(3, jnp.float32), "c": jnp.ones(1, jnp.float32)}
    local = optax.partition({"x": optax.adam(LR), "y": optax.set_to_zero()}, {"a": "x", "b": "x", "c": "y"})
    state = local.init(params)
    _, state = local.update(params, state, params)
    save_optax_state(tmp_path / "state", state, params, "adam", hold_params=True)
    session = client.sessions.create("adam", hold_params=True)
    assert session.load_state(tmp_path / "state", digest="none").tensors.keys() == {"a", "b"}
    assert alike(load_optax_state(tmp_path / "state", local.init(params)), state)
    assert StateFile.read(tmp_path / "state").slots["params"]["b"].tolist() == [1, 1, 1]


def test_states_of_other_rules_are_refused(tmp_path: Path) -> None:
    params = {"w": jnp.ones(2, jnp.float32)}
    for local, optimizer, why in (
        (optax.amsgrad(LR), "adam", "maximum of the corrected v"),
        (optax.amsgrad(LR), "adamw", "maximum of the corrected v"),
        (optax.rmsprop(LR, momentum=0.9), "rmsprop", "includes the learning rates"),
        (optax.adam(LR), "lion", "has ScaleByAdamState; expected ScaleByLionState for lion"),
        (optax.adafactor(LR), "adafactor", "factors the two largest dimensions"),
        (optax.adamw(LR), "nadam", "no momentum decay"),
        (optax.rprop(LR), "rprop", "by the update before"),
        (optax.identity(), "adam", "has no ScaleByAdamState"),
        (optax.sgd(LR, momentum=0.9), "sgd", "say step="),
        (optax.chain(optax.adam(LR), optax.adam(LR)), "adam", "has .mu/w. twice"),
    ):
        state = local.init(params)
        with pytest.raises(ValueError, match=why):
            save_optax_state(tmp_path / "state", state, params, optimizer)  # type: ignore[arg-type]
    assert not (tmp_path / "state").exists()


def test_files_that_do_not_fit_a_state_are_refused(client: Client, tmp_path: Path) -> None:
    params = {"w": jnp.ones(2, jnp.float32), "b": jnp.ones(1, jnp.float32)}
    session = client.sessions.create("adam")
    tx = remote(session)
    tx.update(params, tx.init(params), params)
    session.save_state(tmp_path / "state")
    for local, like, why in (
        (optax.adam(LR), {"w": params["w"]}, "'mu/b', for which optax's state has no place"),
        (optax.adam(LR), {**params, "c": params["b"]}, "no 'mu/c'"),
        (optax.adam(LR), {**params, "b": params["w"]}, r"'mu/b' has the shape \[1\] in the file, \[2\]"),
        (optax.chain(optax.adam(LR), optax.adam(LR)), params, "two places"),
        (optax.sgd(LR, momentum=0.9), params, "no 'trace/b'"),
        (optax.sgd(LR), params, "has no place"),
    ):
        with pytest.raises(ValueError, match=why):
            load_optax_state(tmp_path / "state", local.init(like))
