"""A session as a gradient transformation: eagerly, jitted, in loops and in chains, always with the service's steps."""

import asyncio
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optim_client import AsyncClient, Client, NonFinite, StepConflict
from optim_client._trees import flattened
from optim_client.optax import RemoteState, remote, typed_errors

from tests.peers.optax_client.loops import alike, client, jitted, loss_of, repeated, some_params, step_of

__all__ = ["client"]


@pytest.mark.parametrize("hold_params", [False, True])
def test_a_jitted_loop_takes_the_sessions_own_steps(client: Client, hold_params: bool) -> None:
    session = client.sessions.create("adamw", lr=0.01, hold_params=hold_params, on_other_params="reject")
    tx = remote(session)
    params, grads = some_params(), []
    state, step = tx.init(params), jitted(tx)
    for seed in range(40):
        params, state, each = step(params, state, seed)
        grads.append(each)
    plain = client.sessions.create("adamw", lr=0.01)
    expected = repeated(plain, some_params(), grads)
    assert (state.count, session.info.step) == (40, 40)
    assert session.params_digest == plain.params_digest
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        assert float(jnp.abs(ours - theirs).max()) < 1e-9
    assert session.history(last=1)[0].loss == pytest.approx(float(loss_of(params, 39)), rel=0.2)


def test_eager_and_jitted_steps_have_the_same_bits(client: Client) -> None:
    results = []
    for wrapped in (lambda f: f, jax.jit):
        session = client.sessions.create("lion", lr=0.01)
        tx = remote(session)
        params, state = some_params(), tx.init(some_params())
        for number in range(5):
            grads = jax.tree.map(lambda p: jnp.sin(17 * p + number), params)  # noqa: B023
            updates, state = wrapped(tx.update)(grads, state, params)
            params = optax.apply_updates(params, updates)
        results.append((params, session.params_digest))
    assert results[0][1] == results[1][1]
    assert alike(results[0][0], results[1][0])


def test_loops_of_jax_take_every_step_in_order(client: Client) -> None:
    session = client.sessions.create("adam", lr=0.01)
    tx = remote(session)
    params = some_params()

    def body(carry: Any, seed: Any) -> Any:
        return step_of(tx, *carry, seed)[:2], seed

    @jax.jit
    def loops(params: Any, state: Any) -> Any:
        carry, _ = jax.lax.scan(body, (params, state), jnp.arange(3))
        carry = jax.lax.fori_loop(3, 5, lambda seed, carry: body(carry, seed)[0], carry)
        return jax.lax.while_loop(lambda carry: carry[1].count < 7, lambda carry: body(carry, carry[1].count)[0], carry)

    looped, state = loops(params, tx.init(params))
    assert (state.count, session.info.step) == (7, 7)
    single = client.sessions.create("adam", lr=0.01)
    again, each = some_params(), remote(single).init(params)
    for seed in range(7):
        again, each, _ = jitted(remote(single))(again, each, seed)
    for ours, theirs in zip(jax.tree.leaves(looped), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)  # XLA fuses the gradients otherwise


def test_a_branch_not_taken_and_a_trace_take_no_step(client: Client) -> None:
    session = client.sessions.create("adam")
    tx = remote(session)
    params = some_params()
    state = jax.eval_shape(tx.init, params)
    jax.eval_shape(tx.update, params, state, params)
    jax.jit(tx.update).lower(params, state, params).compile()
    jax.jit(lambda: tx.update(params, tx.init(params), params)).lower().compile()
    maybe = jax.jit(
        lambda run: jax.lax.cond(run, lambda: tx.update(params, tx.init(params), params)[1].count, lambda: jnp.int32(0))
    )
    assert maybe(False) == 0
    assert session.get().step == 0
    assert maybe(True) == 1
    assert session.get().step == 1


def test_the_same_call_again_is_the_same_step(client: Client) -> None:
    session = client.sessions.create("adamw", lr=0.01)
    tx = remote(session)
    params, state = some_params(), tx.init(some_params())
    step = jitted(tx)
    for seed in range(3):
        before = params, state
        params, state, _ = step(params, state, seed)
    again, repeated_state, _ = step(*before, 2)
    assert alike(again, params)
    assert (repeated_state.count, session.get().step) == (3, 3)


def test_an_old_state_is_refused_and_does_no_harm(client: Client) -> None:
    session = client.sessions.create("adamw")
    tx = remote(session)
    params = some_params()
    old = tx.init(params)
    _, state = tx.update(params, old, params)
    _, state = tx.update(params, state, params)
    with pytest.raises(StepConflict) as refused:
        tx.update(params, old, params)
    assert "go on from the newest" in refused.value.__notes__[0]
    with pytest.raises(StepConflict), typed_errors():
        jax.block_until_ready(jax.jit(tx.update)(params, old, params))
    assert jax.jit(tx.update)(params, state, params)[1].count == 3


def test_vmap_pmap_and_gradients_through_a_step_are_refused(client: Client) -> None:
    session = client.sessions.create("adam")
    tx = remote(session)
    params = {"w": jnp.ones(3, jnp.float32)}
    state = tx.init(params)
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)
    with pytest.raises(ValueError, match="Cannot `vmap` ordered"):
        jax.vmap(lambda g: tx.update(g, state, params))(twice)
    with pytest.raises(ValueError, match="JVP"):
        jax.grad(lambda p: tx.update(p, state, p)[0]["w"].sum())(params)
    assert session.get().step == 0


@pytest.mark.parametrize("jit", [False, True])
def test_a_refused_gradient_leaves_the_state_whole(client: Client, jit: bool) -> None:
    session = client.sessions.create("adam", lr=0.1)
    tx = remote(session)
    update = jax.jit(tx.update) if jit else tx.update
    params = {"w": jnp.ones(3, jnp.float32)}
    _, state = update(params, tx.init(params), params)
    with pytest.raises(NonFinite, match=r"grads\['w'\]|'w'"), typed_errors():
        jax.block_until_ready(update({"w": jnp.full(3, jnp.nan, jnp.float32)}, state, params))
    assert update(params, state, params)[1].count == 2


def test_a_skipped_step_has_no_number_and_no_updates(client: Client) -> None:
    session = client.sessions.create("adam", on_non_finite="skip")
    tx = remote(session)
    params = {"w": jnp.ones(3, jnp.float32)}
    updates, state = tx.update({"w": jnp.full(3, jnp.inf, jnp.float32)}, tx.init(params), params)
    assert state.count == 0
    assert not updates["w"].any()
    assert tx.update(params, state, params)[1].count == 1


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64])
def test_updates_lead_to_the_answered_parameters(client: Client, dtype: Any) -> None:
    session = client.sessions.create("adamw", lr=1e-3)
    tx = remote(session)
    params = some_params(dtype)
    grads = jax.tree.map(lambda p: jnp.cos(9 * p), params)
    updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    after = optax.apply_updates(params, updates)
    expected = client.sessions.create("adamw", lr=1e-3).step(
        *(jax.tree.map(np.array, each) for each in (params, grads))
    )
    for ours, theirs, update in zip(*map(jax.tree.leaves, (after, expected, updates)), strict=True):
        assert ours.dtype == theirs.dtype == update.dtype == dtype
        off = np.abs(np.float64(ours) - np.float64(theirs))
        assert (off <= np.abs(np.float64(update)) * float(jnp.finfo(dtype).eps)).all()
        assert (off == 0).mean() > 0.97


def test_names_are_the_clients_paths(client: Client) -> None:
    session = client.sessions.create("adam")
    tx = remote(session)
    params = {**some_params(), "point": RemoteState(jnp.ones(2, jnp.float32))}
    tx.update({**params, "layers": None}, tx.init(params), params)
    names = flattened("params", jax.tree.map(np.array, params)).keys()
    assert session.get().tensors.keys() == {name for name in names if not name.startswith("layers")}


def test_gradients_of_narrower_dtype_are_widened(client: Client) -> None:
    session = client.sessions.create("sgd", lr=1)
    tx = remote(session)
    params = {"w": jnp.ones(3, jnp.float32)}
    updates, _ = tx.update({"w": jnp.full(3, 0.5, jnp.bfloat16)}, tx.init(params), params)
    assert updates["w"].tolist() == [-0.5] * 3


def test_arguments_that_cannot_be_stepped_are_refused(client: Client) -> None:
    tx = remote(client.sessions.create("adam"))
    params = {"w": jnp.ones(3, jnp.float32)}
    state = tx.init(params)
    for grads, given, error, why in (
        (params, None, ValueError, "needs the parameters"),
        ({"v": params["w"]}, params, ValueError, "grads has 'v', which params has not"),
        ({"w": None}, params, ValueError, "no gradient"),
        ({"w": jnp.ones(2, jnp.float32)}, params, ValueError, r"shape \[2\], and its parameter \[3\]"),
        ({"w": jnp.ones(3, jnp.float64)}, params, TypeError, "which float32, its parameter's, cannot hold"),
        ({"w": jnp.ones(3, jnp.int32)}, params, TypeError, "dtype int32, which float32, its parameter"),
        ({"n": jnp.ones(3, jnp.int32)}, {"n": jnp.ones(3, jnp.int32)}, TypeError, "optax.masked"),
    ):
        for update in (tx.update, jax.jit(tx.update)):
            with pytest.raises(error, match=why):
                update(grads, state, given)
    with pytest.raises(ValueError, match="two arrays named 'a/b'"):
        tx.init({"a": {"b": params["w"]}, "a/b": params["w"]})

    async def asynchronous() -> None:
        async with AsyncClient("memory:") as other:
            session = await other.sessions.create("adam")
            with pytest.raises(TypeError, match="must be a Session of a Client"):
                remote(session)  # type: ignore[arg-type]

    asyncio.run(asynchronous())


def test_a_chain_clips_and_decays_before_the_service(client: Client) -> None:
    session = client.sessions.create("sgd", lr=1)
    tx = optax.chain(optax.clip_by_global_norm(1.0), remote(session))
    params = {"w": jnp.asarray([3.0, 4.0], jnp.float32)}
    updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
    np.testing.assert_allclose(updates["w"], [-0.6, -0.8], rtol=1e-6)


def test_masks_and_partitions_leave_the_others_out(client: Client) -> None:
    one, two = client.sessions.create("adam", lr=0.1), client.sessions.create("sgd", lr=0.1)
    tx = optax.partition(
        {"one": remote(one), "two": remote(two), "frozen": optax.set_to_zero()},
        {"a": "one", "b": "two", "c": "frozen"},
    )
    params = {name: jnp.ones(2, jnp.float32) for name in "abc"}
    updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
    assert (one.get().tensors.keys(), two.get().tensors.keys()) == ({"a"}, {"b"})
    assert not updates["c"].any()
    assert updates["a"].all()


@pytest.mark.parametrize("injected", [False, True])
def test_a_schedule_is_the_learning_rate_of_each_step(client: Client, injected: bool) -> None:
    session = client.sessions.create("sgd", lr=99)
    schedule = optax.linear_schedule(1.0, 0.0, 4)
    tx = optax.inject_hyperparams(remote)(session, schedule) if injected else remote(session, schedule)
    params = {"w": jnp.ones(1, jnp.float32)}
    state, rates = tx.init(params), []
    for _ in range(4):
        _, state = jax.jit(tx.update)(params, state, params)
        rates.append(session.metrics.lr if session.metrics else None)
    assert rates == [1.0, 0.75, 0.5, 0.25]
    assert remote(session, 0.125).update(params, RemoteState(jnp.asarray(4)), params)[0]["w"] == -0.125


def test_it_agrees_with_optax(client: Client) -> None:
    session = client.sessions.create("adamw", lr=0.01, weight_decay=0.1, groups=[])
    results = []
    for tx in (remote(session), optax.adamw(0.01, weight_decay=0.1)):
        params = some_params(jnp.float64)
        state, step = tx.init(params), jitted(tx)
        for seed in range(50):
            params, state, _ = step(params, state, seed)
        results.append(params)
    for ours, theirs in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


def test_a_held_session_goes_on_after_its_trainer_has_died(client: Client) -> None:
    def run(steps: range, params: Any, state: Any, tx: Any) -> Any:
        for seed in steps:
            params, state, _ = jitted(tx)(params, state, seed)
        return params, state

    whole = client.sessions.create("adam", lr=0.01, hold_params=True)
    tx = remote(whole)
    unbroken, _ = run(range(10), some_params(), tx.init(some_params()), tx)
    session = client.sessions.create("adam", lr=0.01, hold_params=True)
    tx = remote(session)
    run(range(6), some_params(), tx.init(some_params()), tx)
    found = client.sessions.get(session.id)
    params = jax.tree.map(jnp.asarray, found.params(like=jax.tree.map(np.array, some_params())))
    tx = remote(found)
    resumed, state = run(range(6, 10), params, tx.init(params), tx)
    assert state.count == 10
    for ours, theirs in zip(jax.tree.leaves(resumed), jax.tree.leaves(unbroken), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-8)


def test_changed_parameters_of_a_held_session_are_told(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    for policy in ("warn", "reject"):
        session = client.sessions.create("adam", hold_params=True, on_other_params=policy)  # type: ignore[arg-type]
        tx = remote(session)
        params = {"w": jnp.ones(3, jnp.float32)}
        updates, state = tx.update(params, tx.init(params), params)
        params = optax.apply_updates(params, updates)
        updates, state = tx.update(params, state, params)
        changed = {"w": params["w"] + 5}
        if policy == "reject":
            with pytest.raises(ValueError, match="'w' were changed since the last update"):
                tx.update(params, state, changed)
        else:
            tx.update(params, state, changed)
            assert "'w' were changed" in caplog.text
