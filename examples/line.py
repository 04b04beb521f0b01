"""A line through noisy points, learned by AdamW with a warmup, and the history of the run."""

import numpy as np
from optim_client import Client

draw = np.random.default_rng(0)
x = draw.uniform(-1, 1, 256).astype(np.float32)
y = 2 * x - 1 + draw.normal(0, 0.1, 256).astype(np.float32)
params = {"weight": np.zeros(1, np.float32), "bias": np.zeros(1, np.float32)}

with Client() as client:
    session = client.sessions.create(
        "adamw",
        lr=0.1,
        schedule={"kind": "warmup_cosine", "warmup_steps": 20, "total_steps": 300},
        clip={"global_norm": 1.0},
        ttl_seconds=3600,
        labels={"example": "line"},
    )
    for _ in range(300):
        batch = draw.integers(0, 256, 32)
        error = params["weight"] * x[batch] + params["bias"] - y[batch]
        grads = {"weight": 2 * (error * x[batch]).mean(keepdims=True), "bias": 2 * error.mean(keepdims=True)}
        params = session.step(params, grads, loss=float((error**2).mean()))
    for row in session.history()[::50]:
        print(f"step {row.step:3}   loss {row.loss:.4f}   lr {row.lr:.4f}   gradient {row.grad_norm:.3f}")

print(f"y = {params['weight'][0]:.2f} x + {params['bias'][0]:.2f}")
