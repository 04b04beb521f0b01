"""The kernels of a process: a loop is loaded once, on a thread, and compiled in another process."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.kernels import Kernels
from optim_engine import Config, State, step
from optim_engine.fused_forms import Loop
from optim_engine.machine import NUMPY, Kernel, Machine
from tests.web.logs import Logs

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


class Library:
    """A fused kernel whose loops are loaded when the test says so, in place of numba's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.kernel = replace(NUMPY, name="numba")
        self.error = error
        self.asked: list[Loop] = []
        self.may_load = threading.Event()
        monkeypatch.setattr("app.kernels.NUMPY", NUMPY)
        monkeypatch.setattr("app.kernels.installed", lambda: "numba")
        monkeypatch.setattr("app.kernels.fused", lambda: self.kernel)
        monkeypatch.setattr("app.kernels.load", self._load)

    def _load(self, loop: Loop, *, compiles: bool) -> bool:
        self.asked.append(loop)
        assert self.may_load.wait(60)
        if self.error:
            raise self.error
        return not compiles

    def load(self) -> None:
        """Return when the threads that load loops have ended."""
        self.may_load.set()
        for thread in threading.enumerate():
            if thread.name == "load-kernel":
                thread.join(60)


def take_step(
    kernel: Kernel, optimizer: str = "adam", dtype: np.dtype[np.floating] = FLOAT32, clip: bool = False
) -> None:
    x = {"x": np.ones(3, dtype)}
    config = Config.parse(optimizer, clip={"global_norm": 1.0} if clip else None)
    step(config, State.empty(), x, x, machine=Machine(kernel))


def test_a_large_step_loads_its_own_loop_once(monkeypatch: pytest.MonkeyPatch, logs: Logs) -> None:
    library, kernels = Library(monkeypatch), Kernels()
    take_step(kernels.small)
    for _ in range(3):
        take_step(kernels.large)
    assert kernels._of(Loop("adam", FLOAT32), large=False) is NUMPY
    library.load()
    take_step(kernels.large)
    assert library.asked == [Loop("adam", FLOAT32)]
    assert kernels._of(Loop("adam", FLOAT32), large=False) is library.kernel
    assert kernels._of(Loop("adam", FLOAT64), large=False) is NUMPY
    (line,) = logs.lines()
    assert (line["event"], line["kernel"]) == ("loaded the kernel for large steps", "numba")
    assert (line["loop"], line["dtype"]) == ("adam", "float32")


def test_each_rule_dtype_and_norm_loads_its_own_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    library, kernels = Library(monkeypatch), Kernels()
    take_step(kernels.large, "sgd")
    take_step(kernels.large, "sgd", FLOAT64)
    take_step(kernels.large, "rmsprop", clip=True)
    take_step(kernels.large, "adamw")
    take_step(kernels.large, "nadam")
    take_step(kernels.large, "adam", np.dtype(np.float16))
    library.load()
    names = [(loop.name, loop.dtype.name) for loop in library.asked]
    assert sorted(names) == [
        ("adam", "float32"),
        ("rmsprop", "float32"),
        ("sgd", "float32"),
        ("sgd", "float64"),
        ("squares", "float32"),
    ]


def test_a_kernel_that_cannot_be_loaded_is_not_named(monkeypatch: pytest.MonkeyPatch, logs: Logs) -> None:
    library, kernels = Library(monkeypatch, ImportError("needs an older NumPy")), Kernels()
    take_step(kernels.large)
    assert kernels.name == "numba"
    library.load()
    take_step(kernels.large, "sgd")
    library.load()
    assert (kernels.name, library.asked) == ("numpy", [Loop("adam", FLOAT32)])
    (line,) = logs.lines()
    assert (line["level"], line["cause"]) == ("warning", "ImportError: needs an older NumPy")


PROGRAM = """
import threading
import numpy as np
from app.kernels import Kernels
from app.logs import configure_logs
from optim_engine.sums import chunks_of
configure_logs("info", "json")
(chunk,) = chunks_of([3])
Kernels().large.squares(np.ones(3, np.float32), chunk)
[thread.join() for thread in threading.enumerate() if thread.name == "load-kernel"]
from optim_engine.fused_kernels import kernel_of
print(sum(kernel_of("squares", np.dtype(np.float32)).stats.cache_hits.values()))
"""


@pytest.mark.long
def test_another_process_compiles_what_this_one_loads(tmp_path: Path, with_numba: None) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = subprocess.check_output([sys.executable, "-c", PROGRAM], env=environment, text=True)
    assert said.split() == ["1"]
