"""A callback for `filled` that records the ranges and bytes which it is told."""

from itertools import pairwise

from optim_engine.arrays import Array


class Told:
    """What was told, and the bytes as they were then."""

    def __init__(self) -> None:
        self._told: list[tuple[int, int, bytes]] = []

    @property
    def ranges(self) -> list[tuple[int, int]]:
        return [(start, end) for start, end, _ in self._told]

    def __call__(self, memory: Array, start: int, end: int) -> None:
        self._told.append((start, end, memory[start:end].tobytes()))  # at once: several threads tell

    def check(self, memory: Array) -> None:
        """The ranges tile the memory, and each had the bytes that it has in the end."""
        assert all(start < end for start, end in self.ranges)
        parts = [(0, 0), *sorted(self.ranges), (len(memory), len(memory))]
        assert all(left[1] == right[0] for left, right in pairwise(parts))
        for start, end, then in self._told:
            assert memory[start:end].tobytes() == then
