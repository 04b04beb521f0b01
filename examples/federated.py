"""Four processes that train one model, each on data of its own, and send only now and then what they have learned.

    federated.py [METHOD] [--lr LR] [--shell]

Each takes 20 steps of its own AdamW, and contributes what they changed: the parameters that all began the round with,
minus its own. The session's optimizer steps with the mean of these differences. Which one it is decides the method:
DiLoCo, or another one of METHODS. With --shell, one of the four is a script, federated.sh.
"""

import argparse
import multiprocessing
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from optim_client import Client

from app.demo.digits import Digits, load
from optim_engine import Config, State, step

ROUNDS, LOCAL_STEPS, BATCH, WORKERS = 20, 20, 32, 4

ADAPTIVE = {"lr": 0.01, "betas": [0.9, 0.99], "eps": 1e-3, "bias_correction": False}
METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {"optimizer": "sgd", "lr": 1},
    "fedavgm": {"optimizer": "sgd", "lr": 1, "momentum": 0.9},
    "diloco": {"optimizer": "sgd", "lr": 0.7, "momentum": 0.9, "nesterov": True},
    "fedadam": {"optimizer": "adam", **ADAPTIVE},
    "fedyogi": {"optimizer": "yogi", **ADAPTIVE},
    "fedadagrad": {"optimizer": "adagrad", "lr": 0.1, "eps": 1e-3, "initial_accumulator_value": 1e-6},
}

Params = dict[str, np.ndarray]


def scores(params: Params, images: np.ndarray) -> np.ndarray:
    return images @ params["weight"] + params["bias"]


def loss_and_grads(params: Params, batch: Digits) -> tuple[float, Params]:
    """Return the mean cross-entropy, and its derivative by each parameter."""
    likely = np.exp(scores(params, batch.images))
    likely /= likely.sum(axis=1, keepdims=True)
    shown = np.arange(len(batch)), batch.labels
    loss = -np.log(likely[shown]).mean()
    likely[shown] -= 1
    likely /= len(batch)
    return float(loss), {"weight": batch.images.T @ likely, "bias": likely.sum(axis=0)}


def own(number: int) -> Digits:
    """Return a worker's data, which no other process has."""
    return load()[0][slice(number, None, WORKERS)]


def work(session_id: str, number: int) -> None:
    """Take local steps in each round, with an optimizer whose moments stay here."""
    data, local, state = own(number), Config.parse("adamw", hyperparameters={"lr": 0.01}), State.empty()
    with Client() as client:
        session = client.sessions.get(session_id)
        with session.worker(f"worker-{number}") as worker:
            begin = worker.params()
            while worker.round <= ROUNDS:
                params = begin
                for _ in range(LOCAL_STEPS):
                    loss, grads = loss_and_grads(params, data.batch(state.t + 1, BATCH))
                    answer = step(local, state, params, grads)
                    params, state = dict(answer.params), answer.state
                learned = {name: begin[name] - params[name] for name in begin}
                begin = worker.contribute(learned, weight=len(data), loss=loss)


def work_in_shell(session_id: str, number: int) -> None:
    """Run the worker of federated.sh."""
    data = own(number)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "digits.csv"
        np.savetxt(file, np.column_stack([data.images * 16, data.labels]), fmt="%d", delimiter=",")
        script = Path(__file__).with_suffix(".sh")
        command = ["sh", script, session_id, f"worker-{number}", file, str(ROUNDS)]
        subprocess.run(command, check=True)  # noqa: S603


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("method", nargs="?", choices=METHODS, default="diloco")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--shell", action="store_true")
    given = parser.parse_args()
    settings = METHODS[given.method] | ({"lr": given.lr} if given.lr else {})
    with Client() as client:
        session = client.sessions.create(
            **settings,
            groups=[],
            hold_params=True,
            workers={"expected": WORKERS, "quorum": WORKERS},
            ttl_seconds=3600,
            labels={"example": given.method},
        )
        session.put_params({"weight": np.zeros((64, 10), np.float32), "bias": np.zeros(10, np.float32)})
        context = multiprocessing.get_context("spawn")
        kinds = [work] * (WORKERS - 1) + [work_in_shell if given.shell else work]
        workers = [context.Process(target=kind, args=(session.id, number)) for number, kind in enumerate(kinds)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for row in session.history():
            print(f"round {row.step:2}   loss {row.loss:.3f}")
        test = load()[1]
        right = (scores(session.params(), test.images).argmax(axis=1) == test.labels).mean()
        print(f"{given.method}: {right:.1%} of new digits are read rightly")
