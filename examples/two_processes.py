"""Two processes that train one session by turns. Each has data of its own, which never leaves it.

They share nothing but the session's id: it holds the parameters, and its step says whose turn it is. Each step has its
number, so one that comes too early or twice is refused, and no gradient is of other parameters than the last. The end
has the same bits as that of a single process with all the data.
"""

import multiprocessing
import time

import numpy as np
from optim_client import Client, Session

STEPS, WORKERS = 60, 2


def gradients(params: dict[str, np.ndarray], step: int) -> tuple[float, dict[str, np.ndarray]]:
    """Return the loss on the worker's points for that step, and the gradients of the parabola's coefficients."""
    worker = step % WORKERS
    x = np.random.default_rng(step).uniform(worker - 1, worker, 64)  # negative points, or positive ones
    powers = np.stack([x**0, x, x**2])
    error = params["coefficients"] @ powers - (1 - 2 * x + 3 * x**2)
    return float((error**2).mean()), {"coefficients": 2 * (powers * error).mean(axis=1)}


def work(session_id: str, worker: int) -> None:
    """Take every second step, each after the other process has taken its own."""
    with Client() as client:
        session = client.sessions.get(session_id)
        for step in range(worker + 1, STEPS + 1, WORKERS):
            while session.get().step < step - 1:
                time.sleep(0.002)
            take(session, step)


def take(session: Session, step: int) -> None:
    loss, grads = gradients(session.params(), step)
    session.step(grads=grads, loss=loss, step=step, return_params=False)


def created(client: Client) -> Session:
    session = client.sessions.create("adam", lr=0.3, hold_params=True, ttl_seconds=3600)
    session.put_params({"coefficients": np.zeros(3)})
    return session


if __name__ == "__main__":
    with Client() as client:
        shared, alone = created(client), created(client)
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=work, args=(shared.id, number)) for number in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for step in range(1, STEPS + 1):
            take(alone, step)
        same = "the same bits" if shared.get().digest == alone.digest else "other bits than one alone"
        print(
            f"two processes, after step {shared.info.step}: {same}, 1 - 2x + 3x² has", shared.params()["coefficients"]
        )
