"""Gradient clipping, by the global norm or element by element.

By norm, as in PyTorch's `clip_grad_norm_` (Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063): all gradients of a step
are scaled by min(1, max_norm / (norm + 1e-6)).
"""

from dataclasses import dataclass

from optim_engine.errors import InvalidConfig
from optim_engine.fields import Checked, number, optional, plain


@dataclass(frozen=True, kw_only=True)
class Clip(Checked):
    """The clipping of a step's gradients: all scaled together to a global norm, or each element limited to ±value.

    Exactly one of the two is given, and it is above 0; otherwise `InvalidConfig` is raised.
    """

    global_norm: float | None = optional(number(above=0))
    value: float | None = optional(number(above=0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.global_norm is None) == (self.value is None):
            raise InvalidConfig("", "give either global_norm or value")

    def scale(self, norm: float) -> float:
        """Return the factor for every gradient of a step whose gradients have that norm together."""
        return 1.0 if self.global_norm is None else min(1.0, self.global_norm / (norm + 1e-6))

    def to_dict(self) -> dict[str, float]:
        """Return the setting that was given, in the form that a configuration is parsed from."""
        return {name: bound for name, bound in plain(self).items() if bound is not None}
