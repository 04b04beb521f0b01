"""A linearizability checker: Wing and Gong's search, with Lowe's memory of visited states.

A history is linearizable if each operation can be given a moment between its call and its return, so that the
operations, done one at a time in that order, have the answers of the history. Knows no service: a model answers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State")
Call = TypeVar("Call")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Operation(Generic[Call, Answer]):
    """An operation of a client: its call, its answer and their times, by one clock.

    An operation without an answer may happen at any later moment or never: its `returned` is infinite.
    """

    call: Call
    answer: Answer | None
    called: float
    returned: float = math.inf


class NotLinearizable(AssertionError):
    """The error for a history whose answers no order of the operations explains."""


def check(
    apply: Callable[[State, Call], tuple[State, Answer]], start: State, history: Sequence[Operation[Call, Answer]]
) -> None:
    """Raise `NotLinearizable` if the history is not. States must be immutable and hashable."""
    history = sorted(history, key=lambda operation: operation.called)
    wanted = sum(1 << i for i, operation in enumerate(history) if operation.answer is not None)
    stack = [(0, start)]
    seen = set(stack)
    deepest = stack[0]
    while stack:
        done, state = stack.pop()
        if done & wanted == wanted:
            return
        deepest = max(deepest, (done, state), key=lambda node: (node[0] & wanted).bit_count())
        for i in _next(history, done):
            after, answer = apply(state, history[i].call)
            node = (done | 1 << i, after)
            if node not in seen and history[i].answer in (None, answer):
                seen.add(node)
                stack.append(node)
    raise NotLinearizable(_explained(apply, history, *deepest))


def _next(history: Sequence[Operation[Call, Answer]], done: int) -> list[int]:
    """Return the operations that may come next: those that were called before any other open one returned."""
    found, first_return = [], math.inf
    for i, operation in enumerate(history):
        if not done >> i & 1:
            if operation.called > first_return:
                break
            found.append(i)
            first_return = min(first_return, operation.returned)
    return found


def _explained(
    apply: Callable[[State, Call], tuple[State, Answer]],
    history: Sequence[Operation[Call, Answer]],
    done: int,
    state: State,
) -> str:
    """Describe the furthest state of the search and the answers that it cannot explain."""
    lines = [f"after {done.bit_count()} of {len(history)} operations, in the state {state}, none of these can be next:"]
    for i in _next(history, done):
        operation = history[i]
        lines.append(f"{operation.call} was answered {operation.answer}, not {apply(state, operation.call)[1]}")
    return "\n  ".join(lines)
