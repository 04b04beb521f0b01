"""A small network learns hand-written digits in JAX, with its optimizer in the service.

The session holds the parameters, so only gradients are sent. A run that was stopped, by Ctrl-C or `kill -9`, goes on
when it is started again: the session has its parameters, and its step. With `local`, optax trains instead.
"""

import sys

import jax
import jax.numpy as jnp
import optax
from optim_client import Client, Session
from optim_client.optax import remote

from app.demo import digits

STEPS, BATCH, LABEL = 500, 64, {"example": "jax_digits"}
RATE = optax.warmup_cosine_decay_schedule(0.0, 0.01, warmup_steps=50, decay_steps=STEPS)
train, test = digits.load()


def network() -> dict:
    first, second = jax.random.split(jax.random.key(0))
    initial = jax.nn.initializers.he_normal()
    return {
        "hidden": {"kernel": initial(first, (64, 64)), "bias": jnp.zeros(64)},
        "output": {"kernel": initial(second, (64, 10)), "bias": jnp.zeros(10)},
    }


def scores(params: dict, images: jax.Array) -> jax.Array:
    hidden = jax.nn.relu(images @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return hidden @ params["output"]["kernel"] + params["output"]["bias"]


def loss_of(params: dict, images: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(scores(params, images), labels).mean()


def learn(tx: optax.GradientTransformationExtraArgs, params: dict, first: int) -> dict:
    tx = optax.chain(optax.clip_by_global_norm(1.0), tx)
    state = tx.init(params)

    @jax.jit
    def step(params: dict, state: tuple, images: jax.Array, labels: jax.Array) -> tuple:
        loss, grads = jax.value_and_grad(loss_of)(params, images, labels)
        updates, state = tx.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    for number in range(first, STEPS + 1):
        batch = train.batch(number, BATCH)
        params, state, loss = step(params, state, batch.images, batch.labels)
        if number % 100 == 0:
            right = (scores(params, test.images).argmax(axis=1) == test.labels).mean()
            print(f"step {number}   loss {loss:.3f}   accuracy {right:.3f}")
    return params


def begun(client: Client) -> tuple[Session, dict]:
    """Return the session of a run that is not done, and its parameters; else a new one."""
    for session in client.sessions.find(labels=LABEL):
        if 0 < session.info.step < STEPS:
            print(f"goes on after step {session.info.step}")
            return session, jax.tree.map(jnp.asarray, session.params(like=network()))
    settings = {"weight_decay": 1e-3, "hold_params": True, "ttl_seconds": 86400, "labels": LABEL}
    return client.sessions.create("adamw", **settings), network()


if __name__ == "__main__":
    if "local" in sys.argv:
        learn(optax.adamw(RATE, weight_decay=1e-3), network(), 1)
    else:
        with Client() as client:
            session, params = begun(client)
            learn(remote(session, RATE), params, session.info.step + 1)
