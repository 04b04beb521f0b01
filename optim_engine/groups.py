"""Groups of tensors, selected by name, with hyperparameters and an optimizer of their own."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from typing import Any, get_args

from optim_engine.errors import InvalidConfig
from optim_engine.fields import check_known, choice, named, plain, read_fields
from optim_engine.globs import Globs, TooMuchWork
from optim_engine.lazy import Sparse
from optim_engine.optimizers import OPTIMIZERS
from optim_engine.rule import Hyperparameters

MOST_PATTERNS = 256
"""The most patterns in all groups together, because each tensor is matched against each of them."""
LONGEST_PATTERN = 1024
"""The most characters of a pattern."""
MOST_WORK = 600_000_000
"""The most steps of `Globs.match` for a session: a few seconds. Ordinary patterns take a thousandth of it."""
LONGEST_NAME = 64
"""The most characters of a group's name."""


@dataclass(frozen=True)
class Group:
    """A group: glob patterns in `match`, and the hyperparameters that its tensors have instead of the session's.

    A pattern must match the whole name, so `bias` is not `*bias`. Matching is case-sensitive. A group with an
    `optimizer` has that rule's defaults where it overrides nothing, and none of the session's hyperparameters.
    """

    match: tuple[str, ...]
    overrides: Mapping[str, Any] = field(hash=False)
    optimizer: str | None = None
    name: str | None = None
    """A label, by which a step's overrides may name the group."""
    sparse: Sparse = "dense"
    """The meaning of a gradient of some rows (`lazy.py`)."""

    def base(self, session: Hyperparameters) -> Hyperparameters:
        """Return the hyperparameters that the group overrides."""
        return OPTIMIZERS[self.optimizer].settings() if self.optimizer else session

    def hyperparameters(self, session: Hyperparameters) -> Hyperparameters:
        """Return the effective hyperparameters."""
        return replace(self.base(session), **self.overrides)

    @property
    def has_own_lr(self) -> bool:
        """Return whether a learning rate that is given for the session's tensors leaves this group's as it is."""
        return self.optimizer is not None or "lr" in self.overrides

    def to_dict(self) -> dict[str, Any]:
        """Return the group in the form that a configuration is parsed from, without what is at its default."""
        sparse = None if self.sparse == "dense" else self.sparse
        named = {"optimizer": self.optimizer, "name": self.name, "sparse": sparse}
        given = {key: value for key, value in named.items() if value is not None}
        return {"match": list(self.match), **given, **plain(self.overrides)}


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


BESIDE = ("match", "optimizer", "name", "sparse")
"""The members of a group that are no hyperparameters."""

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
    _check_names(read)
    return read


def _check_names(groups: Sequence[Group]) -> None:
    first: dict[str, int] = {}
    for i, group in enumerate(groups):
        if group.name is not None and first.setdefault(group.name, i) != i:
            words = f"{group.name!r} is the name of groups[{first[group.name]}] too; names must differ"
            raise InvalidConfig(f"groups[{i}].name", words)


def _read_group(where: str, group: object, hyperparameters: Hyperparameters) -> Group:
    if not isinstance(group, Mapping):
        raise InvalidConfig(where, f"must be an object with `match` and hyperparameters, not {named(group)}")
    read = Group(
        match=_read_match(f"{where}.match", group),
        overrides={name: value for name, value in group.items() if name not in BESIDE},
        optimizer=_read_optimizer(f"{where}.optimizer", group.get("optimizer")),
        name=_read_name(f"{where}.name", group.get("name")),
        sparse=_read_sparse(f"{where}.sparse", group.get("sparse")),
    )
    base = read.base(hyperparameters)
    effective = read_fields(where, type(base), read.overrides, base=base)
    return replace(read, overrides={name: getattr(effective, name) for name in read.overrides})


def _read_optimizer(where: str, optimizer: object) -> str | None:
    if optimizer is None:
        return None
    check_known(where, optimizer, OPTIMIZERS)
    return str(optimizer)


def _read_sparse(where: str, sparse: object) -> Sparse:
    read: Sparse = _SPARSE["read"](where, "dense" if sparse is None else sparse)
    return read


_SPARSE = choice(*get_args(Sparse)).metadata


def _read_name(where: str, name: object) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        got = f"{len(name)} characters" if isinstance(name, str) else named(name)
        raise InvalidConfig(where, f"must be a text of 1 to {LONGEST_NAME} characters, not {got}")
    if re.fullmatch(r"\s*[+-]?\d+\s*", name):
        raise InvalidConfig(where, f"{name!r} looks like the index of a group; give it a letter")
    return name


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
