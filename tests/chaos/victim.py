"""A process that makes one change to a session and is killed at the n-th moment of its store.

`multiprocessing`'s fork server starts it, and has imported everything once.
"""

import asyncio
import multiprocessing
import os
import signal
from functools import partial

import uvloop

from tests.chaos.faulty_store import Fault, faulty_store
from tests.chaos.works import Asked, service_on

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, "tests.chaos.loaded"])


async def is_killed(url: str, session: str, asked: Asked, at: int) -> bool:
    """Run the process; return True if it was killed, False if it finished before."""
    process = CONTEXT.Process(target=_run, args=(url, session, asked, at))
    process.start()
    await asyncio.to_thread(process.join)
    assert process.exitcode in {0, -signal.SIGKILL}, process.exitcode
    return process.exitcode != 0


def _run(url: str, session: str, asked: Asked, at: int) -> None:
    uvloop.run(_attempt(url, session, asked, at))


async def _attempt(url: str, session: str, asked: Asked, at: int) -> None:
    async with faulty_store(url) as store, service_on(store) as client:
        store.fault = Fault(at, partial(os.kill, os.getpid(), signal.SIGKILL))
        answer = await asked.send(client, session)
        assert answer.is_success, answer.text
        store.fault = None
