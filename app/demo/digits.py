"""The data: 1,797 hand-written digits of 8×8 pixels, always split the same way. `SOURCE.md` names their authors."""

import gzip
from dataclasses import dataclass
from importlib.resources import files
from typing import Self

import numpy as np
from numpy.typing import NDArray

SEED = 1998
TEST_COUNT = 360


@dataclass(frozen=True, slots=True)
class Digits:
    """Images as rows of 64 numbers from 0 to 1, and the digit that each one shows."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: slice | NDArray[np.int64]) -> Self:
        return type(self)(self.images[chosen], self.labels[chosen])

    def batch(self, step: int, size: int) -> Self:
        """Return the batch of step 1, 2, …. The order in an epoch depends on the number of the epoch alone."""
        epoch, place = divmod(step - 1, len(self) // size)
        order = np.random.default_rng((SEED, epoch)).permutation(len(self))
        return self[order[place * size : (place + 1) * size]]


def load() -> tuple[Digits, Digits]:
    """Return the digits for training, and those for testing."""
    packed = files(__package__).joinpath("digits.csv.gz").read_bytes()
    table = np.loadtxt(gzip.decompress(packed).decode().splitlines(), dtype=np.int64, delimiter=",")
    table = np.random.default_rng(SEED).permutation(table)
    digits = Digits((table[:, :64] / 16).astype(np.float32), table[:, 64])
    return digits[TEST_COUNT:], digits[:TEST_COUNT]
