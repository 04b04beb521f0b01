"""Groups of tensors, selected by name, with hyperparameters of their own."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

from optim_engine.errors import InvalidConfig
from optim_engine.fields import named, plain, read_fields
from optim_engine.globs import Globs, TooMuchWork
from optim_engine.rule import Hyperparameters

MOST_PATTERNS = 256
"""The most patterns in all groups together, because each tensor is matched against each of them."""
LONGEST_PATTERN = 1024
"""The most characters of a pattern."""
MOST_WORK = 600_000_000
"""The most steps of `Globs.match` for a session: a few seconds. Ordinary patterns take a thousandth of it."""


@dataclass(frozen=True)
class Group:
    """A group: glob patterns in `match`, and the hyperparameters that its tensors have instead of the session's.

    A pattern must match the whole name, so `bias` is not `*bias`. Matching is case-sensitive.
    """

    match: tuple[str, ...]
    overrides: Mapping[str, Any] = field(hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the group in the form that a configuration is parsed from."""
        return {"match": list(self.match), **plain(self.overrides)}


class Grouping:
    """The assignment of tensors to groups. Each name is matched once, and cached as long as it is used."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._patterns = [pattern for group in groups for pattern in group.match]
        self._owners = [i for i, group in enumerate(groups) for _ in group.match]
        self._matched: dict[str, int] = {}
        """The patterns that match each name, as bits."""
        self._work = 0
        """The steps that the matching took."""

    def of(self, tensors: Collection[str], *, limited: bool) -> dict[str, int | None]:
        """Return the index of the first group that matches each tensor, or `None` if none does.

        Raises `InvalidConfig` if `limited` and the matching takes too many steps.
        """
        matched = self._match(tensors, limited)
        return {
            tensor: self._owners[(bits & -bits).bit_length() - 1] if (bits := matched[tensor]) else None
            for tensor in tensors
        }

    def unmatched(self, tensors: Collection[str]) -> list[str]:
        """Return the patterns that match none of the tensors."""
        matched = self._match(tensors, limited=False)
        some = reduce(or_, {matched[tensor] for tensor in tensors}, 0)
        return [pattern for i, pattern in enumerate(self._patterns) if not some >> i & 1]

    def _match(self, tensors: Collection[str], limited: bool) -> Mapping[str, int]:
        known, work = self._matched, self._work
        if new := [tensor for tensor in tensors if tensor not in known]:
            if len(known) > 2 * len(tensors):  # most of the cache is for tensors that are no longer used
                known, work, new = {}, 0, list(tensors)
            try:
                found, more = Globs(self._patterns).match(new, MOST_WORK - work if limited else math.inf)
            except TooMuchWork:
                raise InvalidConfig(
                    "groups",
                    f"matching {len(self._patterns)} patterns against {len(tensors)} names takes too long; use fewer "
                    "or shorter patterns, with fewer ? and [sets]",
                ) from None
            self._matched = known = {**known, **found}
            self._work = work + more
        return known


DEFAULT_GROUPS = (Group(("*bias",), {"weight_decay": 0.0}),)
"""The groups of a session that was given none."""


def read_groups(groups: object, hyperparameters: Hyperparameters) -> tuple[Group, ...]:
    """Return groups parsed from plain values. Raises `InvalidConfig`, also for settings that do not fit together."""
    if not isinstance(groups, (list, tuple)):
        words = f"must be a list of objects, each with `match` and hyperparameters, not {named(groups)}"
        raise InvalidConfig("groups", words)
    if len(groups) > MOST_PATTERNS:
        raise InvalidConfig("groups", f"{len(groups)} groups; the limit is {MOST_PATTERNS}")
    read = tuple(_read_group(f"groups[{i}]", group, hyperparameters) for i, group in enumerate(groups))
    if (patterns := sum(len(group.match) for group in read)) > MOST_PATTERNS:
        raise InvalidConfig("groups", f"{patterns} patterns in all groups; the limit is {MOST_PATTERNS}")
    return read


def _read_group(where: str, group: object, hyperparameters: Hyperparameters) -> Group:
    if not isinstance(group, Mapping):
        raise InvalidConfig(where, f"must be an object with `match` and hyperparameters, not {named(group)}")
    match = _read_match(f"{where}.match", group)
    overrides = {name: value for name, value in group.items() if name != "match"}
    effective = read_fields(where, type(hyperparameters), overrides, base=hyperparameters)
    return Group(match, {name: getattr(effective, name) for name in overrides})


def _read_match(where: str, group: Mapping[str, Any]) -> tuple[str, ...]:
    if "match" not in group:
        raise InvalidConfig(where, 'is required: a list of patterns, such as ["*bias"]')
    match, wrong = group["match"], ""
    if not isinstance(match, (list, tuple)):
        wrong = named(match)
    elif not match:
        wrong = "an empty list"
    elif others := [pattern for pattern in match if not isinstance(pattern, str) or not pattern]:
        wrong = f"a list with {named(others[0])}"
    if wrong:
        raise InvalidConfig(where, f'must be a list of patterns, such as ["*bias"], not {wrong}')
    if (longest := max(map(len, match))) > LONGEST_PATTERN:
        raise InvalidConfig(where, f"a pattern has {longest} characters; the limit is {LONGEST_PATTERN}")
    return tuple(match)
