"""A Ray actor with the optimizer and the parameters: it takes gradients and returns parameters. Nothing is saved.

Ray runs on 127.0.0.1, without its dashboard and its usage statistics.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
import torch

from benchmarks.peers.session import Session, Step
from benchmarks.peers.torch_adamw import TorchAdamW
from optim_engine.arrays import Array

OBJECT_STORE_BYTES = 2 << 30
"""Enough for 100 M parameters and their gradients. Ray uses all of it in turn."""


class Optimizer:
    """The actor. Ray gives it read-only arrays."""

    def __init__(self, params: Array, threads: int) -> None:
        torch.set_num_threads(threads)
        self._adamw = TorchAdamW(torch.tensor(params))

    def step(self, grads: Array) -> Array:
        return self._adamw.step(torch.from_numpy(grads)).numpy()


@contextmanager
def ray_actor(threads: int, folder: str) -> Iterator[Session]:
    """Start Ray with its files in `folder`, whose path must be short enough for sockets; yield the sessions."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        num_cpus=threads,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=OBJECT_STORE_BYTES,
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )
    actor: Any = ray.remote(num_cpus=threads)(Optimizer)

    @contextmanager
    def session(params: Array, grads: Array) -> Iterator[Step]:
        optimizer = actor.remote(params, threads)
        ray.get(optimizer.__ray_ready__.remote())
        yield Step(lambda: ray.get(optimizer.step.remote(grads)), np.asarray)
        ray.kill(optimizer)

    try:
        yield session
    finally:
        ray.shutdown()
