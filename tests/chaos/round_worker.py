"""A worker process of the checks of rounds: it contributes until the last round, and logs all that it sends and gets.

It is a client of the standard library alone, which imports nothing of this project. A contribution is in the log before
it is sent, so that after `kill -9` the log has all that the service can know of.
"""

import base64
import hashlib
import http.client
import json
import os
import random
import struct
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

LOST = (OSError, http.client.HTTPException)
WAIT_SECONDS = 1
"""The longest that an answer waits for the round to be a step."""
TIMEOUT_SECONDS = 2.5
PAUSE_SECONDS = 0.02
JSON = {"content-type": "application/json"}
BINARY = {"content-type": "application/vnd.safetensors"}
IN_JSON = {**BINARY, "accept": "application/json"}
DRAWN = 500
"""The numbers that are drawn for a tensor; a longer one has them again and again."""


class Orders(NamedTuple):
    """The orders of a worker: the ports of the servers, its session's path, its name and its tensors' lengths."""

    ports: list[int]
    session: str
    worker: str
    sizes: dict[str, int]
    last_round: int
    seed: int
    log: str


class Answer(NamedTuple):
    """An answer's status and document."""

    status: int
    document: dict[str, Any]


class Log:
    """A file of JSON lines. One that a kill has cut has no end, and what it told of was never sent."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(self._file, b"\n")

    def write(self, event: str, **about: Any) -> None:
        line = json.dumps({"event": event, "time": time.time(), **about}) + "\n"
        os.write(self._file, line.encode())


class Worker:
    """A worker in one life. It asks the other server when one is lost."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.log = Log(orders.log)
        self.epoch = 0
        self._random = random.Random(orders.seed)
        self._ports = random.Random(orders.seed).sample(orders.ports, len(orders.ports))
        self._connection = self._connected()
        self._joins = 0

    def work(self) -> None:
        number = self.join()
        while number <= self.orders.last_round:
            number = self.contribute(number)

    def join(self) -> int:
        """Join with a key of its own; return the open round."""
        self._joins += 1
        key = {"idempotency-key": f'"{self.orders.worker} {self.orders.seed} {self._joins}"'}
        place = self.ask("PUT", f"/workers/{self.orders.worker}", b"{}", key)
        assert place.status == 201, place
        self.epoch = place.document["epoch"]
        self.log.write("joined", epoch=self.epoch, round=place.document["round"])
        return int(place.document["round"])

    def contribute(self, number: int) -> int:
        """Send gradients for a round until it is a step; return the next round."""
        weight = self._random.randrange(1, 1000)
        body = gradients(self._random, self.orders.sizes, {"epoch": self.epoch, "weight": weight})
        about = {"round": number, "epoch": self.epoch}
        self.log.write("sends", **about, weight=weight, body=base64.b64encode(body).decode())
        path, headers = f"/rounds/{number}/contributions/{self.orders.worker}", BINARY if number % 2 else IN_JSON
        while True:
            answer = self.ask("PUT", path, body, headers)
            self.log.write("answered", **about, status=answer.status, **seen(answer.document))
            match answer.status, answer.document.get("code"):
                case 202, _:
                    headers = {**headers, "prefer": f"wait={WAIT_SECONDS}"}
                case (200, _) | (409, "round_closed"):
                    return self.newest(number)
                case 409, "worker_fenced":
                    return self.join()
                case 422, "contribution_mismatch":  # an earlier life's contribution is in
                    return self.wait_for(number)
                case refusal:
                    raise AssertionError(refusal)

    def newest(self, number: int) -> int:
        """Return the open round, which is at least the one after `number`."""
        place = self.ask("PUT", f"/workers/{self.orders.worker}", json.dumps({"epoch": self.epoch}).encode())
        assert place.status == 200, place
        assert place.document["round"] > number, place
        return int(place.document["round"])

    def wait_for(self, number: int) -> int:
        """Wait until a round is a step; return the open one."""
        while self.ask("GET", f"/rounds/{number}?wait={WAIT_SECONDS}").document["state"] != "applied":
            pass
        return self.newest(number)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = JSON) -> Answer:
        """Send a request until one of the servers answers it."""
        headers = {**JSON, **headers}
        while True:
            try:
                self._connection.request(method, self.orders.session + path, body, headers)
                response = self._connection.getresponse()
                if response.length is None:  # its head was cut
                    raise http.client.IncompleteRead(b"")
                document = read(response.getheader("content-type", ""), response.read())
            except LOST:
                self._turn_away()
                continue
            if response.status in (429, 503):
                time.sleep(PAUSE_SECONDS)
                continue
            return Answer(response.status, document)

    def _turn_away(self) -> None:
        """Go to the other server."""
        self._connection.close()
        self._ports.append(self._ports.pop(0))
        self._connection = self._connected()
        time.sleep(PAUSE_SECONDS)

    def _connected(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._ports[0], timeout=TIMEOUT_SECONDS)


def gradients(chance: random.Random, sizes: Mapping[str, int], metadata: Mapping[str, int]) -> bytes:
    """Return a body in safetensors with drawn float32."""
    header: dict[str, Any] = {"__metadata__": {name: str(value) for name, value in metadata.items()}}
    data = b""
    for name, size in sizes.items():
        values = struct.pack(f"<{DRAWN}f", *(chance.gauss(0, 1) for _ in range(DRAWN))) * (size // DRAWN + 1)
        values = values[: 4 * size]
        header[f"grads/{name}"] = {
            "dtype": "F32",
            "shape": [size],
            "data_offsets": [len(data), len(data) + len(values)],
        }
        data += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def read(media_type: str, body: bytes) -> dict[str, Any]:
    """Return an answer's document, where parameters are bytes of float32; that of safetensors in the form of JSON."""
    if media_type != BINARY["content-type"]:
        document: dict[str, Any] = json.loads(body)
        params = document.get("params", {})
        return document | {"params": {name: struct.pack(f"<{len(θ)}f", *θ) for name, θ in params.items()}}
    start = 8 + int(struct.unpack("<Q", body[:8])[0])
    header, data = json.loads(body[8:start]), body[start:]
    about = header.pop("__metadata__")
    params = {name.removeprefix("params/"): data[slice(*run["data_offsets"])] for name, run in header.items()}
    return {"step": int(about["step"]), "digest": about["digest"], "params": params}


def seen(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the log has of an answer; of parameters, their SHA-256 by tensor."""
    kept = {name: document[name] for name in ("code", "state", "step", "digest", "fate") if name in document}
    params = document.get("params", {})
    return kept | {"params": {name: hashlib.sha256(θ).hexdigest() for name, θ in params.items()}}


if __name__ == "__main__":
    Worker(Orders(**json.loads(sys.argv[1]))).work()
