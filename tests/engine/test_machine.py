"""The machine of a step: any kernel and any number of threads give the same bits."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optim_engine import Config, NonFinite, Outcome, State, step
from optim_engine.arrays import CHUNK, Array
from optim_engine.machine import ALONE, NUMPY, Machine, fastest
from tests.amounts import times
from tests.engine.cases import ALL, KERNELS, Case, each_machine, one_cell_each, same_bits
from tests.engine.reported import Reported

FUSED = Machine(fastest())
SIZES = [0, 1, 127, 128, 1000, 4096, 20_003, 33_001]
"""Elements: below and above a row, and the size from which memory is aligned to the cache's lines; and large."""


def vector(seed: int, size: int, dtype: type[Any], form: str) -> Array:
    """Return numbers of many sizes, some of them zero; contiguous or not, aligned or not."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(size) * np.float64(10.0) ** rng.integers(-12, 6, size) * rng.integers(0, 2, size)
    if form == "strided":
        return np.repeat(x, 2).astype(dtype)[::2]
    if form == "unaligned":
        return np.frombuffer(b"x" + x.astype(dtype).tobytes(), dtype, offset=1)
    return x.astype(dtype)


def same(left: Outcome, right: Outcome) -> bool:
    memory = left.state.memory.tobytes() == right.state.memory.tobytes()
    return memory and same_bits(left.params, right.params) and left.metrics == right.metrics


@one_cell_each("case, machine, threads", ALL, KERNELS, {f"{n} threads": n for n in (2, 3, 4)})
def test_any_kernel_and_number_of_threads_give_the_same_bits(case: Case, machine: Machine, threads: int) -> None:
    sizes = {"w": (2 * CHUNK + 12_345,), "b.bias": (100,), "u": (CHUNK,)}
    params, state = case.tensors(0, np.float32, sizes), State.empty()
    with ThreadPoolExecutor(4) as pool:
        for t in range(times(quick=1, whole=3)):
            grads, reported = case.tensors(1 + t, np.float32, sizes), Reported()
            alone = step(case.config, state, params, grads)
            together = step(
                case.config, state, params, grads, machine=Machine(machine.kernel, threads, pool), filled=reported
            )
            assert same(alone, together)
            reported.check(together.state.memory)
            params, state = alone.params, alone.state


def test_threads_share_the_parts_and_results_keep_their_order() -> None:
    both = threading.Barrier(2, timeout=60)

    def work(part: int) -> tuple[int, str]:
        if part < 2:
            both.wait()
        return part, threading.current_thread().name

    with ThreadPoolExecutor(1, thread_name_prefix="helper") as pool:
        done = Machine(NUMPY, 2, pool).map(work, range(10), 10 * CHUNK)
    assert [part for part, _ in done] == list(range(10))
    assert {name.partition("_")[0] for _, name in done[:2]} == {"helper", threading.current_thread().name}


def test_threads_treat_floating_point_errors_as_the_caller_does() -> None:
    both = threading.Barrier(2, timeout=60)

    def work(_: int) -> float:
        both.wait()
        return float(np.float32(3e38) * np.float32(10))

    with ThreadPoolExecutor(1) as pool, np.errstate(over="ignore"):
        assert Machine(NUMPY, 2, pool).map(work, range(2), 2 * CHUNK) == [np.inf, np.inf]


def test_small_work_stays_on_the_thread_of_the_caller() -> None:
    class Nobody(ThreadPoolExecutor):
        def submit(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("woke a thread")

    with Nobody(1) as pool:
        assert Machine(NUMPY, 2, pool).map(str, [1, 2, 3], CHUNK - 1) == ["1", "2", "3"]
        with pytest.raises(AssertionError, match="woke"):
            Machine(NUMPY, 2, pool).map(str, [1, 2, 3], CHUNK)


def test_callers_that_fill_the_pool_do_not_deadlock() -> None:
    with ThreadPoolExecutor(2) as pool:
        machine, both = Machine(NUMPY, 2, pool), threading.Barrier(2, timeout=60)

        def caller() -> list[int]:
            both.wait()
            return machine.map(abs, range(-100, 0), 100 * CHUNK)

        callers = [pool.submit(caller) for _ in range(2)]
        assert [call.result(60) for call in callers] == [list(range(100, 0, -1))] * 2


@pytest.mark.parametrize("fails_in", ["helper", "MainThread"])
def test_an_error_is_raised_after_all_threads_have_stopped(fails_in: str) -> None:
    both, running = threading.Barrier(2, timeout=60), set()

    def work(part: int) -> None:
        running.add(part)
        if part < 2:
            both.wait()
            if threading.current_thread().name.startswith(fails_in):
                running.discard(part)
                raise ZeroDivisionError(part)
        running.discard(part)

    with ThreadPoolExecutor(1, thread_name_prefix="helper") as pool:
        with pytest.raises(ZeroDivisionError):
            Machine(NUMPY, 2, pool).map(work, range(20), 20 * CHUNK)
        assert not running


@each_machine
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_gradient_found_non_finite_during_the_update_is_refused(machine: Machine, value: float) -> None:
    ones = {"x": np.ones(30_000, np.float32)}
    state = step(Config.parse("adamw"), State.empty(), ones, ones).state
    before = state.memory.tobytes()
    bad = {"x": ones["x"].copy()}
    bad["x"][12_345] = value
    with pytest.raises(NonFinite, match="12345"):
        step(Config.parse("adamw"), state, ones, bad, machine=machine)
    assert state.memory.tobytes() == before


@each_machine
def test_held_parameters_updated_in_place_have_the_right_norm(machine: Machine) -> None:
    """A session's first step after a PUT of parameters: no gradient, so decay alone moves them."""
    config = Config.parse("adamw", hold_params=True, hyperparameters={"lr": 0.1, "weight_decay": 0.5})
    θ = {"x": np.full(10_000, 3, np.float32)}
    outcome = step(config, State.empty().with_params(θ), {}, {"x": np.zeros(10_000, np.float32)}, machine=machine)
    assert outcome.metrics.update_norm == pytest.approx(100 * 3 * 0.05, rel=1e-4)


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
import numpy as np
from app.compute import FUSED_FROM, Compute
from optim_engine import Config, State, step
machine, kernel = Compute(2).machine(FUSED_FROM, Config.parse("adamw")), Compute(2).kernel
x = {"x": np.ones(3, np.float32)}
print(kernel, machine.kernel.name, step(Config.parse("adamw"), State.empty(), x, x, machine=machine).state.t)
"""
IMPORTED_LATE = """
import sys
import numpy as np
from app import main, serve
from optim_engine import Config, State, step
x = {"x": np.ones(3, np.float32)}
step(Config.parse("adamw"), State.empty(), x, x)
from optim_engine.machine import fastest, installed
name, before = installed(), "numba" in sys.modules
print(name, before, fastest().name, "numba" in sys.modules)
"""
NOWHERE_TO_WRITE = """
from numba import float64
from numba.core.caching import CacheImpl
from optim_engine.fused_kernels import _compiled
CacheImpl._locator_classes = []
print(_compiled(lambda x: x / 2, float64(float64), "half")(3.0))
"""


@pytest.mark.parametrize(
    ("program", "printed"),
    [(WITHOUT_NUMBA, "numpy numpy 1"), (IMPORTED_LATE, "numba False numba True"), (NOWHERE_TO_WRITE, "1.5")],
    ids=["without numba the service computes by NumPy", "numba is imported when asked for", "no folder to cache in"],
)
@pytest.mark.long
def test_a_process_of_its_own_picks_its_kernel(program: str, printed: str, with_numba: None) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, printed), done.stderr


def test_the_default_machine_is_numpy_on_one_thread() -> None:
    assert Machine() == ALONE == Machine(NUMPY, 1, None)
