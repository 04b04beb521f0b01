"""SIGTERM, as an operator or a container's end sends it: the step under way is finished, stored and answered."""

import http.client
import socket

from optim_client._protocol import Response

from tests.durability.processes import ServerProcess
from tests.durability.twin import Twin
from tests.durability.wire import Wire, assert_replay, half_sent


def stop_and_start_in_the_middle_of_a_step(server: ServerProcess) -> None:
    """The server is told to stop when it has read half of a step; the rest is sent when it listens no more."""
    with Wire(server.port) as wire:
        twin = Twin(wire, hold_params=True, rows=250)
        twin.take(wire.send(twin.request()))
        request = twin.request()
        with half_sent(server.port, request) as (slow, rest):
            server.terminate()
            server.wait_until_silent()
            slow.sendall(rest)
            answer = _read_answer(slow)
        twin.take(answer)
        server.wait()
        wire.close()
        server.start()
        assert_replay(wire.send(request), answer)
        twin.take(wire.send(twin.request()))
        twin.check(wire)


def _read_answer(client: socket.socket) -> Response:
    response = http.client.HTTPResponse(client)
    response.begin()
    return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
