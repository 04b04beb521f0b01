"""The order of parameters in a state, which torch loads by their place."""

from collections.abc import Mapping
from itertools import count
from typing import Any

import torch

from optim_client.torch import _entries
from optim_client.torch._entries import Place
from optim_client.torch._kinds import kinds_of

MEMBERS = ("params", "param_names")


def by_name(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a state in the order of an optimizer's parameters: torch alone would load it by their place.

    Args:
        optimizer: An optimizer that was made with `model.named_parameters()`.
        state_dict: The state with names, such as `torch.load` reads from a file of `optim sessions export`. They may be
            those that a session of `RemoteOptimizer` has: `0/fc.weight` for `fc.weight` of the first group.

    Returns:
        The state for `optimizer.load_state_dict`. Parameters that it does not name have taken no step.

    Raises:
        ValueError: A name, a shape, a dtype or the kind of optimizer does not fit; or parameters that share a group of
            the optimizer have different settings in the state.

    Example:
        optimizer.register_load_state_dict_pre_hook(by_name)
        optimizer.load_state_dict(torch.load("state.pt"))
    """
    found = dict[str, tuple[Any, Mapping[str, Any]]]()
    for group in state_dict["param_groups"]:
        found |= {name: (number, group) for number, name in zip(group["params"], _names_of(group), strict=True)}
    state, groups, numbers = dict[int, Any](), list[dict[str, Any]](), count()
    for i, group in enumerate(optimizer.param_groups):
        names = _names_of(group)
        there = {name: name if name in found else f"{i}/{name}" for name in names}
        settings = _settings(group, [found[name][1] for name in there.values() if name in found])
        places = dict(zip(names, numbers, strict=False))
        for name, param in zip(names, group["params"], strict=True):
            before, _ = found.pop(there[name], (None, {}))
            if before in state_dict["state"]:
                entries = state[places[name]] = state_dict["state"][before]
                for kind in sorted(kinds_of(settings))[:1]:
                    _entries.read(Place(places[name], name, settings, kind, param), entries)
        groups.append({**settings, "params": list(places.values()), "param_names": names})
    if found:
        raise ValueError(f"{min(found)!r} of the state is none of the optimizer's parameters")
    return {**state_dict, "state": state, "param_groups": groups}


def _names_of(group: Mapping[str, Any]) -> list[str]:
    """Return the names of a group's parameters. Raises `ValueError`."""
    names = list(group.get("param_names") or [])
    if len(names) != len(group["params"]):
        raise ValueError("a group has no names: make the optimizer with model.named_parameters()")
    return names


def _settings(ours: Mapping[str, Any], theirs: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that all those groups of a state have; without any, the optimizer's. Raises `ValueError`."""
    several = [{name: value for name, value in group.items() if name not in MEMBERS} for group in [*theirs, ours]]
    if any(settings != several[0] for settings in several[:-1]):
        raise ValueError("parameters of one group have different settings in the state: give the optimizer its groups")
    if kinds_of(several[0]) != kinds_of(ours):
        theirs_are = " or ".join(sorted(kinds_of(several[0]))) or "unknown"
        raise ValueError(f"the state is of {theirs_are}, the optimizer is {' or '.join(sorted(kinds_of(ours)))}")
    return several[0]
