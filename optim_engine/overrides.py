"""Hyperparameters for one step alone: a derived configuration with the session's moments, and learning rates.

A learning rate that is given replaces the scheduled one and leaves the configuration as it is: steps that differ in
nothing else share their plan, and `lr` means the same as `overrides.lr`, to the bit.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from optim_engine.config import Config, with_hyperparameters
from optim_engine.errors import InvalidConfig
from optim_engine.fields import named, read_fields
from optim_engine.groups import Group
from optim_engine.rates import Rates, learning_rates, read_lr
from optim_engine.rule import Hyperparameters, Rule

WHERE = "overrides"
SHAPES = ((), (1, 1))
"""Shapes for which a rule may have different moments."""


class Overridden(NamedTuple):
    """The settings of one step: its configuration, and the learning rates that were given for it."""

    config: Config
    lr: float | None
    group_rates: Rates

    def learning_rates(self, step: int) -> Rates:
        """Return the learning rate of each group at the step of that number. Raises `InvalidConfig`."""
        rates = learning_rates(self.config, step, self.lr)
        return {**rates, **self.group_rates} if self.group_rates else rates


def overridden(config: Config, overrides: object, lr: float | None) -> Overridden:
    """Return the settings of a step with these overrides; `lr` is the short form of the learning rate among them.

    Raises `InvalidConfig`, also for a hyperparameter that needs other moments than the configuration has.
    """
    if overrides is None:
        return Overridden(config, lr, {})
    if not isinstance(overrides, Mapping):
        raise InvalidConfig(WHERE, f"must be an object of hyperparameters, not {named(overrides)}")
    if lr is not None and "lr" in overrides:
        raise InvalidConfig(f"{WHERE}.lr", "stands beside `lr`, its short form: send one of the two")
    of_groups = _read_groups(config, overrides.get("groups"))
    top = _Given(WHERE, {name: value for name, value in overrides.items() if name != "groups"})
    h = top.read(config.hyperparameters, {})
    groups = [
        _with(group, of_groups.get(i, _Given(WHERE, {})), h, config.hyperparameters_of(i), config.rule_of(i))
        for i, group in enumerate(config.groups)
    ]
    top.check_moments(config.rule_of(None), config.hyperparameters, h)
    rates: dict[int | None, float] = {i: given.lr for i, given in of_groups.items() if given.lr is not None}
    return Overridden(with_hyperparameters(config, h, groups), lr if top.lr is None else top.lr, rates)


class _Given:
    """The hyperparameters that a step gives at one place, and its learning rate apart from them."""

    def __init__(self, where: str, values: object) -> None:
        if not isinstance(values, Mapping):
            raise InvalidConfig(where, f"must be an object of hyperparameters, not {named(values)}")
        self.where = where
        self.lr = read_lr(values["lr"], f"{where}.lr") if "lr" in values else None
        self.values: Mapping[str, Any] = {name: value for name, value in values.items() if name != "lr"}

    def read(self, base: Hyperparameters, own: Mapping[str, Any]) -> Hyperparameters:
        """Return the hyperparameters with a group's own and, before those, the ones of this step."""
        return read_fields(self.where, type(base), {**own, **self.values}, base=base)

    def check_moments(self, rule: Rule[Any], old: Hyperparameters, new: Hyperparameters) -> None:
        """Raise `InvalidConfig` if the new hyperparameters need other moments than the old ones."""
        if not _differ(rule, old, new):
            return
        needed, kept = (", ".join(rule.slots(h, SHAPES[-1])) for h in (new, old))
        words = f"needs the moments ({needed}), and the session keeps ({kept}): change the session (PATCH) instead"
        raise InvalidConfig(".".join((self.where, *self._cause(rule, old, new))), words)

    def _cause(self, rule: Rule[Any], old: Hyperparameters, new: Hyperparameters) -> list[str]:
        """Return the name of the hyperparameter that needs other moments, if it does so alone."""
        for name in self.values:
            with suppress(InvalidConfig):
                if _differ(rule, old, replace(old, **{name: getattr(new, name)})):
                    return [name]
        return []


def _differ(rule: Rule[Any], old: Hyperparameters, new: Hyperparameters) -> bool:
    return any(rule.slots(old, shape) != rule.slots(new, shape) for shape in SHAPES)


def _with(group: Group, given: _Given, h: Hyperparameters, old: Hyperparameters, rule: Rule[Any]) -> Group:
    """Return the group with what was given for it, on the hyperparameters h of the session (or its own optimizer's)."""
    new = given.read(group.base(h), group.overrides)
    if given.values:
        given.check_moments(rule, old, new)
        return replace(group, overrides={**group.overrides, **{name: getattr(new, name) for name in given.values}})
    return group


def _read_groups(config: Config, groups: object) -> Mapping[int, _Given]:
    """Return what was given for groups, by index. A group is named by its index, which JSON writes as a text, or by its
    name."""
    where = f"{WHERE}.groups"
    if groups is None:
        return {}
    if not isinstance(groups, Mapping):
        raise InvalidConfig(
            where, f'must be an object with hyperparameters by index or name, as {{"0": …}}, not {named(groups)}'
        )
    known = {str(i): i for i in range(len(config.groups))}
    known |= {group.name: i for i, group in enumerate(config.groups) if group.name is not None}
    read: dict[int, _Given] = {}
    for name, values in groups.items():
        place = f"{where}.{str(name)[:80]}"
        if name not in known:
            there = f"expected one of {', '.join(known)}" if known else "the session has no groups"
            raise InvalidConfig(place, f"unknown group; {there}")
        if known[name] in read:
            raise InvalidConfig(place, f"is the same group as {read[known[name]].where}: name it once")
        read[known[name]] = _Given(place, values)
    return read
