"""Runs whose trainer and whose service are killed, in the middle of everything, and which end at the same bits.

`crash.py` starts a service of its own. Each kind of run is trained twice: undisturbed; then with `kill -9` for its
trainer, just when a step was answered and not yet saved, and for the service, whenever it is.

- `held`: the session holds the parameters, so there is nothing to save.
- `own`: the trainer saves its parameters after each step, with the step's number. It takes the step after those again,
  by its number: the same gradients get the lost answer again.

The rest, here the points that a step learns from, follows from the step's number.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from optim_client import Client

from app.demo.server import Server

STEPS = 60
TRAINER_DIES, SERVICE_DIES = (20, 40), 30
"""The steps after which they do."""

Params = dict[str, np.ndarray]


def gradients(params: Params, step: int) -> tuple[float, Params]:
    """Return the loss on the points of that step, and the gradients of the parabola's coefficients."""
    x = np.random.default_rng(step).uniform(-1, 1, 64)
    powers = np.stack([x**0, x, x**2])
    error = params["coefficients"] @ powers - (1 - 2 * x + 3 * x**2)
    return float((error**2).mean()), {"coefficients": 2 * (powers * error).mean(axis=1)}


def train_held(client: Client, folder: Path) -> Iterator[tuple[int, Params]]:
    session = client.sessions.create("adamw", lr=0.1, hold_params=True, ttl_seconds=3600, idempotency_key=str(folder))
    if session.info.step == 0:
        session.put_params({"coefficients": np.zeros(3)})
    params = session.params()
    for step in range(session.info.step + 1, STEPS + 1):
        loss, grads = gradients(params, step)
        params = session.step(grads=grads, loss=loss)
        yield step, params


def train_own(client: Client, folder: Path) -> Iterator[tuple[int, Params]]:
    session = client.sessions.create("adamw", lr=0.1, ttl_seconds=3600, idempotency_key=str(folder))
    params, done = {"coefficients": np.zeros(3)}, 0
    if (folder / "saved.npz").exists():
        with np.load(folder / "saved.npz") as saved:
            params, done = {"coefficients": saved["coefficients"]}, int(saved["step"])
    for step in range(done + 1, STEPS + 1):
        loss, grads = gradients(params, step)
        params = session.step(params, grads, loss=loss, step=step)
        yield step, params
        np.savez(folder / "part.npz", step=step, **params)
        (folder / "part.npz").replace(folder / "saved.npz")


KINDS = {"held": train_held, "own": train_own}


def train(kind: str, folder: Path, last: int) -> None:
    """Print the bits of the parameters after each step; die after the step `last`, before it is saved."""
    with Client() as client:
        for step, params in KINDS[kind](client, folder):
            print(step, params["coefficients"].tobytes().hex(), flush=True)
            if step == last != STEPS:
                os.kill(os.getpid(), signal.SIGKILL)


def run(kind: str, server: Server, *deaths: int) -> str:
    """Start a trainer, and another one after each death; return the bits of the last parameters."""
    bits = ""
    with tempfile.TemporaryDirectory() as folder:
        for last in (*deaths, STEPS):
            command = [sys.executable, __file__, kind, folder, str(last)]
            surroundings = os.environ | {"OPTIM_BASE_URL": server.url}
            with subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, text=True) as trainer:  # noqa: S603
                assert trainer.stdout
                for line in trainer.stdout:
                    step, bits = line.split()
                    if deaths and int(step) == SERVICE_DIES:
                        server.kill()
                        server.start()
            assert trainer.returncode == (0 if last == STEPS else -signal.SIGKILL)
    return bits


if len(sys.argv) > 1:
    train(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
else:
    with Server() as service:
        for name in KINDS:
            undisturbed, killed = run(name, service), run(name, service, *TRAINER_DIES)
            same = "the same bits" if killed == undisturbed else f"other bits than {undisturbed}"
            print(f"{name:4}  undisturbed, and with {len(TRAINER_DIES) + 1} kills: {same}, {killed}")
