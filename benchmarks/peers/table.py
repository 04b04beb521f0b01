"""A table of a million rows that this service holds, stepped by a thousand of them or by all."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import cycle

import numpy as np
from safetensors.numpy import save

from benchmarks.bare_client import BareClient, Request
from benchmarks.peers.service import ROOM, SAFETENSORS, Service, held
from benchmarks.timing import Work
from optim_engine.arrays import Array

ROWS, WIDTH, NAMED = 1_000_000, 64, 1_000
WHOLE = "the table, dense"
BODIES = 20
"""The different requests of each work, so that each is a new step, of rows that are not in the processor's cache."""
LAZY = {"groups": [{"match": ["w"], "sparse": "lazy"}]}


@contextmanager
def table_steps(server: Service) -> Iterator[Mapping[str, Work]]:
    """Open two sessions: the table, whose rows are lazy, and a tensor as large as the rows of a step."""
    draw = np.random.default_rng(0)
    table = np.zeros((ROWS, WIDTH), np.float32)
    with ExitStack() as stack:
        bare = stack.enter_context(BareClient(server.port, table.nbytes + ROOM))
        large = stack.enter_context(held(bare, table, **LAZY))
        small = stack.enter_context(held(bare, table[:NAMED]))
        starts = NAMED * draw.choice(ROWS // NAMED // 2, BODIES, replace=False)  # in one half, the others in the other
        rows = [ROWS // 2 + np.sort(draw.choice(ROWS // 2, NAMED, replace=False)) for _ in range(BODIES)]
        bodies = {
            "rows next to each other": (large, [_body(draw, np.arange(start, start + NAMED)) for start in starts]),
            "rows anywhere": (large, [_body(draw, indices) for indices in rows]),
            "as many elements, dense": (small, [_body(draw) for _ in range(BODIES)]),
            WHOLE: (large, [save({"grads/w": table + scale}) for scale in (1, 2)]),
        }
        yield {name: _work(bare, path, sent) for name, (path, sent) in bodies.items()}


def _body(draw: np.random.Generator, rows: Array | None = None) -> bytes:
    grads = {"grads/w": draw.standard_normal((NAMED, WIDTH), np.float32)}
    return save(grads if rows is None else {"rows/w": rows.astype(np.int64), **grads})


def _work(bare: BareClient, path: str, bodies: list[bytes]) -> Work:
    requests = cycle([Request("POST", f"{path}/steps", SAFETENSORS, body) for body in bodies])
    return lambda: bare.ask(next(requests))
