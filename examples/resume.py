"""A run that can be stopped at any moment, by Ctrl-C or `kill -9`: started again, it goes on from its last step.

The session holds the parameters, so the program only has to find the session again, by its label. The rest, here the
points that a step learns from, follows from the step's number.
"""

import numpy as np
from optim_client import Client, Session

STEPS, LABEL = 400, {"example": "resume"}


def gradients(params: dict[str, np.ndarray], step: int) -> tuple[float, dict[str, np.ndarray]]:
    """Return the loss on the points of that step, and the gradients of the parabola's coefficients."""
    x = np.random.default_rng(step).uniform(-1, 1, 64)
    powers = np.stack([x**0, x, x**2])
    error = params["coefficients"] @ powers - (1 - 2 * x + 3 * x**2)
    return float((error**2).mean()), {"coefficients": 2 * (powers * error).mean(axis=1)}


def found(client: Client) -> Session:
    for session in client.sessions:
        if session.info.labels == LABEL and session.info.step < STEPS:
            print(f"goes on after step {session.info.step}")
            return session
    session = client.sessions.create("adam", lr=0.05, hold_params=True, ttl_seconds=86400, labels=LABEL)
    session.put_params({"coefficients": np.zeros(3)})
    return session


with Client() as client:
    session = found(client)
    params = session.params()
    for step in range(session.info.step + 1, STEPS + 1):
        loss, grads = gradients(params, step)
        params = session.step(grads=grads, loss=loss)
        if step % 100 == 0:
            print(f"step {step}   loss {loss:.6f}")

print("1 - 2x + 3x² has", params["coefficients"].round(2))
