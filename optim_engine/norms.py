"""The norm of several tensors together, and the search for elements that are not finite."""

from collections.abc import Iterable, Iterator
from math import frexp, inf, isinf, isnan, ldexp, sqrt

import numpy as np

from optim_engine.arrays import BLOCK, Array, Arrays, cut, flat
from optim_engine.sums import chunks_of, in_order, squares

SMALLEST = 2.0**-960
"""The least sum of squares in float64 that is trusted; a smaller one may have lost squares that became zero."""


def norm(tensors: Iterable[Array], total: float | None = None) -> float:
    """Return the Euclidean norm of all tensors together, in float64.

    It is not finite if an element is not, or if the norm exceeds float64. The tensors' sums of squares are added in
    their order; `total` is that sum, if it is known.
    """
    tensors = tensors if total is not None else list(tensors)
    total = _total(tensors) if total is None else total
    return sqrt(total) if SMALLEST <= total < inf or isnan(total) else _scaled_norm(list(tensors))


def by_name(tensors: Arrays) -> Iterator[Array]:
    """Yield the tensors in the order of their names by UTF-8 bytes; sorts only when the first one is asked for."""
    for name in sorted(tensors):
        yield tensors[name]


@np.errstate(all="ignore")
def square_sum(tensor: Array, factor: float | None = None) -> float:
    """Return the sum of one tensor's squares, in the order that docs/numerics.md defines; with a `factor`, of those of
    its elements times the factor in float64."""
    x, sums = flat(tensor), []
    for chunk in chunks_of([x.size]):
        part = x[chunk.place]
        sums.append(squares(part if factor is None else part.astype(np.float64) * factor, chunk))
    return float(in_order(np.concatenate(sums))[0, 0])


def _total(tensors: Iterable[Array], factor: float | None = None) -> float:
    return float(in_order(np.array([[square_sum(x, factor)] for x in tensors]).reshape(-1, 1))[0, 0])


@np.errstate(all="ignore")
def _scaled_norm(tensors: list[Array]) -> float:
    """Return a norm whose square leaves the range of float64, by scaling with a power of two, which is exact."""
    largest = max((_largest(flat(x)) for x in tensors), default=0.0)
    if largest == 0 or isinf(largest):
        return largest
    exponent = max(frexp(largest)[1], -1000)
    return float(np.ldexp(sqrt(_total(tensors, ldexp(1.0, -exponent))), exponent))


def _largest(x: Array) -> float:
    """Return the largest magnitude in a vector; NaN if an element is."""
    return float(np.max([np.abs(x[part]).max(initial=0) for part in cut(x.size, BLOCK)], initial=0))


def trust_ratio(θ: Array, u: Array) -> float:
    """Return ‖θ‖/‖u‖, or 1 if either norm is 0."""
    of_parameter, of_update = norm([θ]), norm([u])
    return of_parameter / of_update if of_parameter and of_update else 1.0


@np.errstate(all="ignore")
def is_finite(x: Array) -> bool:
    """Return whether all elements are finite: quickly where a sum of them is, because then they are."""
    x = flat(x)
    return all(
        bool(np.isfinite(np.add.reduce(x[part]))) or bool(np.isfinite(x[part]).all()) for part in cut(x.size, BLOCK)
    )


def first_non_finite(x: Array) -> tuple[int, ...] | None:
    """Return the index of the first element, in C order, that is NaN or infinite; `None` if there is none."""
    bad = ~np.isfinite(x)
    if not bad.any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(bad.reshape(-1).argmax()), x.shape))
