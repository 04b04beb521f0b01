"""What the page about the stores tells an operator to type does what it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from optim_client import Client

from tests.docs.blocks import blocks, read, section
from tests.durability.processes import servers
from tests.servers import RedisServer

W = {"w": np.ones(300_000, np.float32)}


def test_a_copy_of_the_folder_is_a_store_of_that_moment(tmp_path: Path) -> None:
    (line,) = blocks(section(read("docs/stores.md"), "lmdb:PATH"), "sh")
    places = {"python": sys.executable, "PATH": str(tmp_path / "store"), "COPY": str(tmp_path / "copy")}
    with Client(f"lmdb:{tmp_path / 'store'}") as client:
        session = client.sessions.create("adam", hold_params=True)
        session.step(W, W)
        subprocess.run([places.get(word, word) for word in shlex.split(line)], check=True, capture_output=True)
        digest = session.digest
        session.step(grads=W)
    with Client(f"lmdb:{tmp_path / 'copy'}") as client:
        copied = client.sessions.get(session.id)
        assert (copied.info.step, copied.digest) == (1, digest)
        copied.step(grads=W)
    assert copied.digest == session.digest


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
