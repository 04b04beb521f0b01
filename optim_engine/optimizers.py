"""The table of optimizers: adding one is adding a row here, its file, and its hyperparameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optim_engine import adam, rmsprop, sgd


@dataclass(frozen=True)
class Rule:
    """An update rule over flat vectors in the compute dtype. It writes into `new`, `out` and `tmp` alone.

    `init(h)` names what is kept for a tensor, in the order of `SLOTS`; each of them starts as zeros.
    `advance(h, t, g, old, new, tmp)` takes the gradient of the tensor's t-th update into the moments; `new` may be
    `old`. Where `squares` is true, `tmp` has g² when it is called.
    `apply(h, t, γ, θ, g, s, out, tmp)` is the new parameter by the advanced moments `s`.
    """

    init: Callable[[Any], tuple[str, ...]]
    advance: Callable[..., None]
    apply: Callable[..., None]
    squares: bool = False


OPTIMIZERS: Mapping[str, Rule] = {
    "adamw": Rule(adam.init, adam.advance, adam.apply, squares=True),
    "adam": Rule(adam.init, adam.advance, adam.apply, squares=True),
    "sgd": Rule(sgd.init, sgd.advance, sgd.apply),
    "rmsprop": Rule(rmsprop.init, rmsprop.advance, rmsprop.apply, squares=True),
}
