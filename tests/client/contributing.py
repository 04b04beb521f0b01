"""A worker that is killed once its contribution is in: `python -m tests.client.contributing URL SESSION FOLDER`."""

import os
import signal
import sys
from pathlib import Path

import httpx2
import numpy as np
from optim_client import Client
from optim_client.compress import TopKFeedback

NAME = "gpu-3"
G = {"w": np.float32([8, 2])}


class Deadly(httpx2.HTTPTransport):
    """A transport whose process dies when the service has stored the contribution, before its answer."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if "/contributions/" in request.url.path:
            request.headers.pop("prefer", None)
            super().handle_request(request).read()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().handle_request(request)


def contribute(url: str, session_id: str, folder: Path) -> None:
    """Save a packet, and contribute it."""
    with (
        Client(url, transport=Deadly()) as client,
        client.sessions.get(session_id).worker(NAME) as worker,
    ):
        feedback = TopKFeedback(0.5)
        packet = feedback.packet(G, worker.round, weight=2)
        feedback.save(folder / "feedback")
        worker.contribute(packet.grads, **packet.options)


if __name__ == "__main__":
    contribute(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
