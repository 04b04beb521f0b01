"""The jobs of a step, divided into chunks. Each chunk is updated, written into the state and reported as filled."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from optim_engine.arrays import Array, convert
from optim_engine.averaging import Averaging
from optim_engine.machine import Machine
from optim_engine.plan import Plan
from optim_engine.reports import Filled
from optim_engine.run import Run
from optim_engine.sums import Chunk, in_order
from optim_engine.walk import Update, Vectors


class Totals(NamedTuple):
    """The sums of squares over all tensors.

    They are of the gradients as they came, of the change, and of the new parameters before rounding. `changes` has
    those of each tensor's change, in the order of the names.
    """

    gradients: float
    change: float
    params: float
    changes: Array


class Job(NamedTuple):
    """The update of one run and its vectors.

    `answer` is the vector for the new parameters as answered: the one in `vectors`, or one in another dtype.
    """

    run: Run
    update: Update
    vectors: Vectors
    answer: Array
    averaging: Averaging | None = None


def run(jobs: Sequence[Job], plan: Plan, memory: Array, machine: Machine, filled: Filled | None) -> Totals:
    """Run the jobs of a plan, which fill that memory; return the sums of squares.

    `filled` is called for each range of the memory when it is final, on the thread that computed it.
    """

    def work(part: tuple[Job, Chunk]) -> Array:
        return _run(*part, memory, machine, filled)

    blocks = 1 if filled else machine.blocks(plan.size)
    todo = [(job, chunk) for job in jobs for chunk in job.run.chunks_of(blocks)]
    sums = machine.map(work, todo, plan.size) if len(todo) > 1 else [_run(*todo[0], memory, machine, filled)]
    tensors = by_tensor(sums, plan.runs, blocks, plan.by_name)
    of_all: tuple[float, float, float] = tuple(in_order(tensors)[0].tolist())
    return Totals(*of_all, tensors[:, 1])


def _run(job: Job, chunk: Chunk, memory: Array, machine: Machine, filled: Filled | None) -> Array:
    """Run a chunk of a job; return its sums of squares."""
    run, place, vectors = job.run, chunk.place, job.vectors.of(chunk)
    sums = machine.kernel.update(job.update, vectors, chunk)
    if job.averaging:
        job.averaging.follow(vectors.old["average"], vectors.new["params"], vectors.new["average"])
    if job.answer is not job.vectors.new["params"]:
        convert(job.vectors.new["params"][place], job.answer[place])
    run.write(memory, job.vectors.new)
    if filled:
        for start, end in run.ranges_of(place):
            filled(memory, start, end)
    return sums


def square_sum(gradients: Sequence[Array], plan: Plan, machine: Machine) -> float:
    """Return the sum of squares of the runs' gradients."""
    blocks = machine.blocks(plan.size)
    todo = [
        (g[chunk.place], chunk) for run, g in zip(plan.runs, gradients, strict=True) for chunk in run.chunks_of(blocks)
    ]
    sums = machine.map(lambda part: machine.kernel.squares(*part), todo, plan.size)
    (squares,) = total(sums, plan.runs, blocks, plan.by_name)
    return squares


def total(sums: Sequence[Array], runs: Sequence[Run], blocks: int, by_name: Array) -> list[float]:
    """Return the total of the chunks' sums: those of the tensors, added in the order of the names."""
    found: list[float] = in_order(by_tensor(sums, runs, blocks, by_name))[0].tolist()
    return found


def by_tensor(sums: Sequence[Array], runs: Sequence[Run], blocks: int, by_name: Array) -> Array:
    """Return the sums of each tensor, in the order of the names; those of a tensor's blocks are added in order."""
    if len(sums) == 1 and len(sums[0]) == 1:
        return sums[0]
    rest, tensors = iter(sums), []
    for run in runs:
        chunks = run.chunks_of(blocks)
        parts = [next(rest) for _ in chunks]
        tensors.append(parts[0] if chunks[0].small else in_order(np.concatenate(parts)))
    together = np.concatenate(tensors) if len(tensors) > 1 else tensors[0]
    ordered: Array = together.take(by_name, axis=0)
    return ordered
