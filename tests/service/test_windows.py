"""Windows of pieces: what is read together and ahead, and the end of a read that fails."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from app.compute import Compute
from app.contributions.windows import WINDOW_BYTES, Contents, Task, Windows
from app.store.piece import PIECE_BYTES, Piece

PIECES = [Piece(str(i), PIECE_BYTES, "") for i in range(100)]


@pytest.fixture
def compute() -> Iterator[Compute]:
    compute = Compute(1)
    yield compute
    compute.close()


async def contents(pieces: Sequence[Piece]) -> list[memoryview]:
    return [memoryview(piece.name.encode()) for piece in pieces]


async def test_the_next_window_is_read_during_the_work(compute: Compute) -> None:
    events, begun, loop = list[str](), asyncio.Event(), asyncio.get_running_loop()

    async def read(pieces: Sequence[Piece]) -> list[memoryview]:
        assert sum(piece.size for piece in pieces) <= WINDOW_BYTES
        events.append(f"read {pieces[0].name}")
        if pieces[0].name == "32":
            begun.set()
        return await contents(pieces)

    def work(contents: Contents) -> None:
        if "31" in contents:
            asyncio.run_coroutine_threadsafe(begun.wait(), loop).result(30)
        events.append(f"work {min(map(int, contents))}")

    tasks = [Task([piece], work, 1 << 20) for piece in PIECES[31:33]]
    await Windows(read, compute).through([Task(PIECES[:31], work, 0), *tasks])
    assert events == ["read 0", "read 32", "work 0", "work 0", "work 32"]


async def test_pieces_that_are_held_are_not_read_again(compute: Compute) -> None:
    windows, read = Windows(contents, compute), list[bytes]()
    windows.held = await windows.of(PIECES[:3])
    windows.held = {name: memoryview(b"held") for name in windows.held}
    await windows.through([Task(PIECES[2:4], lambda found: read.extend(map(bytes, found.values())), 1)])
    assert read == [b"held"] * 3 + [b"3"]


async def test_tasks_that_share_a_piece_share_a_window(compute: Compute) -> None:
    reads = list[int]()

    async def read(pieces: Sequence[Piece]) -> list[memoryview]:
        reads.append(len(pieces))
        return await contents(pieces)

    tasks = [Task([PIECES[0], piece], lambda found: None, 1) for piece in PIECES[1:]]
    await Windows(read, compute).through(tasks)
    assert reads == [32, 32, 32, 7]


async def test_a_failed_read_ends_the_work(compute: Compute) -> None:
    worked = list[int]()

    async def read(pieces: Sequence[Piece]) -> list[memoryview]:
        if pieces[0] is PIECES[64]:
            raise ConnectionError("gone")
        return await contents(pieces)

    tasks = [Task([piece], lambda found: worked.append(len(found)), 1) for piece in PIECES]
    with pytest.raises(ConnectionError, match="gone"):
        await Windows(read, compute).through(tasks)
    assert worked == [32] * 64
