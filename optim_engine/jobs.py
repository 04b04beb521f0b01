"""The work of a step, shared out in chunks: each is updated, brought to its place and told to be filled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from optim_engine.arrays import Array, convert
from optim_engine.machine import Machine
from optim_engine.plan import Plan
from optim_engine.run import Run
from optim_engine.sums import Chunk, in_order
from optim_engine.walk import Update, Vectors

Filled: TypeAlias = Callable[[Array, int, int], None]
"""Called as `filled(memory, start, end)` when those bytes of the next state's memory have their final values."""


class Totals(NamedTuple):
    """The sums of squares over all tensors: of the gradients as they came, of the change, and of the new parameters
    before rounding."""

    gradients: float
    change: float
    params: float


@dataclass(frozen=True, slots=True)
class Job:
    """A run, and what becomes of its vectors. `answer` is where its new parameters go that are answered: those of the
    vectors themselves, or in another dtype."""

    run: Run
    update: Update
    vectors: Vectors
    answer: Array


def run(jobs: Sequence[Job], plan: Plan, memory: Array, machine: Machine, filled: Filled | None) -> Totals:
    """Do the jobs of the plan, which fill that memory."""

    def work(part: tuple[Job, Chunk]) -> Array:
        (job, chunk), place = part, part[1].place
        sums = machine.kernel.update(job.update, job.vectors.of(chunk), chunk)
        if job.answer is not job.vectors.new["params"]:
            convert(job.vectors.new["params"][place], job.answer[place])
        job.run.write(memory, job.vectors.new)
        if filled:
            for start, end in job.run.ranges_of(place):
                filled(memory, start, end)
        return sums

    todo = [(job, chunk) for job in jobs for chunk in job.run.chunks]
    return Totals(*_total(machine.map(work, todo, _size(plan)), plan))


def square_sum(gradients: Sequence[Array], plan: Plan, machine: Machine) -> float:
    """The sum of squares of the runs' gradients."""
    todo = [(g[chunk.place], chunk) for run, g in zip(plan.runs, gradients, strict=True) for chunk in run.chunks]
    (total,) = _total(machine.map(lambda part: machine.kernel.squares(*part), todo, _size(plan)), plan)
    return total


def _total(sums: Sequence[Array], plan: Plan) -> list[float]:
    """Add the chunks' sums: the blocks of a tensor in their order, then the tensors in that of their names."""
    rest, tensors = iter(sums), []
    for run in plan.runs:
        of_run = [next(rest) for _ in run.chunks]
        tensors.append(of_run[0] if run.chunks[0].small else in_order(np.concatenate(of_run)))
    total: list[float] = in_order(np.concatenate(tensors)[plan.by_name])[0].tolist()
    return total


def _size(plan: Plan) -> int:
    return sum(run.size for run in plan.runs)
