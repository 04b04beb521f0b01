"""Spans of a memory: joined where they are adjacent, read and written as one vector."""

import numpy as np

from optim_engine.spans import Spans, rest

FLOAT = np.dtype(np.float32)


def memory() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return the floats 0 to 7 as bytes."""
    return np.arange(8, dtype=FLOAT).view(np.uint8)


def test_adjacent_ranges_are_joined_and_read_as_a_view() -> None:
    spans, bytes_ = Spans.of(FLOAT, [(4, 8), (8, 16)]), memory()
    assert spans.ranges == ((4, 16),)
    assert spans.read(bytes_).tolist() == [1, 2, 3]
    assert np.shares_memory(spans.target(bytes_), bytes_)


def test_ranges_that_are_apart_are_gathered_and_written_back() -> None:
    spans, bytes_ = Spans.of(FLOAT, [(0, 4), (16, 24)]), memory()
    assert spans.read(bytes_).tolist() == [0, 4, 5]
    target = spans.target(bytes_)
    target[:] = [10, 11, 12]
    spans.write(bytes_, target)
    assert bytes_.view(FLOAT).tolist() == [10, 1, 2, 3, 11, 12, 6, 7]


def test_a_part_of_a_vector_yields_its_bytes_in_ranges() -> None:
    spans = Spans.of(FLOAT, [(0, 8), (16, 24)])
    assert list(spans.ranges_of(slice(1, 3))) == [(4, 8), (16, 20)]
    assert list(spans.ranges_of(slice(2, 4))) == [(16, 24)]


def test_the_rest_of_a_memory_lies_between_the_taken_ranges() -> None:
    assert list(rest([(16, 24), (0, 8)], 32)) == [(8, 16), (24, 32)]
    assert list(rest([(16, 24), (20, 20), (0, 8), (8, 8)], 32)) == [(8, 16), (24, 32)]
