"""Lazy rows: the slots of a tensor whose rows are updated only by steps that name them, and the settings they allow.

A row that a step does not name keeps its moments and its own count of updates. Its decoupled weight decay is caught up
when it is next named or read (`decay.py`).
"""

from typing import Any, Literal, TypeAlias

import numpy as np

from optim_engine.rule import Hyperparameters, Rule, Shape, Slot

Sparse: TypeAlias = Literal["dense", "lazy"]
"""The meaning of a gradient of some rows: zeros in all others, or no update of them."""


def one_per_row(shape: Shape) -> Shape:
    """Return the shape of a slot with one number for each row; a single number has one row."""
    return shape[:1]


def two_per_row(shape: Shape) -> Shape:
    """Return the shape of a slot with two numbers for each row."""
    return (*(shape[:1] or (1,)), 2)


def two(shape: Shape) -> Shape:
    """Return the shape of a slot with two numbers for the tensor."""
    return (2,)


ROW_STEPS = Slot("row_steps", one_per_row, np.dtype(np.int64))
"""Each row's count of updates."""
ROW_DECAY = Slot("row_decay", two_per_row, np.dtype(np.float64))
"""The sum S that each row has caught up with, as a number and its remainder."""
DECAY = Slot("decay", two, np.dtype(np.float64))
"""The sum S over the steps that named the tensor, likewise."""
SLOTS = ROW_STEPS, ROW_DECAY, DECAY


def slots_of(rule: Rule[Any]) -> tuple[str, ...]:
    """Return the names of the slots that lazy rows need beside the rule's; two only where decay may be decoupled."""
    decouples = rule.settings.decoupled is not Hyperparameters.decoupled
    return tuple(slot.name for slot in (SLOTS if decouples else SLOTS[:1]))


def refusal_of(rule: Rule[Any], h: Hyperparameters) -> str:
    """Return why rows cannot be lazy under these settings, with the way out; an empty string if they can."""
    if words := rule.refuses_rows(h):
        return f"cannot be `lazy`, because the group's optimizer {words}"
    if h.cautious:
        return "cannot be `lazy` with `cautious`, which counts the elements of a whole tensor: leave one of the two out"
    if h.weight_decay and not h.decoupled:
        return (
            f"cannot be `lazy` with a weight_decay of {h.weight_decay:g} that is added to the gradient: set it to 0, "
            "or take adamw"
        )
    return refusal_of_rate(h, h.lr)


def refusal_of_rate(h: Hyperparameters, γ: float) -> str:
    """Return why decay at that learning rate cannot be caught up, or an empty string."""
    if h.decoupled and γ * h.weight_decay >= 1:
        return f"`lazy` needs lr · weight_decay below 1, and it is {γ:g} · {h.weight_decay:g}: lower one of them"
    return ""
