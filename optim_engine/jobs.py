"""The work of a step, shared out in chunks: each is updated, brought to its place and told to be filled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

from optim_engine.arrays import Array, convert
from optim_engine.machine import Machine
from optim_engine.norms import norm, squares
from optim_engine.plan import Run
from optim_engine.walk import Sums, Update, Vectors

Filled: TypeAlias = Callable[[Array, int, int], None]
"""Called as `filled(memory, start, end)` when those bytes of the next state's memory have their final values."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run, and what becomes of its vectors. `answer` is where its new parameters go that are answered: those of the
    vectors themselves, or in another dtype."""

    run: Run
    update: Update
    vectors: Vectors
    answer: Array


def advance(jobs: Sequence[Job], memory: Array, machine: Machine, filled: Filled | None) -> Sums:
    """Do the jobs, which fill that memory."""

    def work(chunk: tuple[Job, slice]) -> Sums:
        job, part = chunk
        sums = machine.kernel.advance(job.update, job.vectors.of(part))
        if job.answer is not job.vectors.new["params"]:
            convert(job.vectors.new["params"][part], job.answer[part])
        job.run.write(memory, job.vectors.new)
        if filled:
            for start, end in job.run.ranges_of(part):
                filled(memory, start, end)
        return sums

    chunks = [(job, part) for job in jobs for part in job.run.chunks()]
    return reduce(Sums.plus, machine.map(work, chunks, _size([job.run for job in jobs])), Sums())


def norm_of(gradients: Sequence[Array], runs: Sequence[Run], machine: Machine) -> float:
    """The norm of the runs' gradients: by NumPy on every machine, so that all of them clip alike."""
    parts = [g[part] for run, g in zip(runs, gradients, strict=True) for part in run.chunks()]
    return norm(gradients, sum(machine.map(squares, parts, _size(runs))))


def _size(runs: Sequence[Run]) -> int:
    return sum(run.size for run in runs)
