"""SIGTERM, as an operator or a container's end sends it: the step under way is finished, stored and answered."""

import http.client
import socket
import time

from optim_client._protocol import Response

from tests.durability.processes import ServerProcess
from tests.durability.twin import Twin
from tests.durability.wire import Wire, assert_replay, bytes_of

NOTICE_SECONDS = 20.0


def stop_and_start_in_the_middle_of_a_step(server: ServerProcess) -> None:
    """The server is told to stop when it has read half of a step; the rest is sent when it listens no more."""
    with Wire(server.port) as wire, socket.create_connection(("127.0.0.1", server.port)) as slow:
        twin = Twin(wire, hold_params=True, rows=250)
        twin.take(wire.send(twin.request()))
        request = twin.request()
        head, body = bytes_of(request)
        slow.sendall(head + body[: len(body) // 2])
        server.wait_for_client(slow)
        server.terminate()
        _wait_until_closed(server)
        slow.sendall(body[len(body) // 2 :])
        answer = _read_answer(slow)
        twin.take(answer)
        server.wait()
        wire.close()
        server.start()
        assert_replay(wire.send(request), answer)
        twin.take(wire.send(twin.request()))
        twin.check(wire)


def _wait_until_closed(server: ServerProcess) -> None:
    deadline = time.monotonic() + NOTICE_SECONDS
    while server.is_ready():
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.01)


def _read_answer(client: socket.socket) -> Response:
    response = http.client.HTTPResponse(client)
    response.begin()
    return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
