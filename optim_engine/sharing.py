"""The numbers that all tensors of a rule share: computed before the update, from sums over all tensors of the step."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optim_engine import walk
from optim_engine.jobs import Job, total
from optim_engine.machine import Machine
from optim_engine.plan import Plan, by_name
from optim_engine.reports import Filled
from optim_engine.rule import Hyperparameters, SharingRule
from optim_engine.state import State


def shared(jobs: list[Job], plan: Plan, old: State, new: State, machine: Machine, filled: Filled | None) -> list[Job]:
    """Return the jobs with the numbers that their rules share after the step.

    Writes them into the new state for the tensors that the step does not name; the jobs write the others.
    """
    rules = {job.update.rule: job.update.h for job in jobs if isinstance(job.update.rule, SharingRule)}
    if not rules:
        return jobs
    after = {rule: _after(rule, h, jobs, old, machine) for rule, h in rules.items()}
    _write({slot: x for numbers in after.values() for slot, x in numbers.items()}, plan, new, filled)
    return [_with(job, after[job.update.rule]) if job.update.rule in after else job for job in jobs]


def _after(
    rule: SharingRule[Any], h: Hyperparameters, jobs: Sequence[Job], old: State, machine: Machine
) -> Mapping[str, float]:
    before = _before(rule, h, old)
    mine = [_with(job, before) for job in jobs if job.update.rule is rule]
    blocks = machine.blocks(size := sum(job.run.size for job in mine))
    todo = [(job, chunk) for job in mine for chunk in job.run.chunks_of(blocks)]
    sums = machine.map(lambda part: walk.terms(part[0].update, part[0].vectors.of(part[1]), part[1]), todo, size)
    runs = [job.run for job in mine]
    return rule.share(h, before, total(sums, runs, blocks, by_name(runs)))


def _before(rule: SharingRule[Any], h: Hyperparameters, old: State) -> Mapping[str, float]:
    """Return the numbers before the step: those of any tensor that the rule has updated, because all have the same."""
    first, *_ = rule.shared
    for tensor, entry in old.entries.items():
        if first in entry.slots and old.counts.get(tensor):
            return {slot: float(old.array(tensor, slot)) for slot in rule.shared}
    return rule.initial(h)


def _with(job: Job, numbers: Mapping[str, float]) -> Job:
    return job._replace(update=replace(job.update, shared=numbers))


def _write(numbers: Mapping[str, float], plan: Plan, new: State, filled: Filled | None) -> None:
    for slot, spans in plan.shared.items():
        target = spans.target(new.memory)
        target[...] = numbers[slot]
        spans.write(new.memory, target)
        if filled:
            for start, end in spans.ranges:
                filled(new.memory, start, end)
