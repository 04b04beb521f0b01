"""A client of bare sockets that asks for regions and names them, and may lie about all of it."""

import mmap
import re
import socket
from array import array
from typing import Any, NamedTuple, Self

import numpy as np
from optim_client._tensors import decode, encode

SAFETENSORS = "application/vnd.safetensors"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class RegionClient:
    """One connection to a Unix socket."""

    def __init__(self, url: str, key: str = "") -> None:
        self._link = socket.socket(socket.AF_UNIX)
        self._link.settimeout(20)
        self._link.connect(url.removeprefix("unix://"))
        self._key = f"Authorization: Bearer {key}\r\n" if key else ""
        self._rest = b""
        self.descriptors: list[int] = []
        self.memories: dict[int, mmap.mmap] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self._link.sendall(f"{method} {path} HTTP/1.1\r\n{self._key}{length}{fields}\r\n".encode() + body)

    def receive(self) -> Answer:
        """Return the next answer; interim ones are skipped, and descriptors kept."""
        while True:
            while b"\r\n\r\n" not in self._rest:
                self._more()
            head, _, self._rest = self._rest.partition(b"\r\n\r\n")
            status, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", 0))
            while len(self._rest) < length:
                self._more()
            body, self._rest = self._rest[:length], self._rest[length:]
            code = int(status.split()[1])
            if code >= 200:
                return Answer(code, headers, body)

    def _more(self) -> None:
        data, beside, _, _ = self._link.recvmsg(1 << 16, socket.CMSG_SPACE(64))
        if not data:
            raise ConnectionResetError
        for _, _, descriptors in beside:
            self.descriptors += array("i", descriptors)
        self._rest += data

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        self.send(method, path, body, **headers)
        return self.receive()

    def session(self, **settings: Any) -> str:
        """Make a session of SGD that holds its parameters; return its path."""
        answer = self.ask(
            "POST", "/v1/sessions", b'{"optimizer":"sgd","hold_params":true}', Content_Type="application/json"
        )
        return f"/v1/sessions/{re.search(rb'[0-9a-f]{32}', answer.body)[0].decode()}"  # type: ignore[index]

    def lease(self, nbytes: int, *free: int) -> Answer:
        """Ask for a region, and map it."""
        query = "".join(f"&free={number}" for number in free)
        answer = self.ask("POST", f"/v1/regions?nbytes={nbytes}{query}")
        if answer.status == 204:
            self.memories[int(answer.headers["x-optim-region"])] = mmap.mmap(self.descriptors[-1], nbytes)
        return answer

    def step(self, session: str, places: str, **headers: str) -> Answer:
        given = {"Content_Type": SAFETENSORS, **headers}
        return self.ask("POST", f"{session}/steps", X_Optim_Regions=places, **given)


def step_body(values: Any, step: int = 1) -> bytes:
    grads = {"w": np.asarray(values, np.float32)}
    tensors = {"grads": grads} if step > 1 else {"grads": grads, "params": grads}
    return b"".join(encode(tensors, {"step": str(step)}))


def params_of(body: bytes) -> list[float]:
    return [float(value) for value in decode(body, "params")[0]["w"]]


def metric(url: str, name: str) -> float:
    """Return a metric of the service."""
    with RegionClient(url) as client:
        text = client.ask("GET", "/metrics").body.decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0
