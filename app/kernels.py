"""The kernels of a process of the service: NumPy's, and the loops of the fused one as large steps come to need them."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from threading import Lock, Thread

from app.logs import log
from optim_engine.arrays import Array, compute_dtype
from optim_engine.fused_forms import SQUARES, Loop, loop_of
from optim_engine.machine import NUMPY, Kernel, fused, installed, load
from optim_engine.sums import Chunk
from optim_engine.walk import Update, Vectors

COMPILE = """
import sys
import numpy as np
from optim_engine.fused_forms import Loop
from optim_engine.machine import load
load(Loop(sys.argv[1], np.dtype(sys.argv[2])))
"""


class Kernels:
    """The kernels for small and for large steps. A loop that is not loaded is NumPy's, which computes the same bits.

    A large step that lacks a loop has it loaded on a thread, and does not wait for it. If it must be compiled, another
    process does that and keeps it on disk: that takes seconds, in which this one computes, and may stop.
    """

    def __init__(self) -> None:
        self.name = installed()
        """The name of the kernel for large steps."""
        self.small = self._kernel(large=False)
        self.large = self._kernel(large=True)
        self._fused = NUMPY
        self._loaded: set[Loop] = set()
        self._asked: set[Loop] = set()
        self._changing = Lock()
        """Held while a thread or a process is started, and while everything is stopped."""
        self._loading = Lock()
        self._compiler: subprocess.Popen[bytes] | None = None
        self._closed = False

    def _kernel(self, *, large: bool) -> Kernel:
        if self.name == NUMPY.name:
            return NUMPY
        return Kernel(self.name, partial(self._update, large), partial(self._squares, large))

    def _update(self, large: bool, update: Update, run: Vectors, chunk: Chunk) -> Array:
        if not large and not self._loaded:
            return NUMPY.update(update, run, chunk)
        return self._of(loop_of(update.h, run.old["params"].dtype), large).update(update, run, chunk)

    def _squares(self, large: bool, x: Array, chunk: Chunk) -> Array:
        return self._of(SQUARES[compute_dtype(x.dtype)], large).squares(x, chunk)

    def _of(self, loop: Loop | None, large: bool) -> Kernel:
        """Return the kernel that has the loop now."""
        if loop in self._loaded:
            return self._fused
        if loop and large and loop not in self._asked:
            self._ask(loop)
        return NUMPY

    def _ask(self, loop: Loop) -> None:
        """Start a thread that loads a loop."""
        with self._changing, suppress(RuntimeError):  # no more threads: the next large step tries again
            if loop not in self._asked and not self._closed:
                Thread(target=self._load, args=[loop], name="load-kernel").start()
                self._asked.add(loop)

    def _load(self, loop: Loop) -> None:
        with self._loading:
            started = time.perf_counter()
            try:
                if not self._is_loaded(loop):
                    return
                self._fused = fused()
            except Exception as error:
                self._give_up(error)
            else:
                self._loaded.add(loop)
                seconds = round(time.perf_counter() - started, 2)
                of = {"loop": loop.name, "dtype": loop.dtype.name}
                log.info("loaded the kernel for large steps", kernel=self.name, **of, seconds=seconds)

    def _is_loaded(self, loop: Loop) -> bool:
        """Load a loop; return False if nobody needs it any more."""
        if self._is_over():
            return False
        if not load(loop, compiles=False):
            self._compile(loop)
            if self._is_over():
                return False
            load(loop)  # compiles it here if there is no place to keep it
        return True

    def _is_over(self) -> bool:
        return self._closed or self.name == NUMPY.name

    def _compile(self, loop: Loop) -> None:
        """Compile a loop in another process, which keeps it on disk."""
        command = [sys.executable, "-P", "-c", COMPILE, loop.name, loop.dtype.name]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folder or os.curdir for folder in sys.path)}
        nowhere = subprocess.DEVNULL
        with self._changing:
            if self._closed:
                return
            with suppress(OSError):
                self._compiler = subprocess.Popen(  # noqa: S603
                    command, env=environment, stdin=nowhere, stdout=nowhere, stderr=nowhere
                )
        if self._compiler:
            self._compiler.wait()

    def _give_up(self, error: Exception) -> None:
        self.name = NUMPY.name
        self._loaded.clear()
        log.warning("numba cannot be loaded: NumPy computes all steps", cause=f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Load nothing more, and end the process that compiles."""
        with self._changing:
            self._closed = True
            if self._compiler:
                self._compiler.kill()
