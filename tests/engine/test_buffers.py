"""Memory that is used again comes back when the last view of it is gone, and never before."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from optim_engine.arrays import Array
from optim_engine.buffers import ALIGNMENT, SMALLEST_KEPT, Buffers, is_sole

MB = 1 << 20


def address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_comes_back_when_the_last_view_is_gone() -> None:
    buffers = Buffers()
    array = buffers.take(MB)
    place = address(array)
    view = array.view(np.float32)[5:].reshape(-1, 1)
    del array
    assert buffers.idle_bytes == 0
    assert address(buffers.take(MB)) != place
    del view
    assert buffers.idle_bytes > 0
    assert place in (address(buffers.take(MB)), address(buffers.take(MB)))


def test_a_view_of_a_view_keeps_what_it_shows() -> None:
    buffers = Buffers()
    view = buffers.take(MB).view(np.float64)[10:20]
    view[:] = range(10)
    for _ in range(5):
        buffers.take(MB)[:] = 255
    assert view.tolist() == list(range(10))


def test_sizes_that_differ_little_share_memory_and_others_do_not() -> None:
    buffers = Buffers()
    place = address(buffers.take(MB))
    assert address(buffers.take(MB - 1000)) == place
    assert len(buffers.take(MB - 1000)) == MB - 1000
    large = buffers.take(2 * MB)
    assert address(large) != place


@pytest.mark.parametrize("nbytes", [0, 1, SMALLEST_KEPT - 1, SMALLEST_KEPT, SMALLEST_KEPT + 1, MB + 3, 10 * MB - 1])
def test_any_size_is_exact_and_large_ones_are_aligned(nbytes: int) -> None:
    array = Buffers().take(nbytes)
    assert array.shape == (nbytes,)
    array[:] = 7
    if nbytes >= SMALLEST_KEPT:
        assert address(array) % ALIGNMENT == 0


def test_beyond_the_limit_the_least_recently_used_memory_goes_first() -> None:
    buffers = Buffers(limit=5 * MB + 1000)
    one, two, three = (buffers.take(n * MB) for n in (1, 2, 3))
    places = {n: address(array) for n, array in ((1, one), (2, two), (3, three))}
    del one
    del two
    assert buffers.idle_bytes > 3 * MB
    del three
    assert 5 * MB < buffers.idle_bytes <= 5 * MB + 1000
    assert address(buffers.take(2 * MB)) == places[2]
    assert address(buffers.take(3 * MB)) == places[3]
    assert buffers.idle_bytes > 5 * MB


def test_a_size_used_again_is_no_longer_the_least_recent() -> None:
    buffers = Buffers(limit=4 * MB)
    small, other, again, more = (buffers.take(int(n * MB)) for n in (1, 1.5, 1, 1.25))
    place = address(again)
    del small
    del other
    del again
    del more
    assert address(buffers.take(MB)) == place


def test_memory_larger_than_the_limit_drives_nothing_else_out() -> None:
    buffers = Buffers(limit=2 * MB)
    del (small := [buffers.take(MB)])[:]
    kept = buffers.idle_bytes
    assert kept >= MB
    buffers.take(50 * MB)
    assert (buffers.idle_bytes, small) == (kept, [])


def test_a_limit_of_zero_keeps_nothing() -> None:
    buffers = Buffers(limit=0)
    buffers.take(MB)
    assert buffers.idle_bytes == 0


def test_memory_in_a_reference_cycle_comes_back_with_the_collection() -> None:
    buffers = Buffers()
    cycle: list[object] = [buffers.take(MB)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert buffers.idle_bytes >= MB


def test_threads_never_get_memory_that_another_holds() -> None:
    buffers = Buffers(limit=8 * MB)
    wrong: list[int] = []
    start = threading.Barrier(8)

    def work(mark: int) -> None:
        start.wait()
        for i in range(300):
            held = [buffers.take(SMALLEST_KEPT * (1 + (i + k) % 3)) for k in range(3)]
            for array in held:
                array[:] = mark
            wrong.extend(mark for array in held if not (array[::997] == mark).all())

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert 0 <= buffers.idle_bytes <= 8 * MB


def test_memory_that_lies_idle_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("optim_engine.buffers.time.monotonic", lambda: now)
    buffers = Buffers()
    large, small = [buffers.take(4 * MB) for _ in range(2)], buffers.take(MB)
    large.clear()
    now = 8.0
    del small
    assert buffers.let_go(10) == 0
    now = 10.0
    assert 8 * MB <= buffers.let_go(10) < 9 * MB
    assert MB <= buffers.idle_bytes < 2 * MB
    assert address(buffers.take(4 * MB)) % ALIGNMENT == 0
    now = 20.0
    assert buffers.let_go(10) == pytest.approx(5 * MB, rel=0.1)
    assert buffers.idle_bytes == buffers.let_go(0) == 0


def test_of_one_size_what_lies_idle_longest_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("optim_engine.buffers.time.monotonic", lambda: now)
    buffers = Buffers()
    first, second = buffers.take(MB), buffers.take(MB)
    place = address(second)
    del first
    now = 3.0
    del second
    now = 5.0
    assert MB <= buffers.let_go(5) < 2 * MB
    assert address(buffers.take(MB)) == place


VIEWS: dict[str, Callable[[Array], Any]] = {
    "a slice": lambda array: array[3:7],
    "a view of a view": lambda array: array.view(np.float32)[5:].reshape(-1, 1)[::2],
    "a memoryview of a view": lambda array: array[:].data[10:20],
    "an array on a memoryview": lambda array: np.frombuffer(array[:].data, np.uint8),
    "a view in a container": lambda array: [(array[:0],)],
}


@pytest.mark.parametrize("name", VIEWS)
def test_any_view_is_counted_until_it_is_gone(name: str) -> None:
    array = Buffers().take(MB)
    assert is_sole(array)
    view = VIEWS[name](array)
    assert not is_sole(array)
    del view
    assert is_sole(array)


def test_an_array_is_sole_once_the_first_one_is_gone() -> None:
    array = Buffers().take(MB)
    mine = array[:]
    assert not is_sole(mine)
    del array
    assert is_sole(mine)


@pytest.mark.parametrize(
    "array",
    [np.empty(MB), np.empty(MB)[:], np.frombuffer(bytes(MB), np.uint8)[:], Buffers().take(SMALLEST_KEPT - 1)],
    ids=["an owner", "a view", "bytes", "small"],
)
def test_memory_that_is_not_lent_is_never_sole(array: Array) -> None:
    assert not is_sole(array)


def test_zeros_are_zero_and_lent() -> None:
    buffers = Buffers()
    buffers.take(MB)[:] = 7
    zeros = buffers.take_zeros(MB)
    assert not zeros.any()
    assert is_sole(zeros)
    assert address(zeros) % ALIGNMENT == 0
    assert not buffers.take_zeros(5).any()
