"""Clients that send at the same moment, each on its own connection."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from optim_client._protocol import Request, Response

from tests.durability.wire import Wire


class Race:
    """A race: all requests wait for each other at a barrier."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._wires = [Wire(port) for port in ports]
        self._start = threading.Barrier(len(ports))
        self._pool = ThreadPoolExecutor(len(ports))

    def send(self, requests: Sequence[Request]) -> list[Response]:
        return list(self._pool.map(self._send, self._wires, requests))

    def _send(self, wire: Wire, request: Request) -> Response:
        self._start.wait()
        return wire.send(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for wire in self._wires:
            wire.close()
