"""The settings that decide a session's steps: checked once, then frozen.

The fields of `Config` are a table, one row for each setting. Requests, answers, the schema, PATCH and state files are
made of its rows, and the documents and the client's types are checked with them. Defaults are those of each rule's
reference, with one exception: without groups, tensors named `*bias` get no weight decay. An unknown setting is refused,
never dropped.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self, TypeAlias, get_args

from optim_engine import lazy
from optim_engine.averaging import Averaging
from optim_engine.clipping import Clip
from optim_engine.errors import InvalidConfig
from optim_engine.fields import (
    choice,
    custom,
    flag,
    named,
    nested,
    plain,
    read_fields,
    read_settings,
    setting,
    settings_of,
    written,
)
from optim_engine.groups import DEFAULT_GROUPS, Group, Grouping, read_groups
from optim_engine.optimizers import OPTIMIZERS
from optim_engine.rule import Hyperparameters, Rule, Shape, SharingRule
from optim_engine.schedules import Schedule, read_schedule

OnNonFinite: TypeAlias = Literal["reject", "skip"]
OnOtherParams: TypeAlias = Literal["warn", "accept", "reject"]
WireDtype: TypeAlias = Literal["bfloat16", "float16"]


class Kind(NamedTuple):
    """The update that some tensors get: the name of its rule, and the rule's hyperparameters."""

    optimizer: str
    hyperparameters: Hyperparameters


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings that a session's steps and digests depend on: an immutable, hashable value, made by `parse`."""

    optimizer: str = setting("The update rule.", choice(*OPTIMIZERS))
    hyperparameters: Hyperparameters = setting(
        "The optimizer's own settings.", custom(MISSING, None, {}), changeable=True
    )
    given_groups: tuple[Group, ...] | None = setting(
        "Hyperparameters for some of the tensors, chosen by name.", name="groups", changeable=True
    )
    """`None` where none were given, which means `DEFAULT_GROUPS`."""
    schedule: Schedule | None = setting("The factor on `lr` at each step.", changeable=True)
    clip: Clip | None = setting("The bound on gradients.", changeable=True)
    on_non_finite: OnNonFinite = setting(
        "The answer to a NaN or infinity among the gradients.", choice(*get_args(OnNonFinite), default="reject")
    )
    hold_params: bool = setting("Keeps the parameters too, so that a step sends only gradients.", flag(False))
    wire_dtype: WireDtype | None = setting(
        "A narrower dtype in which float32 gradients and parameters may travel.",
        choice(None, *get_args(WireDtype), default=None),
        later=True,
    )
    on_other_params: OnOtherParams = setting(
        "The answer to a step whose parameters are not those answered last.",
        choice(*get_args(OnOtherParams), default="warn"),
        changeable=True,
        later=True,
    )
    average: Averaging | None = setting("The decay of an average of the parameters.", nested(Averaging), later=True)

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def parse(
        cls,
        optimizer: str,
        *,
        hyperparameters: object = None,
        groups: object = None,
        schedule: object = None,
        clip: object = None,
        **others: object,
    ) -> Self:
        """Return the configuration that a request's plain values describe; `others` are the settings with a reader.

        Raises `InvalidConfig`, which names the place of the first wrong value.
        """
        read = read_settings(SETTINGS, {"optimizer": optimizer, **others})
        kind, given = OPTIMIZERS[optimizer].settings, {} if hyperparameters is None else hyperparameters
        h = read_fields("hyperparameters", kind, given)
        return cls(
            hyperparameters=h,
            given_groups=None if groups is None else read_groups(groups, h),
            schedule=None if schedule is None else read_schedule(schedule),
            clip=None if clip is None else read_fields("clip", Clip, clip),
            **read,
        )

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        if self.given_groups is None:
            return () if OPTIMIZERS[self.optimizer].decays_biases else DEFAULT_GROUPS
        return self.given_groups

    def groups_of(self, tensors: Collection[str], *, limited: bool = True) -> dict[str, int | None]:
        """Return the index of the first group that matches each tensor; `None` where none does.

        The first look at a name matches it: up to a second for many names and patterns. With `limited`, patterns that
        would take longer raise `InvalidConfig`; it needs all tensors of a state.
        """
        return self._grouping.of(tensors, limited=limited)

    def group_of(self, tensor: str) -> int | None:
        """Return the index of one tensor's group."""
        return self.groups_of([tensor])[tensor]

    def optimizer_of(self, group: int | None) -> str:
        """Return the name of the rule of the tensors in that group."""
        return self.kinds[group].optimizer

    def optimizers_of(self, tensors: Collection[str]) -> dict[str, str]:
        """Return the name of each tensor's rule. Raises `InvalidConfig` as `groups_of` does."""
        return {tensor: self.optimizer_of(group) for tensor, group in self.groups_of(tensors).items()}

    def rule_of(self, group: int | None) -> Rule[Any]:
        """Return the rule of the tensors in that group."""
        return OPTIMIZERS[self.optimizer_of(group)]

    def hyperparameters_of(self, group: int | None) -> Hyperparameters:
        """Return the effective hyperparameters of the tensors in that group."""
        return self.kinds[group].hyperparameters

    def slots_of(self, group: int | None, shape: Shape, *, begun: bool = True) -> tuple[str, ...]:
        """Return the slots of a tensor of that shape in that group; it has no moments before its first update."""
        rule = self.rule_of(group)
        moments = rule.slots(self.hyperparameters_of(group), shape) if begun else ()
        if not self.hold_params:
            return moments
        beside = _slots_beside(self, group) if begun else ()
        return (*(slot for slot in moments if slot not in rule.only_replay), *beside, "params")

    @cached_property
    def lazy_groups(self) -> frozenset[int | None]:
        return frozenset(i for i, group in enumerate(self.groups) if group.sparse == "lazy")

    @cached_property
    def pattern_length(self) -> int:
        """Return the number of characters of all patterns: a measure of the work to match a new name."""
        return sum(len(pattern) for group in self.groups for pattern in group.match)

    @cached_property
    def _grouping(self) -> Grouping:
        return Grouping(self.groups)

    @cached_property
    def kinds(self) -> Mapping[int | None, Kind]:
        """Return the optimizer and the effective hyperparameters of each group; `None` stands for no group."""
        h, rest = self.hyperparameters, self.optimizer
        kinds = [Kind(group.optimizer or rest, group.hyperparameters(h)) for group in self.groups]
        return {None: Kind(rest, h), **dict(enumerate(kinds))}

    def unmatched(self, tensors: Collection[str]) -> list[str]:
        """Return the patterns of given groups that match no tensor; none before the first tensor."""
        return self._grouping.unmatched(tensors) if self.given_groups and tensors else []

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Return the hash, computed once: each step looks up its plan by it, and there may be hundreds of patterns."""
        return hash(tuple(getattr(self, field.name) for field in fields(self)))

    def effective(self) -> dict[str, Any]:
        """Return every setting with its effective value, as in an answer."""
        composite = {
            "optimizer": self.optimizer,
            "hyperparameters": plain(self.hyperparameters),
            "groups": [group.to_dict() for group in self.groups],
            "schedule": self.schedule and self.schedule.to_dict(),
            "clip": self.clip and self.clip.to_dict(),
        }
        return composite | plain({name: getattr(self, name) for name, row in SETTINGS.items() if row.read})

    def to_dict(self) -> dict[str, Any]:
        """Return the effective values in the form that `parse` takes, without `later` settings at their default."""
        absent = {name for name, row in SETTINGS.items() if row.later and getattr(self, name) == row.default}
        effective = self.effective() | {"hyperparameters": written(self.hyperparameters)}
        return {name: value for name, value in effective.items() if name not in absent}


SETTINGS = settings_of(Config)
"""The table: each setting's row by its name."""


def _slots_beside(config: Config, group: int | None) -> tuple[str, ...]:
    """Return the slots of a held tensor that are not its rule's: of lazy rows, and the average."""
    rows = lazy.slots_of(config.rule_of(group)) if group in config.lazy_groups else ()
    return (*rows, "average") if config.average else rows


def _check(config: Config) -> None:
    """Raise `InvalidConfig` for settings that do not fit together."""
    _check_holding(config)
    _check_common(config)


def _check_holding(config: Config) -> None:
    """Raise `InvalidConfig` for a setting that needs `hold_params`, and for a group that cannot be lazy."""
    if config.wire_dtype and not config.hold_params:
        words = f"{config.wire_dtype} needs `hold_params` true: otherwise nobody has the parameters as float32"
        raise InvalidConfig("wire_dtype", words)
    if config.average and not config.hold_params:
        words = "needs `hold_params` true: it is of the parameters that the session holds"
        raise InvalidConfig("average", words)
    for i in config.lazy_groups:
        if refusal := _refusal_of_lazy(config, i):
            raise InvalidConfig(f"groups[{i}].sparse", refusal)


def _refusal_of_lazy(config: Config, group: int | None) -> str:
    """Return why the rows of a group cannot be lazy, or an empty string."""
    if not config.hold_params:
        return "`lazy` needs `hold_params` true, because rows that are not sent must be kept"
    if config.average:
        return "`lazy` has no `average`, which is of all rows: leave one of the two out"
    return lazy.refusal_of(config.rule_of(group), config.hyperparameters_of(group))


def _check_common(config: Config) -> None:
    """Raise `InvalidConfig` if a group has another value of a setting that all tensors of its rule have in common."""
    first: dict[str, Hyperparameters] = {}
    for group, (optimizer, h) in config.kinds.items():
        rule = OPTIMIZERS[optimizer]
        for name in rule.common if isinstance(rule, SharingRule) else ():
            if getattr(h, name) != (other := getattr(first.setdefault(optimizer, h), name)):
                words = f"must be {named(other)} as elsewhere: all tensors of {optimizer} share what follows from it"
                raise InvalidConfig(f"groups[{group}].{name}", words)


def with_hyperparameters(config: Config, h: Hyperparameters, groups: Sequence[Group]) -> Config:
    """Return the configuration with other hyperparameters of the session and its groups, whose patterns stay."""
    same = (*groups,) == config.groups
    if same and h == config.hyperparameters:
        return config
    changed = replace(config, hyperparameters=h, given_groups=config.given_groups if same else (*groups,))
    changed.__dict__["_grouping"] = config._grouping  # which knows the names already
    return changed
