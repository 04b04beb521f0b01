"""A step through Ray Serve beside one of the bare service, on one Redis: `python -m benchmarks.ray_serve`.

Both have one server process, and a client each that waits for its answer. They take turns, so that a slow moment of the
machine hits both. The environment is that of `make ray`.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.bare_client import BareClient, StepRequest
from benchmarks.peers.service import ROOM, SAFETENSORS, Service, body_of, held
from benchmarks.timing import Spread, in_turn
from optim_engine.arrays import Array
from tests.ray.service import RayService
from tests.servers import RedisServer

SIZES = {1_000: 300, 1_000_000: 40}
"""The rounds by parameters of a session."""
BARE, RAY = "optim serve", "Ray Serve"


def main() -> None:
    """Print the milliseconds of a step by size, and how many times as many Ray Serve takes."""
    with tempfile.TemporaryDirectory(prefix="optim-ray-") as name, ExitStack() as stack:
        folder = Path(name)
        redis = RedisServer(folder).start()
        stack.callback(redis.kill)
        bare = Service(redis.url, folder / "log-bare", 1)
        stack.callback(bare.kill)
        bare.start()
        (folder / "ray").mkdir()
        ray = stack.enter_context(RayService(redis.url, folder / "ray", 1))
        for size, rounds in SIZES.items():
            params, grads = np.random.default_rng(0).standard_normal((2, size), np.float32)
            found = measured({BARE: bare.port, RAY: ray.port}, params, grads, rounds)
            for server, spread in found.items():
                words = f"{spread.median:.2f} ms a step ({spread.p10:.2f} to {spread.p90:.2f})"
                print(f"{size:,} parameters, {server}: {words}")
            print(f"{size:,} parameters, ratio {found[RAY].median / found[BARE].median:.1f}")


def measured(ports: dict[str, int], params: Array, grads: Array, rounds: int) -> dict[str, Spread]:
    """Return the times of a step of a session of its own on each server."""
    with ExitStack() as stack:
        works = {}
        for name, port in ports.items():
            client = stack.enter_context(BareClient(port, params.nbytes + ROOM))
            path = stack.enter_context(held(client, params))
            request = StepRequest(f"{path}/steps", SAFETENSORS, body_of(grads))
            works[name] = lambda client=client, request=request: client.ask(request.next())
        return in_turn(works, rounds)


if __name__ == "__main__":
    main()
