"""The fused kernel: the same bits as NumPy's, for every rule, dtype and place in memory; and compiled only once."""

import os
import shutil
import subprocess
import sys
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optim_engine import (
    OPTIMIZERS,
    Config,
    State,
    fused_kernels,
    fused_loops,
    fused_rules,
    reapply,
    step,
    sums,
)
from optim_engine.arrays import CHUNK, Array, compute_dtype
from optim_engine.fused_forms import LOOPS, has_loop
from optim_engine.machine import NUMPY, Machine
from optim_engine.walk import Update, Vectors
from tests import oracle
from tests.engine.cases import ALL, DTYPES, RULES, Case, each_machine, same_bits
from tests.engine.test_machine import FUSED, SIZES, same, vector
from tests.examples import examples


def test_numba_is_installed_where_the_tests_run() -> None:
    assert (NUMPY.name, FUSED.kernel.name) == ("numpy", "numba")


@examples(quick=60, whole=1000)
@given(
    st.sampled_from(ALL),
    st.sampled_from([np.float32, np.float64]),
    st.lists(st.sampled_from(SIZES), min_size=1, max_size=3),
    st.sampled_from(["contiguous", "strided", "unaligned"]),
    st.booleans(),
    st.integers(0, 1000),
)
@pytest.mark.long
def test_the_fused_kernel_has_the_bits_of_numpy(
    case: Case, dtype: type[Any], sizes: list[int], form: str, hold: bool, seed: int
) -> None:
    config = Config.parse(**{**case.config.to_dict(), "hold_params": hold})
    states = {NUMPY: State.empty(), FUSED.kernel: State.empty()}
    params = {f"{i}": case.shaped(vector(seed + i, size, dtype, form)) for i, size in enumerate(sizes)}
    for t in range(1, 4):
        grads = {
            name: case.shaped(vector(seed + 10 * t + int(name), θ.size, dtype, form)) for name, θ in params.items()
        }
        sent = {} if hold and t > 1 else params
        plain, fused = (step(config, states[k], sent, grads, machine=Machine(k)) for k in states)
        assert same(plain, fused)
        if not hold:
            again = reapply(config, fused.state, params, grads, clip_scale=fused.metrics.clip_scale)
            assert same_bits(again, fused.params)
        params, states = plain.params, {NUMPY: plain.state, FUSED.kernel: fused.state}


@each_machine
@pytest.mark.parametrize("size", [0, 1e-25, 1e30])
def test_adam_finds_norms_whose_square_is_out_of_range(machine: Machine, size: float) -> None:
    """Among others, in another part of the tensor, whose squares are in range."""
    x = np.full(20_000, size, np.float32)
    x[:5000] = 1e-16
    outcome = step(Config.parse("adamw"), State.empty(), {"x": x}, {"x": x}, machine=machine)
    after, metrics = outcome.params["x"], outcome.metrics
    expected = tuple(oracle.norm(vector.tolist()) for vector in (x, after - x, after))
    assert (metrics.grad_norm, metrics.update_norm, metrics.param_norm) == pytest.approx(expected, rel=1e-6, abs=0)


def vectors(case: Case, sizes: list[int], dtype: type[Any], place: int, seed: int, in_place: bool) -> Vectors:
    """Return the vectors of a run, `place` bytes from a cache line: the same values in place and out of place."""
    rng, size = np.random.default_rng(seed), sum(sizes)

    def made(values: Any, dtype: Any) -> Array:
        nbytes = size * np.dtype(dtype).itemsize
        x = np.frombuffer(bytearray(nbytes + place + 64), np.uint8)
        x = x[-x.ctypes.data % 64 + place :][:nbytes].view(dtype)
        x[:] = values
        return x

    rule, wide = OPTIMIZERS[case.optimizer], compute_dtype(np.dtype(dtype))
    slots = "params", *rule.slots(case.config.hyperparameters, (size,))
    values = {slot: vector(seed + i, size, np.float64, "contiguous") for i, slot in enumerate(slots)}
    with np.errstate(all="ignore"):
        old = {slot: made(x, wide) for slot, x in values.items()}
        for slot in {"v", "v_max"} & old.keys():
            np.square(old[slot], out=old[slot])
        old["params"] = made(values["params"], dtype)
    new = old if in_place else {slot: made(7, x.dtype) for slot, x in old.items()}
    return Vectors(made(rng.standard_normal(size), dtype), old, new)


@examples(quick=40, whole=600)
@given(
    st.sampled_from([case for case in RULES if has_loop(case.config.hyperparameters)]),
    st.sampled_from([np.float32, np.float64, *DTYPES.values()]),
    st.sampled_from([[1], [127, 129, 1], [20_003], [33_001], [65_536 + 17], [CHUNK + 40_001]]),
    st.sampled_from([0, 4, 16, 20, 64]),
    st.sampled_from([1.0, 0.0, 1e-25, 1e25, np.inf]),
    st.integers(1, 2),
    st.integers(0, 1000),
)
@pytest.mark.long
def test_in_place_and_out_of_place_give_numpys_bits(
    case: Case, dtype: type[Any], sizes: list[int], place: int, spike: float, t: int, seed: int
) -> None:
    """Also where sums leave their range: a part of the parameters is scaled, or all of them."""
    place, config = place // 8 * 8 if dtype is np.float64 else place, case.config
    update = Update(config.rule_of(None), config.hyperparameters, t, 0.01, 0.5, 1.5, (sum(sizes),))
    found = []
    for kernel, in_place in product((NUMPY, FUSED.kernel), (False, True)):
        run = vectors(case, sizes, dtype, place, seed, in_place)
        start = seed % 7 * sum(sizes) // 7
        with np.errstate(all="ignore"):
            run.old["params"][start:] *= dtype(spike)
            totals = [kernel.update(update, run.of(chunk), chunk) for chunk in sums.chunks_of(sizes)]
        found.append([np.concatenate(totals).tobytes(), *[x.tobytes() for x in run.new.values()]])
    assert found[0] == found[1] == found[2] == found[3]


PROGRAM = """
from optim_engine.fused_forms import LOOPS
from optim_engine.machine import load
print(load(LOOPS[-1], compiles=False), load(LOOPS[-1]))
"""


@pytest.mark.long
def test_a_second_process_finds_the_kernel_of_the_first(tmp_path: Path, with_numba: None) -> None:
    """Save the seconds of compiling it again. The engine is a copy, beside which no kernel is kept yet."""
    shutil.copytree(
        Path(fused_loops.__file__).parent, tmp_path / "optim_engine", ignore=shutil.ignore_patterns("__pycache__")
    )
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    run = partial(subprocess.check_output, [sys.executable, "-c", PROGRAM], env=environment, cwd=tmp_path, text=True)
    assert [run(), run()] == ["False True\n", "True True\n"]


@pytest.mark.parametrize("name", sorted({loop.name for loop in LOOPS}))
def test_kernels_are_cached_by_all_their_sources(name: str) -> None:
    """Numba's key of a kernel has its own file, and the values of the outer variables that it reads."""
    compiled_from = [Path(module.__file__).read_bytes() for module in (fused_loops, fused_rules, sums)]
    closure = fused_kernels.function_of(name).__closure__
    assert crc32(b"".join(compiled_from)) in [cell.cell_contents for cell in closure]
