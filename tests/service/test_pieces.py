"""The pieces of a state leave when their last byte is told, whoever tells it and in whatever order."""

import random
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from app.pieces import Pieces
from app.store.base import Head, Saving
from app.store.block_sums import sum_of
from app.store.memory import MemoryStore
from app.store.piece import PIECE_BYTES, Part, checksum_of, cut
from optim_engine.arrays import Array


class Seen(Saving):
    """A saving that keeps the bytes of each piece as they were handed on."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(1), "token")
        self.parts: dict[str, bytes] = {}

    def write(self, part: Part) -> None:
        assert part[0].name not in self.parts
        self.parts[part[0].name] = bytes(part[1])


@pytest.fixture
def memory() -> Array:
    """Three whole pieces and the start of a fourth."""
    return np.random.default_rng(0).integers(0, 256, 3 * PIECE_BYTES + 1000, dtype=np.uint8)


@pytest.fixture
def seen() -> Seen:
    return Seen()


def head_of(memory: Array, *, summed: bool = False) -> Head:
    pieces = Pieces(Head("session", "tenant", 0, "", b""), summed=summed).finish(memory)
    return Head("session", "tenant", 1, "first", b"", pieces)


def ranges(memory: Array, seed: int, count: int = 40) -> list[tuple[int, int]]:
    """The whole memory, told in parts that keep to no piece's bounds."""
    draw = random.Random(seed)
    bounds = sorted({0, len(memory), *(draw.randrange(len(memory)) for _ in range(count))})
    parts = list(pairwise(bounds))
    draw.shuffle(parts)
    return parts


@pytest.mark.parametrize("seed", range(5))
def test_each_piece_leaves_once_and_whole(memory: Array, seen: Seen, seed: int) -> None:
    pieces = Pieces(head_of(np.zeros_like(memory)), seen)
    target = np.empty_like(memory)
    for start, end in ranges(memory, seed):
        target[start:end] = memory[start:end]
        pieces.filled(target, start, end)
    assert len(seen.parts) == 4  # before anybody asked for them
    found = pieces.finish(target)
    assert [seen.parts[piece.name] for piece in found] == [
        memory[i : i + PIECE_BYTES].tobytes() for i in range(0, len(memory), PIECE_BYTES)
    ]
    assert all(piece.checksum == checksum_of(seen.parts[piece.name]) for piece in found)


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("restless")
def test_several_threads_may_tell(memory: Array, seen: Seen) -> None:
    pieces = Pieces(head_of(np.zeros_like(memory)), seen)
    parts = ranges(memory, 0, 20_000)

    def tell(mine: list[tuple[int, int]]) -> None:
        for start, end in mine:
            pieces.filled(memory, start, end)

    threads = [threading.Thread(target=tell, args=(parts[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen.parts) == 4
    assert b"".join(seen.parts[piece.name] for piece in pieces.finish(memory)) == memory.tobytes()


@pytest.mark.parametrize("told", [True, False])
def test_an_unchanged_piece_is_reused_and_a_changed_one_saved(memory: Array, seen: Seen, told: bool) -> None:
    old = head_of(memory)
    changed = memory.copy()
    changed[PIECE_BYTES] ^= 1
    pieces = Pieces(old, seen)
    if told:
        pieces.filled(changed, 0, len(changed))
    found = pieces.finish(changed)
    assert [a is b for a, b in zip(found, old.pieces, strict=True)] == [True, False, True, True]
    assert list(seen.parts) == [found[1].name]


def test_damaged_pieces_are_mended_by_keeping_none(memory: Array, seen: Seen) -> None:
    found = Pieces(head_of(memory), seen, keep=False).finish(memory)
    assert list(seen.parts) == [piece.name for piece in found]


def test_a_grown_or_shrunk_state_gets_its_own_pieces(memory: Array, seen: Seen) -> None:
    old = head_of(memory[: PIECE_BYTES + 10])
    grown = Pieces(old, seen).finish(memory)
    assert [piece.size for piece in grown] == [PIECE_BYTES] * 3 + [1000]
    assert grown[0] is old.pieces[0]
    assert Pieces(head_of(memory), seen).finish(memory[:10])[0].size == 10


def test_a_state_of_nothing_has_no_pieces(seen: Seen) -> None:
    assert Pieces(head_of(np.empty(0, np.uint8)), seen).finish(np.empty(0, np.uint8)) == ()


@pytest.mark.parametrize("filled", [[], [(PIECE_BYTES, PIECE_BYTES + 700), (PIECE_BYTES + 700, 3 * PIECE_BYTES - 300)]])
def test_touched_pieces_equal_those_that_are_cut_anew(memory: Array, seen: Seen, filled: list[tuple[int, int]]) -> None:
    old, changed = head_of(memory, summed=True), memory.copy()
    starts, length = np.array([PIECE_BYTES - 400, 3 * PIECE_BYTES - 200, len(memory) - 256]), 256
    pieces = Pieces(old, seen, summed=True)
    pieces.touching(changed, [(starts, length)])
    for start, end in filled:
        changed[start:end] ^= 1
        pieces.filled(changed, start, end)
    for start in starts:
        changed[start : start + length] ^= 2
    found = pieces.finish(changed)
    assert [piece.checksum for piece in found] == [piece.checksum for piece in head_of(changed, summed=True).pieces]
    assert {piece.name for piece in found if piece not in old.pieces} == seen.parts.keys()
    for piece, data in zip(found, cut(changed.data), strict=True):
        assert seen.parts.get(piece.name, bytes(data)) == bytes(data)


def test_a_touched_piece_that_stays_the_same_is_kept(memory: Array, seen: Seen) -> None:
    old = head_of(memory, summed=True)
    pieces = Pieces(old, seen, summed=True)
    pieces.touching(memory, [(np.array([5]), 5)])
    assert pieces.finish(memory) == old.pieces
    assert not seen.parts


def test_pieces_without_sums_are_cut_anew(memory: Array, seen: Seen) -> None:
    pieces = Pieces(head_of(memory), seen, summed=True)
    pieces.touching(memory, [(np.array([0]), 1)])
    assert [piece.checksum for piece in pieces.finish(memory)] == [sum_of(data) for data in cut(memory.data)]
    assert len(seen.parts) == 4
