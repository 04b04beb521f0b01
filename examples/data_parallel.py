"""Four processes that train one model on shares of each batch, to the same bits as one process with all of it.

A round is a step: the service waits for the four, and steps with the mean of their gradients. Shares differ in size,
so each gradient has the number of its images as its weight. The service makes the mean in float64, in the order of the
workers' names, and rounds it once to float32. So does the process that trains alone.
"""

import multiprocessing
from functools import reduce
from operator import add

import numpy as np
from optim_client import Client, Session

from app.demo import network
from app.demo.digits import Digits, load

STEPS, BATCH = 100, 64
BOUNDS = (0, 8, 20, 40, 64)
"""The cuts of a batch: the first worker has 8 images of it, the last one 24."""
WORKERS = len(BOUNDS) - 1


def share(train: Digits, step: int, number: int) -> Digits:
    """Return a worker's share of the batch of that step."""
    return train.batch(step, BATCH)[slice(*BOUNDS[number : number + 2])]


def work(session_id: str, number: int) -> None:
    """Contribute to each round, and go on with the parameters that all get."""
    train, _ = load()
    with Client() as client:
        session = client.sessions.get(session_id)
        with session.worker(f"worker-{number}") as worker:
            params = worker.params()
            while worker.round <= STEPS:
                part = share(train, worker.round, number)
                loss, grads = network.loss_and_grads(params, part)
                params = worker.contribute(grads, weight=len(part), loss=loss)


def train_alone(session: Session, train: Digits) -> None:
    """Take the same steps, each with the mean of the same four gradients."""
    params = session.params()
    for step in range(1, STEPS + 1):
        parts = [share(train, step, number) for number in range(WORKERS)]
        grads = [network.loss_and_grads(params, part)[1] for part in parts]
        mean = {}
        for name in params:
            weighted = [len(part) * grad[name].astype(np.float64) for part, grad in zip(parts, grads, strict=True)]
            mean[name] = (reduce(add, weighted) / BATCH).astype(np.float32)
        params = session.step(grads=mean)


def created(client: Client, **settings: object) -> Session:
    session = client.sessions.create("adamw", lr=0.01, hold_params=True, ttl_seconds=3600, **settings)  # type: ignore[arg-type]
    session.put_params(network.init())
    return session


if __name__ == "__main__":
    train, test = load()
    with Client() as client:
        shared, alone = created(client, workers={"expected": WORKERS, "quorum": WORKERS}), created(client)
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=work, args=(shared.id, number)) for number in range(WORKERS)]
        for worker in workers:
            worker.start()
        train_alone(alone, train)
        for worker in workers:
            worker.join()
        same = "the same bits" if shared.get().digest == alone.digest else "other bits than one alone"
        right = network.accuracy(shared.params(), test)
        print(f"four processes, after step {shared.info.step}: {same}, {right:.1%} of new digits are read rightly")
