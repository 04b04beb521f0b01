"""The buffer pool: memory is used again, and never while an array still shows it."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from optim_client._buffers import Buffers, Memory

SIZE = 1 << 20


def address(memory: Memory) -> int:
    return int(memory.ctypes.data)


def test_memory_comes_back_when_its_last_view_is_gone() -> None:
    buffers = Buffers()
    memory = buffers.take(SIZE)
    place, view = address(memory), np.frombuffer(memory.data, np.float32)[::2]
    del memory
    assert address(other := buffers.take(SIZE)) != place
    del view
    assert address(buffers.take(SIZE)) == place
    assert len(other) == SIZE


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, SIZE])
def test_memory_has_its_length_and_may_be_written(size: int) -> None:
    memory = Buffers().take(size)
    memory[:] = 7
    assert (len(memory), memory.sum()) == (size, 7 * size)
    assert memory.data.nbytes == size
    assert not memory.data.readonly


def test_answers_that_differ_by_a_few_bytes_share_their_memory() -> None:
    buffers = Buffers()
    places = {address(buffers.take(SIZE + size)) for size in (0, 8, -100, 5000)}
    assert len(places) == 1


def test_a_small_answer_does_not_hold_a_large_memory() -> None:
    buffers = Buffers()
    place = address(buffers.take(SIZE))
    small = buffers.take(SIZE // 2)
    assert address(small) != place
    assert address(buffers.take(SIZE)) == place


def test_no_more_is_kept_than_the_limit() -> None:
    buffers = Buffers(limit=3 * SIZE)
    taken = [buffers.take(SIZE) for _ in range(5)]
    places = [address(memory) for memory in taken]
    while taken:
        del taken[0]
    kept = [buffers.take(SIZE) for _ in range(2)]
    assert {address(memory) for memory in kept} == set(places[-2:])
    assert buffers._idle == []


def test_a_collection_inside_of_take_waits_for_nothing() -> None:
    class Cycle:
        def __init__(self, memory: Memory) -> None:
            self.memory, self.me = memory, self

    buffers = Buffers()
    Cycle(buffers.take(SIZE))
    with buffers._lock:
        gc.collect()
    assert buffers._idle == []


def test_threads_never_share_memory() -> None:
    buffers = Buffers()

    def write(mark: int) -> bool:
        for _ in range(200):
            memory = buffers.take(SIZE // 8)
            memory[:] = mark
            if not (memory == mark).all():
                return False
        return True

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(write, range(4)))
    finally:
        sys.setswitchinterval(interval)
