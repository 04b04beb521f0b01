"""The rules that the fused kernel has loops for, and the coefficients that it gets. Needs no numba."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from optim_engine.rule import Hyperparameters
from optim_engine.rules.adam import Adam, AdamW, corrections
from optim_engine.rules.rmsprop import RMSprop
from optim_engine.rules.sgd import SGD
from optim_engine.walk import Update


class Form(NamedTuple):
    """One update as the kernel computes it: the slots of its vectors, its coefficients in float64, and its flags.

    The flag `main` selects the rule's main loop instead of the other one.
    """

    slots: tuple[str, str, str]
    """In the order of the loop; an empty name stands for a slot that it does not have."""
    numbers: tuple[float, ...]
    main: bool
    flags: tuple[bool, bool] = (False, False)


def _adam(h: Any, update: Update) -> Form:
    β1, β2 = h.betas
    bias1, bias2 = corrections(h, update.t)
    decay = 1 - update.γ * h.weight_decay if h.decoupled else 1.0
    numbers = β1, 1 - β1, β2, 1 - β2, h.eps * bias2, update.γ * bias2 / bias1, decay
    return Form(("m", "v", "v_max" if h.amsgrad else ""), numbers, not h.amsgrad)


def _sgd(h: Any, update: Update) -> Form:
    numbers = h.momentum, 1 - h.dampening, update.γ
    flags = update.t == 1, h.nesterov
    return Form(("m" if h.momentum else "", "", ""), numbers, bool(h.momentum), flags)


def _rmsprop(h: Any, update: Update) -> Form:
    moves = bool(h.momentum)
    numbers = h.alpha, 1 - h.alpha, h.momentum, h.eps, update.γ
    slots = "v", "m" if h.centered else "", "b" if moves else ""
    return Form(slots, numbers, not (h.centered or moves), (h.centered, moves))


_FORMS: Mapping[type[Hyperparameters], tuple[str, Callable[[Any, Update], Form]]] = {
    Adam: ("adam", _adam),
    AdamW: ("adam", _adam),
    SGD: ("sgd", _sgd),
    RMSprop: ("rmsprop", _rmsprop),
}
_DTYPES = np.dtype(np.float32), np.dtype(np.float64)


class Loop(NamedTuple):
    """The part of the fused kernel that is compiled by itself: a rule's update, or the sums of squares, for a dtype."""

    name: str
    dtype: np.dtype[Any]


SQUARES = {dtype: Loop("squares", dtype) for dtype in _DTYPES}
"""The loops of sums alone."""
UPDATES = {(rule, dtype): Loop(name, dtype) for rule, (name, _) in _FORMS.items() for dtype in _DTYPES}
"""The loops of updates, by the type of the hyperparameters."""
LOOPS = [*dict.fromkeys([*UPDATES.values(), *SQUARES.values()])]
"""All loops."""


def has_loop(h: Hyperparameters) -> bool:
    """Return whether the fused kernel computes updates with these hyperparameters."""
    return type(h) in _FORMS and not h.cautious


def loop_of(h: Hyperparameters, dtype: np.dtype[Any]) -> Loop | None:
    """Return the loop that updates tensors of that dtype; None if NumPy does."""
    return None if h.cautious else UPDATES.get((type(h), dtype))


def form_of(update: Update) -> Form:
    """Return the form of an update that has a loop."""
    _, form = _FORMS[type(update.h)]
    return form(update.h, update)
