"""A schedule and clipping, both in the service: outliers throw a run off, unless its gradients are bounded.

Each run fits the same line. One batch in ten has a point that is wrong by far. `clip` bounds the norm of a step's
gradients; the schedule raises the learning rate at first and lets it fall at the end, so the noise of batches averages
out. The loop has no line of either. The history shows what they did in each step.
"""

import numpy as np
from optim_client import Client
from optim_client.settings import Settings

STEPS = 150
RUNS: dict[str, Settings] = {
    "neither": {},
    "clip": {"clip": {"global_norm": 1.0}},
    "clip and schedule": {
        "clip": {"global_norm": 1.0},
        "schedule": {"kind": "warmup_cosine", "warmup_steps": 20, "total_steps": STEPS},
    },
}


def gradients(params: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """Return the gradients of the mean square error on the points of that step."""
    draw = np.random.default_rng(step)
    x = draw.uniform(-1, 1, 32)
    y = 2 * x - 1 + draw.normal(0, 0.3, 32)
    if step % 10 == 0:
        y[0] += draw.choice([-1000, 1000])
    error = params["slope"] * x + params["bias"] - y
    return {"slope": np.asarray(2 * (error * x).mean()), "bias": np.asarray(2 * error.mean())}


with Client() as client:
    for name, settings in RUNS.items():
        session = client.sessions.create("sgd", lr=0.1, ttl_seconds=3600, **settings)
        params = {"slope": np.zeros(()), "bias": np.zeros(())}
        for step in range(1, STEPS + 1):
            params = session.step(params, gradients(params, step))
        rows = session.history()
        clipped = sum(row.clip_scale < 1 for row in rows)
        off = float(np.hypot(params["slope"] - 2, params["bias"] + 1))
        print(f"{name:18} {clipped:3} steps clipped   last lr {rows[-1].lr:.6f}   off by {off:.3f}")
