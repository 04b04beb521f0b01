"""docs/stores.md: the keys in Redis that it lists."""

import asyncio
import re
import time
from pathlib import Path

import numpy as np
import pytest
from optim_client import Client

from app.settings import Settings
from app.store import open_store
from optim_engine import OPTIMIZERS, Config
from tests.docs.blocks import read, rows, section
from tests.durability.processes import servers
from tests.servers import RedisServer
from tests.store.ledgers import ledger_saved

STORES = read("docs/stores.md")
W = {"w": np.ones(300_000, np.float32)}


async def wait_in_a_round(url: str, session_id: str) -> None:
    """Save a ledger that is due in a year."""
    async with open_store(Settings(store=url)) as store:
        await ledger_saved(store, session_id=session_id, due_at=time.time() + 365 * 86400)


def test_every_key_that_redis_holds_has_a_row(own_redis: RedisServer, tmp_path: Path) -> None:
    options = ["--history-limit=1"]  # so that the history is thinned
    with servers([own_redis.url], tmp_path, options=options) as (server,), Client(server.url) as client:
        session = client.sessions.create("adam")
        for _ in range(3):
            session.step(W, W)
        session.update(labels={"run": "marked"})
        asyncio.run(wait_in_a_round(own_redis.url, session.id))
        with own_redis.client() as admin:
            keys = set(map(bytes.decode, admin.keys()))
    named = set(re.findall(r"^\| `(optim:\S+)` \|", STORES, re.MULTILINE))
    general = {session.id: "<session>", "tenant:default": "tenant:<tenant>", "claims:default": "claims:<tenant>"}
    found = {re.sub("|".join(general), lambda part: general[part[0]], key) for key in keys}
    assert {re.sub(r"piece:.*", "piece:<name>", key) for key in found} == named


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_has_a_row_with_its_moments_bytes(optimizer: str) -> None:
    rule = OPTIMIZERS[optimizer]
    shape: tuple[int, ...] = (2, 3) if rule.refusal((2,)) else (2,)
    used = rule.slots(Config.parse(optimizer, hold_params=True).hyperparameters, shape)
    moments = [slot for slot in rule.keeps if slot.name in used and slot.shape_of(shape) == shape]
    [size] = [row[1] for row in rows(section(STORES, "Sizing")) if f"`{optimizer}`" in row[0]]
    assert int(size.partition(";")[0].split()[0]) == 4 * len(moments)
