"""A callback for `filled` that records the ranges and bytes that are reported to it."""

from itertools import pairwise

from optim_engine.arrays import Array


class Reported:
    """The ranges that were reported, and their bytes at that time."""

    def __init__(self) -> None:
        self._reports: list[tuple[int, int, bytes]] = []

    @property
    def ranges(self) -> list[tuple[int, int]]:
        return [(start, end) for start, end, _ in self._reports]

    def __call__(self, memory: Array, start: int, end: int) -> None:
        self._reports.append((start, end, memory[start:end].tobytes()))  # at once: several threads tell

    def check(self, memory: Array) -> None:
        """Check that the ranges tile the memory, and that each had its final bytes when it was reported."""
        assert all(start < end for start, end in self.ranges)
        parts = [(0, 0), *sorted(self.ranges), (len(memory), len(memory))]
        assert all(left[1] == right[0] for left, right in pairwise(parts))
        for start, end, then in self._reports:
            assert memory[start:end].tobytes() == then
