"""Clients that create sessions at a steady pace, take a few steps and let them expire."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
from optim_client._protocol import Request

from tests.bodies import encode
from tests.durability.wire import JSON, Wire

CLIENTS = 2
PACE_SECONDS = 0.1
"""The time from one session to the next of a client."""
STEPS = 4
SIZES = (10, 1_000, 300_000)
"""Elements of a session's one tensor: states of some bytes, of one piece, and of several pieces."""
SAFETENSORS = {"content-type": "application/vnd.safetensors"}


class Lifetimes:
    """Clients that run until the block ends. `created` and `steps` are the acknowledged ones."""

    def __init__(self, port: int, ttl_seconds: float, chance: random.Random) -> None:
        self._port = port
        self._ttl_seconds = ttl_seconds
        self._chance = chance
        self._stop = Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self.created: list[str] = []
        self.steps = 0

    def __enter__(self) -> "Lifetimes":
        self._running = [self._pool.submit(self._run, self._chance.randrange(1 << 32)) for _ in range(CLIENTS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for running in self._running:
            running.result()

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        with Wire(self._port) as wire:
            while not self._stop.is_set():
                started = time.monotonic()
                self._live(wire, chance)
                self._stop.wait(max(0.0, started + PACE_SECONDS - time.monotonic()))

    def _live(self, wire: Wire, chance: random.Random) -> None:
        settings: dict[str, Any] = {"optimizer": "adamw", "hold_params": True, "ttl_seconds": self._ttl_seconds}
        session = wire.ask("POST", "/v1/sessions", settings, 201)["id"]
        self.created.append(session)
        size = chance.choices(SIZES, (8, 8, 1))[0]
        w = {"w": np.full(size, chance.random(), np.float32)}
        for number in range(STEPS):
            body = encode({"grads": w} if number else {"params": w, "grads": w}, {"step": str(number + 1)})
            headers = SAFETENSORS | {"idempotency-key": f'"{number}"'}
            answer = wire.send(Request("POST", f"/v1/sessions/{session}/steps", headers=headers, body=body))
            if answer.status == 404:  # expired, on a slow machine
                return
            assert answer.status == 200, answer.body
            self.steps += 1
        if chance.random() < 0.2:
            assert wire.send(Request("DELETE", f"/v1/sessions/{session}", headers=JSON)).status in (204, 404)
