"""The server of `plain_fastapi.py`, run by uvicorn with its defaults and asked by a bare socket."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

import numpy as np
import orjson

from benchmarks.bare_client import BareClient, StepRequest
from benchmarks.peers.process import python, wait_for
from benchmarks.peers.service import JSON, LONGEST_NUMBER, ROOM, json_of
from benchmarks.peers.session import Session, Step
from optim_engine.arrays import Array
from tests.servers import free_port


@contextmanager
def plain_fastapi(redis_url: str) -> Iterator[dict[str, Session]]:
    """Start the server; yield its sessions with typed and with untyped answers."""
    port = free_port()
    command = ["uvicorn", "benchmarks.peers.plain_fastapi:app", f"--port={port}", "--log-level=warning"]
    command += ["--timeout-keep-alive=75"]  # a connection idles until its turn
    with python("-m", *command, REDIS_URL=redis_url) as process:
        wait_for(process, port)
        yield {form: partial(_session, port, form) for form in ("typed", "untyped")}


@contextmanager
def _session(port: int, form: str, params: Array, grads: Array) -> Iterator[Step]:
    with BareClient(port, LONGEST_NUMBER * params.size + ROOM) as bare:
        body = json_of({"params": params, "grads": grads})
        request = StepRequest(f"/{form}/{uuid4().hex}/step", JSON, body)
        yield Step(lambda: bare.ask(request.next()), lambda answer: np.float32(orjson.loads(answer)["params"]))
