"""The rules that the fused kernel has loops for, and the coefficients that it gets. Needs no numba."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from optim_engine.adam import Adam, AdamW, corrections
from optim_engine.rmsprop import RMSprop
from optim_engine.rule import Hyperparameters
from optim_engine.sgd import SGD
from optim_engine.walk import Update


class Form(NamedTuple):
    """One update as the kernel computes it: the slots of its vectors, its coefficients in float64, and its flags.

    The flag `main` selects the rule's main loop instead of the other one.
    """

    rule: str
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
    return Form("adam", ("m", "v", "v_max" if h.amsgrad else ""), numbers, not h.amsgrad)


def _sgd(h: Any, update: Update) -> Form:
    numbers = h.momentum, 1 - h.dampening, update.γ
    flags = update.t == 1, h.nesterov
    return Form("sgd", ("m" if h.momentum else "", "", ""), numbers, bool(h.momentum), flags)


def _rmsprop(h: Any, update: Update) -> Form:
    moves = bool(h.momentum)
    numbers = h.alpha, 1 - h.alpha, h.momentum, h.eps, update.γ
    slots = "v", "m" if h.centered else "", "b" if moves else ""
    return Form("rmsprop", slots, numbers, not (h.centered or moves), (h.centered, moves))


_FORMS: Mapping[type[Hyperparameters], Callable[[Any, Update], Form]] = {
    Adam: _adam,
    AdamW: _adam,
    SGD: _sgd,
    RMSprop: _rmsprop,
}


def has_loop(h: Hyperparameters) -> bool:
    """Return whether the fused kernel computes updates with these hyperparameters."""
    return type(h) in _FORMS and not h.cautious


def form_of(update: Update) -> Form:
    """Return the form of an update that has a loop."""
    return _FORMS[type(update.h)](update.h, update)
