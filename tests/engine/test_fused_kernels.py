"""The compiled kernels: where results go past the cache, and which sums of the change are computed in float64."""

import numpy as np
import pytest

from optim_engine import Config, fused
from optim_engine.arrays import CHUNK, Array
from optim_engine.fused_kernels import _goes_past_cache
from optim_engine.sums import TILE, chunks_of
from optim_engine.walk import Update, Vectors, update_blocks

SIZE = 2 * TILE + CHUNK


def run(old: Array, g: Array, *, in_place: bool) -> Vectors:
    slots = {"params": old.copy(), "m": np.zeros_like(old)}
    return Vectors(g, slots, slots if in_place else {slot: np.empty_like(x) for slot, x in slots.items()})


@pytest.mark.parametrize("at", [0, 100, TILE + 5, CHUNK - 1, CHUNK + TILE])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e5, 1e25, np.nan])
def test_the_sum_of_the_change_in_place_equals_numpy(at: int, size: float) -> None:
    """One gradient of that size among others, which are all zero or not."""
    config = Config.parse("sgd", hyperparameters={"momentum": 0.9})
    update = Update(config.rule_of(None), config.hyperparameters, 2, 0.1, 1.0, None, (SIZE,))
    for others in (0.0, 1.0):
        g = (np.random.default_rng(0).standard_normal(SIZE) * others).astype(np.float32)
        g[at] = size
        totals = []
        for function, in_place in ((update_blocks, False), (fused.update_blocks, False), (fused.update_blocks, True)):
            vectors = run(np.zeros(SIZE, np.float32), g, in_place=in_place)
            with np.errstate(all="ignore"):
                totals.append(
                    np.concatenate([function(update, vectors.of(chunk), chunk) for chunk in chunks_of([SIZE])])
                )
        assert np.array_equal(totals[0], totals[1], equal_nan=True)
        assert np.array_equal(totals[0], totals[2], equal_nan=True)


def test_results_go_past_the_cache_where_they_replace_nothing() -> None:
    room = np.empty(300, np.float32)
    room = room[-room.ctypes.data % 64 // 4 :]
    aligned, other, odd = room[:64], room[64:128], room[129:193]
    for new, expected in ((other, True), (aligned, False), (odd, False)):
        assert _goes_past_cache((aligned, aligned), (new,)) is expected
