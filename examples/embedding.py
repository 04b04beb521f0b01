"""An embedding table of a million rows, of which each step names a thousand, and sends no others.

An item belongs to one of eight kinds, which follows from its number alone. So its row of the table has to learn it,
whenever the item is drawn: some are drawn often, most of them never. The session holds the table. Its group is `lazy`:
a row that a step does not name keeps its moments and its count, and takes its weight decay when it is next named or
read.

A million items take ten seconds on `memory:`, and minutes on a store on disk, which writes each MiB of the state that a
step touches. `embedding.py 20000` has a smaller table.
"""

import sys

import numpy as np
from numpy.typing import NDArray
from optim_client import Client, Rows

ITEMS, WIDTH, KINDS, STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, 16, 8, 300
draw = np.random.default_rng(0)


def drawn() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return different items, the smaller the more often, and their kinds."""
    items = np.unique((ITEMS ** draw.random(2000)).astype(np.int64) - 1)
    return items, items * 2654435761 // 128 % KINDS


def gradients(
    rows: NDArray[np.float32], head: NDArray[np.float32], kinds: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Return the gradients of the mean cross-entropy, and how many of the kinds are the likeliest ones."""
    scores = rows @ head
    likely = np.exp(scores - scores.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    right = float((likely.argmax(axis=1) == kinds).mean())
    likely[np.arange(len(kinds)), kinds] -= 1
    return likely @ head.T / len(kinds), rows.T @ likely / len(kinds), right


with Client() as client:
    session = client.sessions.create(
        "adamw", lr=0.05, hold_params=True, groups=[{"match": ["table"], "sparse": "lazy"}], ttl_seconds=3600
    )
    head = draw.normal(size=(WIDTH, KINDS)).astype(np.float32)
    session.put_params({"table": draw.normal(0, 0.1, (ITEMS, WIDTH)).astype(np.float32), "head": head})
    for step in range(1, STEPS + 1):
        items, kinds = drawn()
        table = session.rows({"table": items})["table"]
        table_grads, head_grads, right = gradients(table, head, kinds)
        head = session.step(grads={"table": Rows(items, table_grads), "head": head_grads}, loss=1 - right)["head"]
        if step == 1 or step % 50 == 0:
            print(f"step {step:3}   {len(items)} of {ITEMS} rows   {right:.0%} of the kinds are known")
