"""Streams of events without HTTP: who is woken, what is read, and when a stream ends."""

import asyncio
from collections.abc import AsyncIterator
from itertools import chain
from typing import Any

import pytest

from app import streams
from app.errors import Overloaded, StoreUnavailable
from app.store.base import Head
from app.store.history import Numbered
from app.store.memory import MemoryStore
from app.streams import PAGE, Streams

SECONDS = 10.0


class Steps(MemoryStore):
    """A store whose sessions have taken `version` steps; it counts its reads, and may be away."""

    def __init__(self) -> None:
        super().__init__(100)
        self.version = 0
        self.reads = self.looks = 0
        self.is_away = False

    async def newer(self, session_id: str, version: int, limit: int) -> list[Numbered]:
        self.reads += 1
        if self.is_away:
            raise StoreUnavailable("away")
        return [Numbered(i, "step", b"%d" % i) for i in range(version + 1, self.version + 1)][:limit]

    async def load(self, session_id: str) -> Head | None:
        self.looks += 1
        if self.is_away:
            raise StoreUnavailable("away")
        return Head(session_id, "t", self.version, "token", b"") if self.version >= 0 else None


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Steps:
    monkeypatch.setattr(streams, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(streams, "LOOK_SECONDS", 1e9)
    return Steps()


@pytest.fixture
async def here(store: Steps) -> AsyncIterator[Streams]:
    here = Streams(store, 10)
    yield here
    assert not here._watches
    assert not here._open


def numbers(text: bytes | None) -> list[int]:
    return [int(line[4:]) for line in (text or b"").splitlines() if line.startswith(b"id: ")]


async def soon(waiting: Any) -> Any:
    async with asyncio.timeout(SECONDS):
        return await waiting


async def test_a_save_wakes_the_streams_of_its_session_alone(store: Steps, here: Streams) -> None:
    with here.open("s", 0, 0) as stream, here.open("t", 0, 0) as other:
        waits = [asyncio.create_task(each.next(SECONDS)) for each in (stream, other)]
        await asyncio.sleep(0.05)
        store.version = 1
        here.wake("s", 1)
        assert numbers(await soon(waits[0])) == [1]
        assert not waits[1].done()
        waits[1].cancel()


async def test_events_of_a_quick_run_come_together(store: Steps, here: Streams) -> None:
    with here.open("s", 0, 0) as stream:
        found = list[list[int]]()

        async def follow() -> None:
            while sum(map(len, found)) < 60:
                found.append(numbers(await stream.next(SECONDS)))

        following = asyncio.create_task(follow())
        await asyncio.sleep(0.03)
        for version in range(1, 61):
            store.version = version
            here.wake("s", version)
            await asyncio.sleep(0.001)
        await soon(following)
    assert found[0] == [1]  # at once
    assert list(chain(*found)) == list(range(1, 61))
    assert store.reads <= len(found) + 2 <= 20


async def test_streams_at_one_number_share_a_read(store: Steps, here: Streams) -> None:
    store.version = 3
    with here.open("s", 3, 0) as first, here.open("s", 3, 0) as second, here.open("s", 3, 2) as third:
        texts = await soon(asyncio.gather(*(stream.next(SECONDS) for stream in (first, second, third))))
    assert [numbers(text) for text in texts] == [[1, 2, 3], [1, 2, 3], [3]]
    assert store.reads == 2


async def test_a_stream_reads_a_page_at_a_time(store: Steps, here: Streams) -> None:
    store.version = 2 * PAGE + 1
    with here.open("s", store.version, 0) as stream:
        pages = [numbers(await soon(stream.next(SECONDS))) for _ in range(3)]
    assert [len(page) for page in pages] == [PAGE, PAGE, 1]
    assert list(chain(*pages)) == list(range(1, store.version + 1))


async def test_nothing_comes_after_a_time_without_events(store: Steps, here: Streams) -> None:
    with here.open("s", 0, 0) as stream:
        assert await soon(stream.next(0.01)) == b""
        here.wake("s", 1)  # of a save without an event
        assert await soon(stream.next(0.01)) == b""


async def test_streams_end_when_the_session_or_the_service_does(store: Steps, here: Streams) -> None:
    with here.open("s", 0, 0) as gone, here.open("t", 0, 0) as stopped:
        waits = [asyncio.create_task(each.next(SECONDS)) for each in (gone, stopped)]
        await asyncio.sleep(0.05)
        here.wake("s", None)
        assert await soon(waits[0]) is None
        here.end()
        assert await soon(waits[1]) is None
        with here.open("u", 0, 0) as late:
            assert await soon(late.next(SECONDS)) is None


async def test_streams_follow_a_session_that_went_back(
    store: Steps, here: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover lost the last saves: those that come in their place are other ones, by the same numbers."""
    monkeypatch.setattr(streams, "LOOK_SECONDS", 0.05)
    store.version = 5
    with here.open("s", 5, 3) as first, here.open("s", 5, 3) as second:
        for stream in (first, second):
            assert numbers(await soon(stream.next(SECONDS))) == [4, 5]
        store.version = 3
        await asyncio.sleep(0.5)  # for some looks
        store.version = 5
        here.wake("s", 5)
        for stream in (first, second):
            assert numbers(await soon(stream.next(SECONDS))) == [4, 5]


async def test_one_look_for_all_streams_of_a_session_finds_saves(
    store: Steps, here: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LOOK_SECONDS", 0.05)
    with here.open("s", 0, 0) as first, here.open("s", 0, 0) as second:
        waits = [asyncio.create_task(each.next(SECONDS)) for each in (first, second)]
        await asyncio.sleep(0.01)
        store.is_away = True
        await asyncio.sleep(0.1)
        store.is_away, store.version = False, 1  # another process saved
        assert [numbers(text) for text in await soon(asyncio.gather(*waits))] == [[1], [1]]
        assert store.looks < 10
        store.version = -1  # and then deleted the session
        assert await soon(first.next(SECONDS)) is None
    looks = store.looks
    await asyncio.sleep(0.1)
    assert store.looks == looks  # nobody looks for nobody


async def test_an_error_of_the_store_is_raised_and_not_remembered(store: Steps, here: Streams) -> None:
    store.version, store.is_away = 1, True
    with here.open("s", 1, 0) as stream:
        with pytest.raises(StoreUnavailable):
            await soon(stream.next(SECONDS))
        store.is_away = False
        assert numbers(await soon(stream.next(SECONDS))) == [1]


async def test_a_reader_that_leaves_does_not_take_the_read_along(store: Steps, here: Streams) -> None:
    store.version = 1
    with here.open("s", 1, 0) as first, here.open("s", 1, 0) as second:
        waits = [asyncio.create_task(each.next(SECONDS)) for each in (first, second)]
        await asyncio.sleep(0)
        waits[0].cancel()
        assert numbers(await soon(waits[1])) == [1]


async def test_more_streams_than_the_limit_are_refused(store: Steps) -> None:
    here = Streams(store, 1)
    with here.open("s", 0, 0), pytest.raises(Overloaded, match="OPTIM_MAX_STREAMS"), here.open("t", 0, 0):
        pass
    with here.open("t", 0, 0):
        pass
