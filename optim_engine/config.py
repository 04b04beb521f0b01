"""What an optimizer may be told: checked once, frozen, and whole ever after.

Names and defaults are PyTorch's (torch 2.13), but for one: where no groups are given, tensors named `*bias` get no
weight decay. An unknown setting, or one that the optimizer does not have, is refused, never dropped.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal, Self, TypeAlias, get_args

from optim_engine.errors import InvalidConfig
from optim_engine.fields import Checked, coefficients, flag, number, read_fields
from optim_engine.schedules import SCHEDULES, Schedule


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


@dataclass(frozen=True)
class Group:
    """Tensors by name, and the hyperparameters that are theirs. Patterns are globs; their case counts."""

    match: tuple[str, ...]
    overrides: Mapping[str, Any]

    def matches(self, tensor: str) -> bool:
        return any(fnmatchcase(tensor, pattern) for pattern in self.match)

    def to_dict(self) -> dict[str, Any]:
        return {"match": list(self.match), **self.overrides}


DEFAULT_GROUPS = (Group(("*bias",), {"weight_decay": 0.0}),)


@dataclass(frozen=True, kw_only=True)
class Clip(Checked):
    """Either every gradient scaled down together to a global norm, or each element held within ±value."""

    global_norm: float | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        given = {name: bound for name, bound in dataclasses.asdict(self).items() if bound is not None}
        if len(given) != 1:
            raise InvalidConfig("", "say either global_norm or value")
        for name, bound in given.items():
            object.__setattr__(self, name, number(above=0).metadata["read"](name, bound))

    def to_dict(self) -> dict[str, float]:
        return {name: bound for name, bound in dataclasses.asdict(self).items() if bound is not None}


OnNonFinite: TypeAlias = Literal["reject", "skip"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """All that a session's steps depend on besides its state. Make one with `parse`."""

    optimizer: str
    hyperparameters: Hyperparameters
    given_groups: tuple[Group, ...] | None = None
    """`None` where none were given, which means `DEFAULT_GROUPS`."""
    schedule: Schedule | None = None
    clip: Clip | None = None
    on_non_finite: OnNonFinite = "reject"
    hold_params: bool = False

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
        hold_params: bool = False,
    ) -> Self:
        """A configuration from plain values, as they stand in a request.

        Raises `InvalidConfig`, which names the place of the first wrong value.
        """
        if optimizer not in HYPERPARAMETERS:
            raise InvalidConfig("optimizer", f"{optimizer!r:.80} is unknown; there is {', '.join(HYPERPARAMETERS)}")
        if on_non_finite not in get_args(OnNonFinite):
            raise InvalidConfig("on_non_finite", f"{on_non_finite!r:.80} must be 'reject' or 'skip'")
        read = _read("hyperparameters", HYPERPARAMETERS[optimizer], hyperparameters or {})
        return cls(
            optimizer=optimizer,
            hyperparameters=read,
            given_groups=_parse_groups(groups, read),
            schedule=_parse_schedule(schedule),
            clip=None if clip is None else _read("clip", Clip, clip),
            on_non_finite=on_non_finite,  # type: ignore[arg-type]
            hold_params=hold_params,
        )

    @property
    def groups(self) -> tuple[Group, ...]:
        return DEFAULT_GROUPS if self.given_groups is None else self.given_groups

    def group_of(self, tensor: str) -> int | None:
        """The index of the first group that matches; `None` where none does."""
        return next((i for i, group in enumerate(self.groups) if group.matches(tensor)), None)

    def hyperparameters_of(self, group: int | None) -> Hyperparameters:
        """The effective hyperparameters of the tensors in that group."""
        return self.hyperparameters if group is None else self._of_groups[group]

    @cached_property
    def _of_groups(self) -> tuple[Hyperparameters, ...]:
        return tuple(replace(self.hyperparameters, **group.overrides) for group in self.groups)

    def unmatched(self, tensors: Mapping[str, object]) -> list[str]:
        """The patterns of given groups that match no tensor; none where there is no tensor yet."""
        patterns = [p for group in self.given_groups or () for p in group.match] if tensors else []
        return [p for p in patterns if not any(fnmatchcase(tensor, p) for tensor in tensors)]

    def to_dict(self) -> dict[str, Any]:
        """Every effective value, in the form that `parse` takes."""
        kind = {cls: name for name, cls in SCHEDULES.items()}
        return {
            "optimizer": self.optimizer,
            "hyperparameters": _plain(self.hyperparameters),
            "groups": [group.to_dict() for group in self.groups],
            "schedule": self.schedule and {"kind": kind[type(self.schedule)], **_plain(self.schedule)},
            "clip": self.clip and self.clip.to_dict(),
            "on_non_finite": self.on_non_finite,
            "hold_params": self.hold_params,
        }


def _read(where: str, kind: Any, values: object, base: Any = None) -> Any:
    try:
        return read_fields(kind, values, base=base)
    except InvalidConfig as error:
        raise error.within(where) from None


def _parse_groups(groups: object, hyperparameters: Hyperparameters) -> tuple[Group, ...] | None:
    if groups is None:
        return None
    if not isinstance(groups, (list, tuple)):
        raise InvalidConfig("groups", "must be a list of objects, each with `match` and hyperparameters")
    return tuple(_parse_group(f"groups[{i}]", group, hyperparameters) for i, group in enumerate(groups))


def _parse_group(where: str, group: object, hyperparameters: Hyperparameters) -> Group:
    if not isinstance(group, Mapping):
        raise InvalidConfig(where, "must be an object with `match` and hyperparameters")
    match = group.get("match")
    if not isinstance(match, (list, tuple)) or not match or not all(isinstance(p, str) and p for p in match):
        raise InvalidConfig(f"{where}.match", 'must be a list of patterns, such as ["*bias"]')
    overrides = {key: value for key, value in group.items() if key != "match"}
    effective = _read(where, type(hyperparameters), overrides, hyperparameters)
    return Group(tuple(match), {key: getattr(effective, key) for key in overrides})


def _parse_schedule(schedule: object) -> Schedule | None:
    if schedule is None:
        return None
    if not isinstance(schedule, Mapping):
        raise InvalidConfig("schedule", 'must be an object, such as {"kind": "constant"}')
    settings = dict(schedule)
    kind = settings.pop("kind", None)
    if not isinstance(kind, str) or kind not in SCHEDULES:
        raise InvalidConfig("schedule.kind", f"{kind!r:.80} is unknown; there is {', '.join(SCHEDULES)}")
    read: Schedule = _read("schedule", SCHEDULES[kind], settings)
    return read


def _plain(settings: Checked) -> dict[str, Any]:
    values = dataclasses.asdict(settings)  # type: ignore[call-overload]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
