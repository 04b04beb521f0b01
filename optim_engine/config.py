"""What an optimizer may be told: checked once, frozen, and whole ever after.

Defaults are PyTorch's, but for one: where no groups are given, tensors named `*bias` get no weight decay. An unknown
setting, or one that the optimizer does not have, is refused, never dropped.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, Self, TypeAlias, get_args

from optim_engine.clipping import Clip
from optim_engine.errors import InvalidConfig
from optim_engine.fields import named, number, plain, read_fields
from optim_engine.groups import DEFAULT_GROUPS, Group, Grouping, read_groups
from optim_engine.optimizers import OPTIMIZERS
from optim_engine.rule import Hyperparameters, Rule, Shape
from optim_engine.schedules import Schedule, read_schedule

OnNonFinite: TypeAlias = Literal["reject", "skip"]
OnOtherParams: TypeAlias = Literal["warn", "accept", "reject"]
WireDtype: TypeAlias = Literal["bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """All that a session's steps depend on besides its state: a value, hashable. Make one with `parse`."""

    optimizer: str
    hyperparameters: Hyperparameters
    given_groups: tuple[Group, ...] | None = None
    """`None` where none were given, which means `DEFAULT_GROUPS`."""
    schedule: Schedule | None = None
    clip: Clip | None = None
    on_non_finite: OnNonFinite = "reject"
    hold_params: bool = False
    wire_dtype: WireDtype | None = None
    """In which what is held as float32 may travel."""
    on_other_params: OnOtherParams = "warn"
    """What becomes of a step whose parameters are not those that were answered last: who answers them, decides."""

    @classmethod
    def parse(
        cls,
        optimizer: str,
        *,
        hyperparameters: object = None,
        groups: object = None,
        schedule: object = None,
        clip: object = None,
        on_non_finite: object = "reject",
        hold_params: object = False,
        wire_dtype: object = None,
        on_other_params: object = "warn",
    ) -> Self:
        """Make a configuration of plain values, as they stand in a request.

        Raises `InvalidConfig`, which names the place of the first wrong value.
        """
        _one_of("optimizer", optimizer, tuple(OPTIMIZERS))
        _one_of("on_non_finite", on_non_finite, get_args(OnNonFinite))
        _one_of("on_other_params", on_other_params, get_args(OnOtherParams))
        if not isinstance(hold_params, bool):
            raise InvalidConfig("hold_params", "must be true or false")
        _check_wire_dtype(wire_dtype, hold_params)
        given = {} if hyperparameters is None else hyperparameters
        read = read_fields("hyperparameters", OPTIMIZERS[optimizer].settings, given)
        return cls(
            optimizer=optimizer,
            hyperparameters=read,
            given_groups=None if groups is None else read_groups(groups, read),
            schedule=None if schedule is None else read_schedule(schedule),
            clip=None if clip is None else read_fields("clip", Clip, clip),
            on_non_finite=on_non_finite,  # type: ignore[arg-type]
            hold_params=hold_params,
            wire_dtype=wire_dtype,  # type: ignore[arg-type]
            on_other_params=on_other_params,  # type: ignore[arg-type]
        )

    @property
    def rule(self) -> Rule[Any]:
        return OPTIMIZERS[self.optimizer]

    @property
    def groups(self) -> tuple[Group, ...]:
        if self.given_groups is None:
            return () if self.rule.decays_biases else DEFAULT_GROUPS
        return self.given_groups

    def groups_of(self, tensors: Collection[str], *, limited: bool = True) -> dict[str, int | None]:
        """The index of the first group that matches each; `None` where none does.

        A name is matched when it is first asked for, which may take a second where there are many names and patterns;
        after that it takes a look. Where that is `limited`, patterns that would take longer raise `InvalidConfig`: give
        it all tensors of a state then, also those that it knows.
        """
        return self._grouping.of(tensors, limited=limited)

    def group_of(self, tensor: str) -> int | None:
        """The same of one tensor."""
        return self.groups_of([tensor])[tensor]

    def hyperparameters_of(self, group: int | None) -> Hyperparameters:
        """Return the effective hyperparameters of the tensors in that group."""
        return self.hyperparameters if group is None else self._of_groups[group]

    def slots_of(self, group: int | None, shape: Shape, *, begun: bool = True) -> tuple[str, ...]:
        """Return the slots of a tensor of that shape in that group; it has no moments before its first update."""
        moments = self.rule.slots(self.hyperparameters_of(group), shape) if begun else ()
        return (*moments, "params") if self.hold_params else moments

    @cached_property
    def pattern_length(self) -> int:
        """Characters of all patterns: how much work it is to match a name that was not seen before."""
        return sum(len(pattern) for group in self.groups for pattern in group.match)

    @cached_property
    def _grouping(self) -> Grouping:
        return Grouping(self.groups)

    @cached_property
    def _of_groups(self) -> tuple[Hyperparameters, ...]:
        return tuple(replace(self.hyperparameters, **group.overrides) for group in self.groups)

    def unmatched(self, tensors: Collection[str]) -> list[str]:
        """The patterns of given groups that match no tensor; none where there is no tensor yet."""
        return self._grouping.unmatched(tensors) if self.given_groups and tensors else []

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Made once: a step looks for its plan by it, and there may be hundreds of patterns."""
        return hash(tuple(getattr(self, field.name) for field in fields(self)))

    def learning_rates(self, step: int, given: float | None = None) -> Mapping[int | None, float]:
        """The learning rate of each group (`None` is no group) at the step of that number.

        One given for the step stands in for the scheduled one, but not in groups that have an lr of their own. Raises
        `InvalidConfig` where one of them leaves the range of a float.
        """
        factor = self.schedule.at(step) if self.schedule else 1.0
        rates: dict[int | None, float] = {None: self.hyperparameters.lr * factor if given is None else read_lr(given)}
        for i, group in enumerate(self.groups):
            rates[i] = self.hyperparameters_of(i).lr * factor if "lr" in group.overrides else rates[None]
        if bad := [rate for rate in rates.values() if not math.isfinite(rate)]:
            raise InvalidConfig(
                "schedule", f"makes the learning rate {bad[0]} at step {step}; change the schedule or lr"
            )
        return rates

    def to_dict(self) -> dict[str, Any]:
        """Return every effective value, in the form that `parse` takes; what came later only where it is not the
        default, because digests are made of this, and those of earlier sessions stay as they were."""
        return {
            "optimizer": self.optimizer,
            "hyperparameters": plain(self.hyperparameters),
            "groups": [group.to_dict() for group in self.groups],
            "schedule": self.schedule and self.schedule.to_dict(),
            "clip": self.clip and self.clip.to_dict(),
            "on_non_finite": self.on_non_finite,
            "hold_params": self.hold_params,
            **({"wire_dtype": self.wire_dtype} if self.wire_dtype else {}),
            **({"on_other_params": self.on_other_params} if self.on_other_params != "warn" else {}),
        }


def read_lr(lr: object) -> float:
    """A learning rate given for one step. Raises `InvalidConfig`."""
    return float(_LR["read"]("lr", lr))


_LR = number(at_least=0).metadata


def _check_wire_dtype(wire_dtype: object, hold_params: bool) -> None:
    if wire_dtype is None:
        return
    _one_of("wire_dtype", wire_dtype, get_args(WireDtype))
    if not hold_params:
        raise InvalidConfig(
            "wire_dtype", f"{wire_dtype} needs `hold_params` true: else nobody has the parameters as float32"
        )


def _one_of(where: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidConfig(where, f"{named(value)} is unknown; there is {', '.join(known)}")
