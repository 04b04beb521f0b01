"""The hyperparameters of each optimizer: their names, defaults and ranges.

Names and defaults are PyTorch's (torch 2.13).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from optim_engine.errors import InvalidConfig
from optim_engine.fields import Checked, coefficients, flag, number


@dataclass(frozen=True, kw_only=True)
class Hyperparameters(Checked):
    """What every optimizer has."""

    lr: float = number(1e-3, at_least=0)
    weight_decay: float = number(0.0, at_least=0)
    maximize: bool = flag(False)

    @property
    def decoupled(self) -> bool:
        """Whether weight decay shrinks the parameter itself, not through the gradient."""
        return False


@dataclass(frozen=True, kw_only=True)
class Adam(Hyperparameters):
    betas: tuple[float, float] = coefficients((0.9, 0.999))
    eps: float = number(1e-8, at_least=0)
    amsgrad: bool = flag(False)
    decoupled_weight_decay: bool = flag(False)

    @property
    def decoupled(self) -> bool:
        return self.decoupled_weight_decay


@dataclass(frozen=True, kw_only=True)
class AdamW(Hyperparameters):
    betas: tuple[float, float] = coefficients((0.9, 0.999))
    eps: float = number(1e-8, at_least=0)
    weight_decay: float = number(1e-2, at_least=0)
    amsgrad: bool = flag(False)

    @property
    def decoupled(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class SGD(Hyperparameters):
    momentum: float = number(0.0, at_least=0)
    dampening: float = number(0.0)
    nesterov: bool = flag(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise InvalidConfig("nesterov", "needs a momentum above 0 and a dampening of 0")


@dataclass(frozen=True, kw_only=True)
class RMSprop(Hyperparameters):
    lr: float = number(1e-2, at_least=0)
    alpha: float = number(0.99, at_least=0, below=1)
    eps: float = number(1e-8, at_least=0)
    momentum: float = number(0.0, at_least=0)
    centered: bool = flag(False)


HYPERPARAMETERS: Mapping[str, type[Hyperparameters]] = {"adamw": AdamW, "adam": Adam, "sgd": SGD, "rmsprop": RMSprop}
