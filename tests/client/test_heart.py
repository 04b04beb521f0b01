"""The renewals of a lease: they go on by themselves, outlive a failure, and end with the worker."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable

import pytest
from optim_client import AsyncClient, Client, _worker_calls
from optim_client._async_heart import AsyncHeart
from optim_client._heart import Heart

from tests.client.scripted import DROP, Answer, ScriptedServer

RENEWED = Answer(body=b'{"worker": "a", "epoch": 1, "step": 4}')
FENCED = Answer(409, b'{"code": "worker_fenced", "detail": "another process"}')
BUSY = Answer(409, b'{"code": "session_busy", "detail": "other workers were quicker"}')
RENEW = _worker_calls.renew("s", "a", 1)
SECONDS = 0.02


class Owner:
    """Stands for the worker that a heart beats for."""


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def beating() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "optim-worker"]


def test_a_lease_is_renewed_until_the_worker_leaves() -> None:
    with ScriptedServer(DROP, Answer(503), BUSY, RENEWED, resent=[200]) as server, Client(server.url) as client:
        heart, owner = Heart(client), Owner()
        heart.start(owner, RENEW, SECONDS)
        until(lambda: len(server.seen) > 4)
        assert {(each.method, each.path, each.body) for each in server.seen} == {
            ("PUT", "/v1/sessions/s/workers/a", b'{"epoch": 1}')
        }
        heart.stop()
        assert not beating()


@pytest.mark.parametrize("end", ["collected", "fenced", "closed", "forked"])
def test_the_thread_never_outlives_its_worker(end: str) -> None:
    script, resent = ([RENEWED, RENEWED, FENCED], []) if end == "fenced" else ([RENEWED], [200])
    with ScriptedServer(*script, resent=resent) as server:
        client = Client(server.url)
        heart, owner = Heart(client), Owner()
        heart.start(owner, RENEW, SECONDS)
        until(lambda: len(server.seen) > 1)
        if end == "collected":
            del owner
            gc.collect()
        elif end == "closed":
            client.close()
        elif end == "forked":
            heart.after_fork()
            assert beating()  # the parent's goes on
            del owner
        until(lambda: not beating())
        heart.stop()
        client.close()


@pytest.mark.long
async def test_the_task_renews_and_ends_with_its_worker() -> None:
    with ScriptedServer(DROP, BUSY, RENEWED, resent=[200]) as server:
        async with AsyncClient(server.url) as client:
            heart, owner = AsyncHeart(client), Owner()
            for end in ("stopped", "collected"):
                await heart.start(owner, RENEW, SECONDS)
                seen, before = len(server.seen), len(asyncio.all_tasks())
                await asyncio.to_thread(until, lambda wanted=seen + 3: len(server.seen) >= wanted)
                if end == "stopped":
                    await heart.stop()
                else:
                    del owner
                    gc.collect()
                    await asyncio.sleep(SECONDS)
                assert len(asyncio.all_tasks()) == before - 1
