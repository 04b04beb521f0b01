"""A service on LMDB with a session of a long history, made without a request for each of its steps."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from app.plain import instant
from app.session_document import read_document, write_document
from app.settings import Settings
from app.store import open_store
from app.store.base import Head, Save, Store, new_token
from app.store.history import HistoryRow
from benchmarks.bare_client import BareClient
from benchmarks.peers.service import JSON, ROOM, Service, json_of

AT_ONCE = 500
"""The saves that wait for the store's writer together: it joins them into few transactions."""
SENT = 10
"""The last steps, which are requests, so that the service notices that the history has grown."""
STEP_SECONDS = 0.1
BODY = json_of({"params": {"w": [1.0]}, "grads": {"w": [1.0]}, "loss": 1.0})


class LongSession(NamedTuple):
    """A running service, and the id of its session."""

    service: Service
    id: str


@contextmanager
def long_session(folder: Path, steps: int) -> Iterator[LongSession]:
    """Start a service with a session that has so many steps and a row of each. It has come to rest."""
    store = f"lmdb:{folder}/store"
    service = Service(store, folder / "log", 2, "--lmdb-sync=relaxed", f"--history-limit={steps}")
    try:
        service.start()
        with BareClient(service.port, ROOM) as bare:
            session = orjson.loads(bare.send("POST", "/v1/sessions", JSON, json_of({"optimizer": "adamw"})))["id"]
            bare.send("POST", f"/v1/sessions/{session}/steps", JSON, BODY)
        service.terminate()
        service.wait()
        asyncio.run(lengthen(open_store(Settings(store=store, lmdb_sync="relaxed")), session, steps - 1 - SENT))
        service.start()
        with BareClient(service.port, ROOM) as bare:
            for _ in range(SENT):
                bare.send("POST", f"/v1/sessions/{session}/steps", JSON, BODY)
        service.rest()
        yield LongSession(service, session)
    finally:
        service.kill()


async def lengthen(store: Store, session_id: str, steps: int) -> None:
    """Save so many more steps of a session that has taken one."""
    store.history_limit = steps + 1
    await store.open()
    try:
        head = await store.load(session_id)
        assert head
        saves = _saves(head, orjson.loads((await store.latest(session_id, 1))[0]), steps)
        while some := list(islice(saves, AT_ONCE)):
            await asyncio.gather(*map(store.save, some))  # in this order: each is compared with the one before it
    finally:
        await store.close()


def _saves(head: Head, row: Mapping[str, Any], steps: int) -> Iterator[Save]:
    """Yield the saves of steps that hold the state of `head` and rows like `row`."""
    session = read_document(head)
    document = write_document(replace(session, step=session.step + steps))
    for step in range(session.step + 1, session.step + steps + 1):
        grown = replace(head, version=head.version + 1, token=new_token(), document=document)
        curves = {"loss": 1.0 / step + step % 11 / 1000, "grad_norm": 1.0 + step % 7}
        time = instant(session.updated_at + STEP_SECONDS * step)
        yield Save(grown, head, row=HistoryRow(step, orjson.dumps({**row, "step": step, **curves, "time": time})))
        head = grown
