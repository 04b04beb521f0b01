"""Groups: tensors by name, and the hyperparameters that are theirs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from optim_engine.errors import InvalidConfig
from optim_engine.fields import plain, read_fields
from optim_engine.hyperparameters import Hyperparameters

MOST_PATTERNS = 256
"""In all groups together: each tensor is held against each of them."""
LONGEST_PATTERN = 1024
"""Characters."""


@dataclass(frozen=True)
class Group:
    """Patterns are globs over the whole name, so `bias` is not `*bias`; their case counts."""

    match: tuple[str, ...]
    overrides: Mapping[str, Any] = field(hash=False)

    def matches(self, tensor: str) -> bool:
        return any(fnmatchcase(tensor, pattern) for pattern in self.match)

    def to_dict(self) -> dict[str, Any]:
        return {"match": list(self.match), **plain(self.overrides)}


DEFAULT_GROUPS = (Group(("*bias",), {"weight_decay": 0.0}),)


def read_groups(groups: object, hyperparameters: Hyperparameters) -> tuple[Group, ...]:
    """Groups from plain values. Raises `InvalidConfig` for one that would leave its tensors with wrong settings."""
    if not isinstance(groups, (list, tuple)):
        raise InvalidConfig("groups", "must be a list of objects, each with `match` and hyperparameters")
    if len(groups) > MOST_PATTERNS:
        raise InvalidConfig("groups", f"{len(groups)} groups are more than the {MOST_PATTERNS} that there may be")
    read = tuple(_read_group(f"groups[{i}]", group, hyperparameters) for i, group in enumerate(groups))
    if (patterns := sum(len(group.match) for group in read)) > MOST_PATTERNS:
        raise InvalidConfig("groups", f"{patterns} patterns are more than the {MOST_PATTERNS} of all groups together")
    return read


def _read_group(where: str, group: object, hyperparameters: Hyperparameters) -> Group:
    if not isinstance(group, Mapping):
        raise InvalidConfig(where, "must be an object with `match` and hyperparameters")
    match = group.get("match")
    if not isinstance(match, (list, tuple)) or not match or not all(isinstance(p, str) and p for p in match):
        raise InvalidConfig(f"{where}.match", 'must be a list of patterns, such as ["*bias"]')
    if (longest := max(map(len, match))) > LONGEST_PATTERN:
        raise InvalidConfig(f"{where}.match", f"a pattern has {longest} characters, the limit is {LONGEST_PATTERN}")
    overrides = {name: value for name, value in group.items() if name != "match"}
    effective = read_fields(where, type(hyperparameters), overrides, base=hyperparameters)
    return Group(tuple(match), {name: getattr(effective, name) for name in overrides})
