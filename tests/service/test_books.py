"""Books: a session and its ledger as read together, also while another process changes both."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from app.errors import StateDamaged
from app.store.ledger import Ledger
from app.store.memory import MemoryStore
from tests.service.calls import create, problem, serving
from tests.service.crew import GRADS, PARAMS
from tests.service.gathered import created, service


class Shared(MemoryStore):
    """A store in memory that several services share, as processes do: each looks for what the others did."""

    is_instant = False


async def test_many_workers_of_two_services_are_all_counted() -> None:
    store, names = Shared(100), [f"w{i}" for i in range(12)]
    async with service(store) as one, service(store) as other:
        session = await created(one, hold_params=True, workers={"expected": len(names)})
        await one.put(f"{session}/params", json={"params": PARAMS})
        near = {name: (one, other)[i % 2] for i, name in enumerate(names)}
        joined = await asyncio.gather(*(near[name].put(f"{session}/workers/{name}", json={}) for name in names))
        epochs = {name: answer.json()["epoch"] for name, answer in zip(names, joined, strict=True)}
        assert sorted(epochs.values()) == list(range(1, len(names) + 1))
        for number in (1, 2):
            pushes = [
                near[name].put(
                    f"{session}/rounds/{number}/contributions/{name}",
                    json={"epoch": epochs[name], "grads": GRADS},
                    headers={"prefer": "wait=30"},
                )
                for name in names
            ]
            answers = await asyncio.gather(*pushes)
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.content for answer in answers}) == 1
            found = (await other.get(f"{session}/rounds/{number}")).json()
            assert (found["have"], found["state"]) == (len(names), "applied")


async def test_a_round_is_waited_for_again_after_its_undo() -> None:
    store = Shared(10)
    async with service(store) as one, service(store) as other:
        session = await created(one, hold_params=True, undo=1, workers={})
        await one.put(f"{session}/params", json={"params": PARAMS})
        await one.put(f"{session}/workers/gpu-1", json={})
        push = partial(other.put, f"{session}/rounds/1/contributions/gpu-1", json={"epoch": 1, "grads": GRADS})
        await push()
        await one.patch(session, json={"workers": None})
        await one.post(f"{session}/undo", json={"step": 1})
        await one.patch(session, json={"workers": {}})
        waiting = asyncio.create_task(one.get(f"{session}/rounds/1", params={"wait": 30}))
        await asyncio.sleep(0.2)
        await push()
        assert (await waiting).json()["state"] == "applied"


class InBetween(Shared):
    """A store with which something happens just after the ledger was read."""

    def __init__(self) -> None:
        super().__init__(10)
        self.meanwhile: list[Callable[[], Awaitable[object]]] = []

    async def ledger(self, session_id: str) -> Ledger | None:
        found = await super().ledger(session_id)
        meanwhile, self.meanwhile = self.meanwhile, []
        for call in meanwhile:
            await call()
        return found


async def test_a_round_that_closes_while_it_is_read_is_closed() -> None:
    store = InBetween()
    async with service(store) as one, service(store) as other:
        session = await created(one, hold_params=True, workers={"expected": 2, "quorum": 1, "grace_seconds": 60})
        await one.put(f"{session}/params", json={"params": PARAMS})
        await one.put(f"{session}/workers/a", json={})
        push = {"epoch": 1, "grads": GRADS}
        assert (await one.put(f"{session}/rounds/1/contributions/a", json=push)).status_code == 202
        store.meanwhile = [lambda: other.post(f"{session}/rounds/1/close")]
        found = await one.get(f"{session}/rounds/1")
        assert (found.status_code, found.json()["state"]) == (200, "applied")


class Damaged(MemoryStore):
    """A store with damaged ledgers."""

    async def ledger(self, session_id: str) -> Ledger | None:
        raise StateDamaged("damaged")


def test_a_damaged_ledger_is_told_to_its_tenant_alone(tmp_path: Path) -> None:
    keys = [{"sha256": hashlib.sha256(name.encode()).hexdigest(), "tenant": name, "role": "write"} for name in "ab"]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": keys}))
    with serving(Damaged(10), api_keys_file=file) as client:
        client.headers["authorization"] = "Bearer a"
        session = create(client, hold_params=True, workers={})
        assert "round" not in client.get(session).json()
        for method, path in (("GET", "workers"), ("GET", "rounds/1"), ("POST", "rounds/1/close")):
            problem(client.request(method, f"{session}/{path}"), 500, "state_damaged")
            other = client.request(method, f"{session}/{path}", headers={"authorization": "Bearer b"})
            problem(other, 404, "session_not_found")
