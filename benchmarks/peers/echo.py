"""The bare echo: an ASGI application that answers a request with its body, and nothing else.

It runs on the service's uvicorn, with the same event loop and the same parser, in one process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.bare_client import BareClient, StepRequest
from benchmarks.peers.process import python, wait_for
from benchmarks.peers.service import ROOM, SAFETENSORS, body_of
from benchmarks.peers.session import Session, Step
from optim_engine.arrays import Array
from tests.servers import free_port

PATH = "/steps"


async def app(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    fields = [(b"content-type", SAFETENSORS.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def echo() -> Iterator[int]:
    """Start the server; yield its port."""
    port = free_port()
    command = ["uvicorn", "benchmarks.peers.echo:app", f"--port={port}", "--loop=uvloop", "--http=httptools"]
    command += ["--ws=none", "--lifespan=off", "--no-access-log", "--no-server-header", "--log-level=warning"]
    command += ["--timeout-keep-alive=75"]  # a connection idles until its turn
    with python("-m", *command) as process:
        wait_for(process, port)
        yield port


def echoes(port: int) -> Session:
    """Return sessions that send the bytes of the service's steps."""

    @contextmanager
    def session(_: Array, grads: Array) -> Iterator[Step]:
        with BareClient(port, grads.nbytes + ROOM) as bare:
            request = StepRequest(PATH, SAFETENSORS, body_of(grads))
            yield Step(lambda: bare.ask(request.next()))

    return session
