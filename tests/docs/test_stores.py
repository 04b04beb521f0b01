"""docs/stores.md: the keys in Redis that it lists."""

import re
from pathlib import Path

import numpy as np
from optim_client import Client

from tests.docs.blocks import read
from tests.durability.processes import servers
from tests.servers import RedisServer

W = {"w": np.ones(300_000, np.float32)}


def test_every_key_that_redis_holds_has_a_row(own_redis: RedisServer, tmp_path: Path) -> None:
    with servers([own_redis.url], tmp_path) as (server,), Client(server.url) as client:
        session = client.sessions.create("adam")
        session.step(W, W)
        with own_redis.client() as admin:
            keys = set(map(bytes.decode, admin.keys()))
    named = set(re.findall(r"^\| `(optim:\S+)` \|", read("docs/stores.md"), re.MULTILINE))
    general = {session.id: "<session>", "tenant:default": "tenant:<tenant>", "claims:default": "claims:<tenant>"}
    found = {re.sub("|".join(general), lambda part: general[part[0]], key) for key in keys}
    assert {re.sub(r"piece:.*", "piece:<name>", key) for key in found} == named
