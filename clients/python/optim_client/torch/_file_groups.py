"""The `param_groups` in a file of torch, made from the settings of a session, and back."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import torch

from optim_client.torch._kinds import CLASSES, ENTRIES, HYPERPARAMETERS, kinds_of

Group = Mapping[str, Any]
BESIDE = frozenset({"match", "name", "optimizer", "sparse"})
"""The members of a session's group that are no hyperparameters."""


def groups_of(session: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the groups of a session's tensors as torch has them, with names and all settings of torch's class."""
    members: dict[int | None, list[str]] = {}
    for name, listed in session["tensors"].items():
        members.setdefault(listed.get("group"), []).append(name)
    numbers = count()
    return [
        {"param_names": names, **_settings(session, group), "params": [next(numbers) for _ in names]}
        for group, names in sorted(members.items(), key=lambda item: -1 if item[0] is None else item[0])
    ]


def left_out(session: Mapping[str, Any]) -> list[str]:
    """Return the names of settings by which a session steps, and that torch's class has not."""
    found = {name for name in ("schedule", "clip", "average") if session.get(name)}
    for group in {listed.get("group") for listed in session["tensors"].values()}:
        optimizer, h = _hyperparameters(session, group)
        others = h.keys() - {*HYPERPARAMETERS.get(optimizer, h)}
        found |= {name for name in others if h[name] != (name == "bias_correction")}
        found |= {"sparse"} if group is not None and "sparse" in session["groups"][group] else set()
    return sorted(found)


def settings_of(groups: Sequence[Group]) -> dict[str, Any]:
    """Return the settings of a session whose tensors are stepped as those of the groups, which have names.

    The largest group has the session's hyperparameters. Raises `ValueError`.
    """
    kinds = {kinds_of(group) for group in groups}
    if len(kinds) != 1 or len(only := next(iter(kinds))) != 1:
        found = sorted({name for kind in kinds for name in kind})
        raise ValueError(
            f"the optimizer is unknown: by their settings the groups are of {', '.join(found) or 'none'}; expected one "
            f"of {', '.join(ENTRIES)}"
        )
    [optimizer] = only
    largest = max(groups, key=lambda group: len(group["params"]))
    h = _plain(optimizer, largest)
    others = [
        {"match": [_literal(name) for name in group["param_names"]], **dict(_differing(_plain(optimizer, group), h))}
        for group in groups
        if group is not largest and group["params"]
    ]
    return {"optimizer": optimizer, "hyperparameters": h, "groups": others}


def _settings(session: Mapping[str, Any], group: int | None) -> dict[str, Any]:
    """Return what torch's class has for a session's group; of an optimizer that torch lacks, the hyperparameters."""
    optimizer, h = _hyperparameters(session, group)
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in h.items()}
    if optimizer not in CLASSES:
        return given
    defaults = getattr(torch.optim, CLASSES[optimizer])([torch.zeros(1, 1)]).defaults
    return {**defaults, **{name: given[name] for name in HYPERPARAMETERS[optimizer] if name in given}}


def _hyperparameters(session: Mapping[str, Any], group: int | None) -> tuple[str, dict[str, Any]]:
    """Return the optimizer of a group, and the hyperparameters that the document has for it."""
    overrides = {} if group is None else session["groups"][group]
    base = {} if overrides.get("optimizer") else session["hyperparameters"]
    own = {name: value for name, value in overrides.items() if name not in BESIDE}
    return overrides.get("optimizer") or session["optimizer"], {**base, **own}


def _plain(optimizer: str, group: Group) -> dict[str, Any]:
    values = {name: group[name] for name in HYPERPARAMETERS[optimizer]}
    return {name: _number(value) for name, value in values.items()}


def _number(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.item()
    return [_number(each) for each in value] if isinstance(value, tuple | list) else value


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in ours.items() if value != theirs[name])


def _literal(name: str) -> str:
    """Return the pattern that matches that name alone."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
