"""Workers of one session, in few words: a session with parameters, those who join it, and what they send."""

from typing import Any

import httpx2
from httpx2 import Client

from tests.service.calls import create

PARAMS = {"w": [1.0, 2.0, 3.0], "b": [0.5]}
GRADS: dict[str, Any] = {"w": [0.5, -0.25, 1.0], "b": [2.0]}


class Crew:
    """A session in which several work, and the epochs of those who have joined."""

    def __init__(self, client: Client, *names: str, settings: dict[str, Any] | None = None, **workers: Any) -> None:
        self.client = client
        expected = {"expected": len(names)} if "mode" not in workers else {}
        given = {"optimizer": "adamw", **(settings or {})}
        self.session = create(client, hold_params=True, workers=expected | workers, **given)
        assert client.put(f"{self.session}/params", json={"params": PARAMS}).status_code == 204
        self.epochs: dict[str, int] = {}
        for name in names:
            self.join(name)

    def join(self, name: str, key: str | None = None) -> int:
        """Let a worker join; return its epoch."""
        headers = {} if key is None else {"idempotency-key": f'"{key}"'}
        answer = self.client.put(f"{self.session}/workers/{name}", json={}, headers=headers)
        assert answer.status_code == 201, answer.text
        self.epochs[name] = answer.json()["epoch"]
        return self.epochs[name]

    def push(
        self,
        number: int,
        name: str,
        grads: dict[str, Any] | None = None,
        wait: int | None = None,
        headers: dict[str, str] | None = None,
        **beside: Any,
    ) -> httpx2.Response:
        """Send a contribution as JSON."""
        body = {"epoch": self.epochs.get(name, 1), "grads": grads or GRADS, **beside}
        prefer = {} if wait is None else {"prefer": f"wait={wait}"}
        path = f"{self.session}/rounds/{number}/contributions/{name}"
        return self.client.put(path, json=body, headers=prefer | (headers or {}))

    def step(
        self, name: str, seq: int, base: int, grads: dict[str, Any] | None = None, key: str | None = None, **beside: Any
    ) -> httpx2.Response:
        """Send an asynchronous contribution as JSON."""
        body = {"epoch": self.epochs.get(name, 1), "grads": grads or GRADS, "base_step": base, **beside}
        headers = {} if key is None else {"idempotency-key": f'"{key}"'}
        return self.client.put(f"{self.session}/contributions/{name}/{seq}", json=body, headers=headers)

    def round(self, number: int, wait: int = 0) -> dict[str, Any]:
        """Return a round."""
        answer = self.client.get(f"{self.session}/rounds/{number}", params={"wait": wait} if wait else {})
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def close(self, number: int, **headers: str) -> httpx2.Response:
        """Close a round by hand."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(f"{self.session}/rounds/{number}/close", headers=named)

    def fates(self, number: int) -> dict[str, str]:
        """Return what became of each contribution, by worker; of a dropped one, the reason."""
        entries = self.round(number)["contributions"]
        return {entry["worker"]: entry.get("reason") or entry["fate"] for entry in entries}

    def params(self) -> Any:
        """Return the session's parameters."""
        return self.client.get(f"{self.session}/params").json()["params"]
