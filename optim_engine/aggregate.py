"""The aggregate of several workers' gradients: their weighted mean, or one that a wrong gradient cannot pull away.

    mean            Σ wᵢ·gᵢ / Σ wᵢ
    mean_of_sums    Σ gᵢ / Σ wᵢ
    clipped_mean    Σ wᵢ·cᵢ·gᵢ / Σ wᵢ       cᵢ = min(1, max_norm/‖gᵢ‖)
    median          the mean of the middle one or two of each element's values
    trimmed_mean    the mean of an element's values without the ⌊trim·K⌋ least and the ⌊trim·K⌋ greatest of K

Sums are made in float64, in the order in which gradients are added, and rounded once to the dtype of the result.
docs/numerics.md ("Many workers") has the order of every operation: each is NumPy's on whole arrays, so the bits are the
same on every processor. Knows no worker's name, so its caller adds them in the order of those.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from optim_engine.arrays import Array, compute_dtype, convert, widened
from optim_engine.buffers import scratch

Kind: TypeAlias = Literal["mean", "mean_of_sums", "clipped_mean", "median", "trimmed_mean"]
FLOAT64 = np.dtype(np.float64)


class Part(NamedTuple):
    """A gradient's part in a chunk: its values, flat and in any dtype that the engine accepts.

    With `rows`, which rise, they are of those rows of the chunk, each of `width` elements, and the others are zero.
    """

    values: Array
    rows: Array | None = None
    width: int = 1


class Collected(Protocol):
    """A chunk of the aggregate under way."""

    def add(self, part: Part | None) -> None:
        """Add the next worker's part; `None` stands for zeros."""

    def write(self, out: Array) -> None:
        """Fill `out`, a contiguous vector, with the aggregate of all parts. Called once, after the last one."""


Collect: TypeAlias = Callable[[int, np.dtype[Any]], Collected]
"""A function that begins a chunk of so many elements, whose result has that dtype."""


@dataclass(frozen=True)
class Aggregate:
    """The setting that says how gradients become one. `max_norm` is for `clipped_mean`, `trim` for `trimmed_mean`."""

    kind: Kind = "mean"
    max_norm: float = 1.0
    trim: float = 0.0

    @property
    def takes_weights(self) -> bool:
        """Return whether weights other than 1 have a meaning."""
        return self.kind not in ("median", "trimmed_mean")

    def of(self, weights: Sequence[float], norms: Sequence[float] = ()) -> Collect:
        """Return what begins a chunk, for gradients of these weights, and for `clipped_mean` of these norms.

        The parts of each chunk must be added in the same order.

        >>> chunk = Aggregate("mean").of([1.0, 3.0])(2, np.dtype(np.float32))
        >>> for g in ([4.0, 0.0], [0.0, 8.0]):
        ...     chunk.add(Part(np.float32(g)))
        >>> mean = np.empty(2, np.float32)
        >>> chunk.write(mean)
        >>> mean.tolist()
        [1.0, 6.0]
        """
        if self.kind == "median":
            return partial(Ordered, len(weights), (len(weights) - 1) // 2)
        if self.kind == "trimmed_mean":
            return partial(Ordered, len(weights), trimmed(self.trim, len(weights)))
        factors = [1.0] * len(weights) if self.kind == "mean_of_sums" else [*weights]
        if self.kind == "clipped_mean":
            factors = [w * clipped(norm, self.max_norm) for w, norm in zip(weights, norms, strict=True)]
        return partial(Sum, factors, added(weights))


def clipped(norm: float, max_norm: float) -> float:
    """Return the factor that makes a gradient of that norm no longer than `max_norm`."""
    return 1.0 if norm <= max_norm else max_norm / norm


def trimmed(trim: float, count: int) -> int:
    """Return how many of the values are dropped at each side: ⌊trim·count⌋ of the number as it is written.

    So 0.29 of 100 is 29, where the product of floats is below it.
    """
    return int(Fraction(repr(trim)) * count)


def added(numbers: Sequence[float]) -> float:
    """Return the sum, added from the first to the last; Python's `sum` differs between versions."""
    total, *rest = numbers
    for number in rest:
        total += number
    return total


class Sum:
    """A sum of gradients, each times its factor, divided by a number."""

    def __init__(self, factors: Sequence[float], divisor: float, size: int, dtype: np.dtype[Any]) -> None:
        self._factors: Iterator[float] = iter(factors)
        self._divisor = divisor
        self._total, self._product = scratch(2, size, FLOAT64)
        self._begun = False

    @np.errstate(all="ignore")
    def add(self, part: Part | None) -> None:
        """Add the next worker's part, times its factor. The first product begins the sum."""
        factor, total = next(self._factors), self._total
        if part is not None and part.rows is None:
            if self._begun:
                np.add(total, self._multiplied(part.values, factor), out=total)
            else:
                total[...] = self._multiplied(part.values, factor)
        elif part is None or part.rows is None:
            self._add_zeros()
        else:
            self._add_rows(part, part.rows, factor)
        self._begun = True

    @np.errstate(all="ignore")
    def write(self, out: Array) -> None:
        """Fill `out` with the quotient, rounded once."""
        if self._divisor != 1.0:
            np.divide(self._total, self._divisor, out=self._total)
        convert(self._total, out)

    def _add_zeros(self) -> None:
        if self._begun:
            np.add(self._total, 0.0, out=self._total)  # which makes a −0 a 0
        else:
            self._total[...] = 0.0

    def _add_rows(self, part: Part, rows: Array, factor: float) -> None:
        table = self._total.reshape(-1, part.width)
        products = self._multiplied(part.values, factor).reshape(-1, part.width)
        sums = table[rows] + products if self._begun else products
        self._add_zeros()
        table[rows] = sums

    def _multiplied(self, values: Array, factor: float) -> Array:
        """Return the values times the factor, in float64: the values themselves if they are those."""
        if values.dtype == FLOAT64 and factor == 1.0:
            return values
        product: Array = self._product[: values.size]
        product[...] = _wide(values)
        if factor != 1.0:
            np.multiply(product, factor, out=product)
        return product


class Ordered:
    """The values of each element in rising order, of which the middle ones are averaged."""

    def __init__(self, count: int, drop: int, size: int, dtype: np.dtype[Any]) -> None:
        self._rows = [*scratch(count + 1, size, dtype)]
        self._places = iter(range(count))
        self._kept = slice(drop, count - drop)

    @np.errstate(all="ignore")
    def add(self, part: Part | None) -> None:
        """Keep the next worker's part."""
        row = self._rows[next(self._places)]
        if part is not None and part.rows is None:
            convert(part.values, row)
            return
        row[...] = 0
        if part is not None:
            row.reshape(-1, part.width)[part.rows] = _wide(part.values).reshape(-1, part.width)

    @np.errstate(all="ignore")
    def write(self, out: Array) -> None:
        """Fill `out` with the mean of the kept values, which are added from the least to the greatest."""
        *rows, room = self._rows
        if len(rows) > 1:
            _sort(rows, room)
        first, *rest = rows[self._kept]
        total = scratch(1, out.size, FLOAT64)[0]
        total[...] = first
        for row in rest:
            np.add(total, row, out=total)
        if rest:
            np.divide(total, 1.0 + len(rest), out=total)
        convert(total, out)


def _wide(values: Array) -> Array:
    """Return the values in the compute dtype."""
    dtype = compute_dtype(values.dtype)
    return values if values.dtype == dtype else widened(values, scratch(1, values.size, dtype)[0])


def _sort(rows: list[Array], room: Array) -> None:
    """Sort the values of each element over the rows; `room` is for one more. A −0 becomes a 0, which is its equal.

    By a network of comparisons, each for whole rows: a sort of short columns takes ten times as long.
    """
    for row in rows:
        np.add(row, 0.0, out=row)
    for i, j in _network(len(rows)):
        np.minimum(rows[i], rows[j], out=room)
        np.maximum(rows[i], rows[j], out=rows[j])
        rows[i], room = room, rows[i]


@cache
def _network(count: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs to compare, in order: Batcher's merge exchange (Knuth, section 5.2.2, algorithm M)."""
    pairs: list[tuple[int, int]] = []
    largest = p = 1 << max((count - 1).bit_length() - 1, 0)
    while p:
        q, r, d = largest, 0, p
        while d:
            pairs += [(i, i + d) for i in range(count - d) if i & p == r]
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return tuple(pairs)
