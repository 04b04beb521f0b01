"""Rounds over two server processes on one store: either closes them, and a stop answers those who wait."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from httpx2 import Client

from tests.durability.processes import ServerProcess, servers
from tests.service.crew import GRADS, PARAMS


@pytest.fixture(params=["lmdb", "redis"])
def pair(request: pytest.FixtureRequest, folder: Path) -> Iterator[list[ServerProcess]]:
    url = request.getfixturevalue("redis").url if request.param == "redis" else f"lmdb:{folder / 'rounds'}"
    with servers([url, url], folder) as started:
        yield started


@pytest.mark.long
def test_two_processes_close_the_rounds_of_either(pair: list[ServerProcess]) -> None:
    with Client(base_url=pair[0].url) as one, Client(base_url=pair[1].url) as other, ThreadPoolExecutor(4) as threads:
        workers = {"expected": 3, "quorum": 2, "grace_seconds": 0.2}
        created = one.post("/v1/sessions", json={"optimizer": "adamw", "hold_params": True, "workers": workers})
        session = f"/v1/sessions/{created.json()['id']}"
        one.put(f"{session}/params", json={"params": PARAMS})
        near = {"a": one, "b": other}
        epochs = {name: near[name].put(f"{session}/workers/{name}", json={}).json()["epoch"] for name in near}
        for number in range(1, 6):
            path = f"{session}/rounds/{number}/contributions/"
            asked = [
                threads.submit(
                    near[name].put,
                    path + name,
                    json={"epoch": epochs[name], "grads": GRADS},
                    headers={"prefer": "wait=30"},
                )
                for name in near
            ]
            answers = [answer.result() for answer in asked]
            assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
            assert answers[0].content == answers[1].content
        assert other.get(session).json()["step"] == 5
        started = time.monotonic()
        last = {"epoch": epochs["a"], "grads": GRADS}
        waits = threads.submit(
            one.put, f"{session}/rounds/6/contributions/a", json=last, headers={"prefer": "wait=60"}, timeout=90
        )
        while other.get(f"{session}/rounds/6").json()["have"] == 0:
            assert time.monotonic() < started + 60
        pair[0].terminate()
        assert waits.result().status_code == 202
        assert other.get(session).json()["round"]["have"] == 1
