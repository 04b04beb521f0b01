"""A trainer of compressed gradients that is killed: `python -m tests.client.compressing URL FOLDER DEATH`.

It dies in the step `DYING`: "before" the request leaves, or "after" its answer has come, which is not acknowledged yet.
The second process has other gradients for that step, and another loss: they must not count.
"""

import os
import signal
import sys
from pathlib import Path

import httpx2
import numpy as np
from optim_client import Client
from optim_client.compress import TopKFeedback

DYING, STEPS = 4, 8


class Deadly(httpx2.HTTPTransport):
    """A transport whose process dies with a step's request."""

    death = ""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        is_step = request.url.path.endswith("/steps")
        if is_step and self.death == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        response = super().handle_request(request)
        if is_step and self.death == "after":
            response.read()
            os.kill(os.getpid(), signal.SIGKILL)
        return response


def train(url: str, folder: Path, death: str = "") -> bytes:
    """Train from where the folder's file says, to the end; return the bits of the parameters."""
    transport, file = Deadly(), folder / "feedback.safetensors"
    with Client(url, transport=transport) as client:
        session = client.sessions.create("sgd", lr=0.1, hold_params=True, idempotency_key=str(folder))
        if session.info.step == 0:
            session.put_params({"w": np.linspace(-1, 1, 50, dtype=np.float32)})
        feedback = TopKFeedback.load(file) if file.exists() else TopKFeedback(0.1)
        w = session.params()["w"]
        for step in range(feedback.step + 1, STEPS + 1):
            lost = feedback.pending is not None
            g = w - np.random.default_rng(step).standard_normal(50, np.float32)
            packet = feedback.packet({"w": g + 1 if lost else g}, step, loss=0.1 * step + lost)
            feedback.save(file)
            transport.death = death if step == DYING else ""
            w = session.step(grads=packet.grads, **packet.options)["w"]
            feedback.acknowledge()
        residual = feedback.residual["w"]
        return w.tobytes() + residual.tobytes()


if __name__ == "__main__":
    print(train(sys.argv[1], Path(sys.argv[2]), sys.argv[3]).hex())
