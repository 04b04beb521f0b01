"""Gradient clipping: by the global norm, or element by element.

By norm, as PyTorch's `clip_grad_norm_` does (Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063): all gradients of a step
are scaled by min(1, max_norm / (norm + 1e-6)).
"""

from dataclasses import dataclass

from optim_engine.errors import InvalidConfig
from optim_engine.fields import Checked, number, optional, plain


@dataclass(frozen=True, kw_only=True)
class Clip(Checked):
    """Either every gradient scaled down together to a global norm, or each element held within ±value."""

    global_norm: float | None = optional(number(above=0))
    value: float | None = optional(number(above=0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.global_norm is None) == (self.value is None):
            raise InvalidConfig("", "say either global_norm or value")

    def scale(self, norm: float) -> float:
        """What every gradient of a step is multiplied by, when that is the norm of all of them."""
        return 1.0 if self.global_norm is None else min(1.0, self.global_norm / (norm + 1e-6))

    def to_dict(self) -> dict[str, float]:
        return {name: bound for name, bound in plain(self).items() if bound is not None}
