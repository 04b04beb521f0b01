"""Sessions that move from store to store: each goes on to the bit, and known requests are replays."""

import json
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tests.amounts import times
from tests.durability.test_every_rule import MORE, bodies

SHAPES = {"w": (6, 5), "own": (2, 3), "emb": (6, 3), "layer.bias": (5,)}


def tensors(seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed).standard_normal
    return {name: draw(shape, np.float32).tolist() for name, shape in SHAPES.items()}


class Moved:
    """The sessions, in a whole run those of every rule, and the last request and answer of each."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sessions: dict[str, dict[str, Any]] = {}
        self.last: dict[str, tuple[dict[str, Any], Any]] = {}
        for n, rule in enumerate([*bodies()[: -len(MORE) : times(quick=9, whole=1)], *MORE]):
            settings = {**rule, "ttl_seconds": 3600 if n % 2 else None, "undo": rule.get("undo", n % 3)}
            made, _ = self.ask("POST", "/v1/sessions", settings, key=f"creates {n}")
            self.sessions[made["id"]] = settings
        for _ in range(3):
            self.step_all()

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[Any, Any]:
        """Return the answer of the service and its headers."""
        parts = urlsplit(self.url)
        connection = HTTPConnection(parts.hostname or "", parts.port)
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": f'"{key}"'} if key else {})
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert answer.status in (200, 201), text
        return json.loads(text), answer.headers

    def step_all(self) -> dict[str, str]:
        """Take the next step of each session; return the digests."""
        return {session_id: self._step(session_id) for session_id in self.sessions}

    def _step(self, session_id: str) -> str:
        _, answer = self.last.get(session_id, ({}, {"step": 0, "params": tensors(0)}))
        number = answer["step"] + 1
        body: dict[str, Any] = {"step": number, "grads": tensors(number), "loss": 1 / number}
        if number == 1 or not self.sessions[session_id].get("hold_params"):
            body["params"] = answer["params"]
        answer, _ = self.ask("POST", f"/v1/sessions/{session_id}/steps", body, key=f"step {number}")
        self.last[session_id] = body, answer
        return str(answer["digest"])

    def check(self) -> None:
        """Assert that the service answers the last requests, and the creations, as it did."""
        for n, (session_id, (body, answer)) in enumerate(self.last.items()):
            path = f"/v1/sessions/{session_id}"
            again, headers = self.ask("POST", f"{path}/steps", body, key=f"step {body['step']}")
            assert headers["Idempotent-Replayed"] == "true"
            assert again == answer
            made, headers = self.ask("POST", "/v1/sessions", self.sessions[session_id], key=f"creates {n}")
            assert (made["id"], headers["Idempotent-Replayed"]) == (session_id, "true")
            assert (made["expires_at"] is None) == (n % 2 == 0)
            history, _ = self.ask("GET", f"{path}/history")
            assert [row["step"] for row in history["history"]] == list(range(1, body["step"] + 1))

    def undo_all(self) -> None:
        """Undo the last step where the session keeps one, and take it again to the same digest."""
        for session_id, settings in self.sessions.items():
            if settings["undo"]:
                body, answer = self.last[session_id]
                self.ask("POST", f"/v1/sessions/{session_id}/undo", {"step": body["step"]})
                again, _ = self.ask("POST", f"/v1/sessions/{session_id}/steps", body)
                assert again["digest"] == answer["digest"]
