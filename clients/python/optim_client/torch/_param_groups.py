"""Torch's param groups as the session's groups: names of tensors, patterns, and hyperparameters. Reads no data."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch

FLAGS = frozenset({"foreach", "fused", "capturable", "differentiable"})
"""The settings of torch that say how it computes, not what."""
IMPLIED = {"adamw": {"decoupled_weight_decay": True}}
"""The settings of torch that the service's rule does not have, with the only value that it can have."""
FLAG_TYPES = (bool, str, type(None))
WAY_OUT = (
    "leave the lists of parameters as they are; freeze one by requires_grad_(False), add others by add_param_group, "
    "and for other parameters make a new optimizer"
)

ParamGroups = Sequence[Mapping[str, Any]]
Values = dict[str, Any]


def named(groups: ParamGroups) -> dict[str, torch.Tensor]:
    """Return each parameter by the name of its tensor in the session. Raises `ValueError` if two have one name."""
    params: dict[str, torch.Tensor] = {}
    for name, param in _each(groups):
        if name in params:
            raise ValueError(
                f"two parameters are named {name.partition('/')[2]!r} in param group {name.partition('/')[0]}: "
                "each needs a name of its own, as model.named_parameters() has"
            )
        params[name] = param
    return params


def _each(groups: ParamGroups) -> Iterator[tuple[str, torch.Tensor]]:
    number = 0
    for i, group in enumerate(groups):
        names = group.get("param_names") or [str(number + k) for k in range(len(group["params"]))]
        number += len(group["params"])
        if len(names) != len(group["params"]):
            raise ValueError(f"param group {i} has {len(names)} names and {len(group['params'])} parameters: {WAY_OUT}")
        for name, param in zip(names, group["params"], strict=True):
            yield f"{i}/{name}", param


def check_same(before: Mapping[str, torch.Tensor], now: Mapping[str, torch.Tensor]) -> None:
    """Raise `ValueError` if a parameter has another name than before, or a name is of another parameter."""
    names = {id(param): name for name, param in before.items()}
    for name, param in now.items():
        known = names.get(id(param), name)
        if known != name:
            raise ValueError(f"parameter {known!r} of the session would be {name!r} now: {WAY_OUT}")
        if before.get(name, param) is not param:
            raise ValueError(f"{name!r} is another parameter than in the session: {WAY_OUT}")


def pattern(group: int) -> list[str]:
    """Return the patterns of the session's group of that number."""
    return [f"{group}/*"]


def adopted(tensors: Collection[str], params: Collection[str]) -> dict[str, str]:
    """Return the new names of a session's tensors that have the parameters' names without the number of a group."""
    names = {name.partition("/")[2]: name for name in params}
    is_plain = not set(tensors) <= set(params) and len(names) == len(params) and set(tensors) <= names.keys()
    return {name: names[name] for name in tensors} if is_plain else {}


def check_flags(group: Mapping[str, Any]) -> None:
    """Raise `ValueError` if the group switches a flag of torch's execution on."""
    for name in sorted(FLAGS & group.keys()):
        if group[name]:
            raise ValueError(
                f"{name}={group[name]} says how torch computes a step, and the service computes it here: leave it out"
            )


def hyperparameters(rule: str, group: Mapping[str, Any], defaults: Mapping[str, Any]) -> Values:
    """Return the group's hyperparameters as plain values. Raises `ValueError` for one that the rule cannot have."""
    values = {name: plain(group[name]) for name in defaults if name not in FLAGS}
    for name, value in IMPLIED.get(rule, {}).items():
        if values.pop(name, value) != value:
            raise ValueError(f"{name} must be {value} in {rule}")
    return values


def plain(value: Any) -> Any:
    """Return a hyperparameter as JSON has it: numbers of torch and NumPy, also in lists, as Python's."""
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.item() if hasattr(value, "item") else value


def settings(rule: str, groups: ParamGroups, defaults: Mapping[str, Any]) -> Values:
    """Return the session's settings that stand for the param groups: those of the first are the session's own too."""
    values = [hyperparameters(rule, group, defaults) for group in groups]
    beside = [{"sparse": group["sparse"]} if "sparse" in group else {} for group in groups]
    listed = [{"match": pattern(i), **beside[i], **each} for i, each in enumerate(values)]
    return {**values[0], "groups": listed}


def overrides(known: Values, wanted: Values) -> Values | None:
    """Return the overrides that make a step of a session with the settings `known` one with the settings `wanted`.

    `None` if that needs other settings: another group, or a value that may need other moments.
    """
    if len(known["groups"]) != len(wanted["groups"]):
        return None
    groups: Values = {}
    for i, (old, new) in enumerate(zip(known["groups"], wanted["groups"], strict=True)):
        changed = {name: value for name, value in new.items() if old.get(name) != value}
        if any(_is_structural(name, old.get(name), value) for name, value in changed.items()):
            return None
        if changed:
            groups[str(i)] = changed
    if not groups:
        return {}
    first = groups.get("0", {})
    return {**({"lr": first["lr"]} if "lr" in first else {}), "groups": groups}


def _is_structural(name: str, old: Any, new: Any) -> bool:
    if name == "momentum":
        return bool(old) != bool(new)
    return name in ("match", "sparse") or isinstance(old, FLAG_TYPES) or isinstance(new, FLAG_TYPES)
