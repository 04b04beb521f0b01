"""Readers that take an answer slowly beside large steps, which write over the old state where nobody reads it."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from optim_client._protocol import Request, Response
from optim_client._tensors import decode

from app.wire.codec import Limits
from app.wire.state_file import StateFile
from optim_engine import State
from tests.chaos.trial import Trial
from tests.durability.processes import ServerProcess, servers
from tests.durability.twin import Twin, bits
from tests.durability.wire import Wire, bytes_of
from tests.service.calls import SAFETENSORS
from tests.stores import STORES

ROWS = 7000
"""Rows of 300 float32: the parameters are 8.4 MB, more than the sockets between server and client hold."""
RECEIVE_BYTES = 1 << 16
ACCEPT = {"accept": SAFETENSORS}
LIMITS = Limits(max_tensors=9, max_name_length=99)


class Slow:
    """An answer of which the head has come: the server sends the rest as it is taken."""

    def __init__(self, port: int, request: Request) -> None:
        head, body = bytes_of(request)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self._socket.settimeout(60)
        self._socket.connect(("127.0.0.1", port))
        self._socket.sendall(head + body)
        self._answer = http.client.HTTPResponse(self._socket)
        self._answer.begin()

    def rest(self) -> Response:
        """Take the rest."""
        with self._socket:
            headers = {name.lower(): value for name, value in self._answer.getheaders()}
            return Response(self._answer.status, headers, self._answer.read())


@pytest.fixture(params=STORES)
def server(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[ServerProcess]:
    """Start a server on each store in turn."""
    with servers([STORES[request.param](tmp_path, lambda: redis_url)], tmp_path) as (server,):
        yield server


@pytest.mark.requirement("R5")
@pytest.mark.long
def test_a_slow_reader_sees_one_state(trial: Trial, server: ServerProcess) -> None:
    with Wire(server.port) as wire:
        for _ in range(trial.times(quick=1, whole=2)):
            twin = Twin(wire, hold_params=True, rows=ROWS)
            twin.take(wire.send(twin.request()))
            for _ in range(trial.times(quick=4, whole=40)):
                read_beside_steps(trial, server.port, wire, twin)
            twin.check(wire)
            trial.tried["sessions that end equal to a local replay"] += 1


def read_beside_steps(trial: Trial, port: int, wire: Wire, twin: Twin) -> None:
    """Begin to take some answers, take steps meanwhile, and then the rest of the answers."""
    before, chosen = twin.state, trial.random.sample(["state", "params", "step"], trial.random.randrange(4))
    reads = {what: Request("GET", f"{twin.path}/{what}", headers=ACCEPT) for what in chosen if what != "step"}
    slow = {what: Slow(port, read) for what, read in reads.items()}
    if "step" in chosen:
        slow["step"] = Slow(port, twin.request())
        outcome = twin.advance()
    later = []
    for _ in range(trial.random.randrange(1, 4)):
        answer = wire.send(twin.request())
        later.append((answer, twin.advance()))
    for what, begun in slow.items():
        if what == "step":
            twin.compare(begun.rest(), outcome)
        else:
            check_read(begun.rest(), what, before)
        trial.tried[f"slow answers to {'POST …/steps' if what == 'step' else f'GET …/{what}'}"] += 1
    for answer, expected in later:
        twin.compare(answer, expected)
        trial.tried["steps beside them" if slow else "steps beside none"] += 1


def check_read(answer: Response, what: str, state: State) -> None:
    """Compare what was read with the state of the moment at which its head came."""
    assert answer.status == 200, answer.body
    if what == "state":
        StateFile(answer.body, LIMITS)  # checks the content against the digest
    slots = ("m", "v", "v_max", "params") if what == "state" else ("params",)
    for slot in slots:
        assert bits(decode(answer.body, slot)[0]) == bits({name: state.array(name, slot) for name in state.entries})
