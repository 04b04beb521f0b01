"""Objects that belong to an event loop, and one async client in several loops."""

import asyncio
from pathlib import Path

import pytest
from optim_client import AsyncClient
from optim_client._per_loop import PerLoop

from app.demo.server import Server
from tests.client.documents import W


@pytest.mark.long
def test_an_async_client_serves_one_event_loop_after_the_other(server: Server, tmp_path: Path) -> None:
    client = AsyncClient(server.url)

    async def work() -> int:
        session = await client.sessions.create("sgd", lr=0.5)
        await asyncio.gather(*(client.sessions.get(session.id) for _ in range(150)))
        await session.step(W, W)
        for _ in range(2):
            await session.save_state(tmp_path / "state")  # by HTTPX
        return (await session.load_state(tmp_path / "state")).step

    assert [asyncio.run(work()) for _ in range(3)] == [1, 1, 1]
    asyncio.run(client.close())


async def gotten(objects: PerLoop[object]) -> tuple[object, object]:
    return objects.get(), objects.get()


def test_each_loop_has_one_object_of_its_own() -> None:
    objects = PerLoop(object)
    with asyncio.Runner() as one, asyncio.Runner() as two:
        first, second = one.run(gotten(objects)), two.run(gotten(objects))
        assert first[0] is first[1] is one.run(gotten(objects))[0]
        assert second[0] is second[1] is not first[0]


def test_the_objects_of_closed_loops_are_dropped() -> None:
    objects = PerLoop(object)
    for _ in range(3):
        asyncio.run(gotten(objects))
    assert len(objects.forget()) == 1


def test_a_loop_gets_another_object_after_forget() -> None:
    objects = PerLoop(object)
    with asyncio.Runner() as runner:
        before = runner.run(gotten(objects))
        assert list(objects.forget().values()) == [before[0]]
        assert runner.run(gotten(objects))[0] is not before[0]
