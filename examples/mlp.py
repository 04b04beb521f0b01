"""A network of two layers in NumPy that learns to read digits, with its gradients by hand.

The program sends parameters and gradients by their names; the optimizer and its schedule are the service's. Choose
another one with its learning rate: `mlp.py lion 0.001`.
"""

import sys

import numpy as np
from optim_client import Client, progress

from app.demo.digits import Digits, load

OPTIMIZER = sys.argv[1] if len(sys.argv) > 1 else "adamw"
LR = float(sys.argv[2]) if len(sys.argv) > 2 else 0.01
STEPS, BATCH = 300, 64

Params = dict[str, np.ndarray]


def forward(params: Params, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the hidden layer, and the probability of each digit."""
    hidden = np.maximum(images @ params["hidden.weight"] + params["hidden.bias"], 0)
    scores = np.exp(hidden @ params["output.weight"] + params["output.bias"])
    return hidden, scores / scores.sum(axis=1, keepdims=True)


def loss_and_grads(params: Params, batch: Digits) -> tuple[float, Params]:
    """Return the mean cross-entropy, and its derivative by each parameter."""
    hidden, likely = forward(params, batch.images)
    shown = np.arange(len(batch)), batch.labels
    loss = -np.log(likely[shown]).mean()
    likely[shown] -= 1
    d_scores = likely / len(batch)
    d_hidden = (d_scores @ params["output.weight"].T) * (hidden > 0)
    return float(loss), {
        "hidden.weight": batch.images.T @ d_hidden,
        "hidden.bias": d_hidden.sum(axis=0),
        "output.weight": hidden.T @ d_scores,
        "output.bias": d_scores.sum(axis=0),
    }


draw = np.random.default_rng(0)
params = {
    "hidden.weight": draw.normal(0, 0.2, (64, 64)).astype(np.float32),
    "hidden.bias": np.zeros(64, np.float32),
    "output.weight": draw.normal(0, 0.2, (64, 10)).astype(np.float32),
    "output.bias": np.zeros(10, np.float32),
}
train, test = load()

with Client() as client:
    session = client.sessions.create(
        OPTIMIZER,  # type: ignore[arg-type]
        lr=LR,
        schedule={"kind": "warmup_cosine", "warmup_steps": 20, "total_steps": STEPS},
        ttl_seconds=3600,
        labels={"example": "mlp"},
    )
    for step in progress(session, total=STEPS):
        loss, grads = loss_and_grads(params, train.batch(step, BATCH))
        params = session.step(params, grads, loss=loss)
    print(session)

right = (forward(params, test.images)[1].argmax(axis=1) == test.labels).mean()
print(f"{right:.1%} of {len(test)} new digits are read rightly")
