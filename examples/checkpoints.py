"""A run that keeps its own parameters: killed at any moment, it goes on from its last checkpoint, to the same bits.

A checkpoint is two files: the parameters after a step, and the session's state after that step. The session may be some
steps ahead; loading the state takes it back. `crash.py` has two ways that need no state file.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from optim_client import Client, Session

STEPS, EVERY = 400, 25
FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "checkpoints")

Params = dict[str, np.ndarray]


def gradients(params: Params, step: int) -> tuple[float, Params]:
    """Return the loss on the points of that step, and the gradients of the parabola's coefficients."""
    x = np.random.default_rng(step).uniform(-1, 1, 64)
    powers = np.stack([x**0, x, x**2])
    error = params["coefficients"] @ powers - (1 - 2 * x + 3 * x**2)
    return float((error**2).mean()), {"coefficients": 2 * (powers * error).mean(axis=1)}


def save(session: Session, params: Params) -> None:
    """Write both files, or none: the folder gets its name when it is whole."""
    part = FOLDER / "part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    np.savez(part / "params.npz", **params)
    session.save_state(part / "state.safetensors")
    (part / "session").write_text(session.id)
    part.rename(FOLDER / f"{session.info.step:08}")


def resumed(client: Client) -> tuple[Session, Params]:
    """Return the session and the parameters of the last checkpoint, both at one step."""
    checkpoints = sorted(FOLDER.glob("[0-9]*"))
    if not checkpoints:
        return client.sessions.create("adam", lr=0.05, ttl_seconds=86400), {"coefficients": np.zeros(3)}
    last = checkpoints[-1]
    session = client.sessions.get((last / "session").read_text())
    if session.info.step != int(last.name):
        session.load_state(last / "state.safetensors")
    print(f"goes on after step {session.info.step}")
    with np.load(last / "params.npz") as params:
        return session, dict(params)


with Client() as client:
    session, params = resumed(client)
    for step in range(session.info.step + 1, STEPS + 1):
        loss, grads = gradients(params, step)
        params = session.step(params, grads, loss=loss)
        if step % EVERY == 0:
            save(session, params)

print("1 - 2x + 3x² has", params["coefficients"].tolist(), "after", session.digest)
