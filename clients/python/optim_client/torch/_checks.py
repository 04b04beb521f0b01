"""Checks of the types in a `state_dict`, and in what a file has beside it: once, so that no reader meets others."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from optim_client.torch._arrays import DTYPES
from optim_client.torch._kinds import HYPERPARAMETERS

Group = Mapping[str, Any]
SETTINGS = frozenset(name for names in HYPERPARAMETERS.values() for name in names)


def parts_of(state_dict: Any) -> tuple[Sequence[Group], Mapping[int, Mapping[str, Any]]]:
    """Return the groups and the state of a `state_dict`. Raises `ValueError`."""
    match state_dict:
        case {"state": Mapping() as state, "param_groups": [*groups]}:
            for i, group in enumerate(groups):
                _check_group(f"param_groups[{i}]", group)
            for number, entries in state.items():
                if not isinstance(entries, Mapping) or not all(isinstance(name, str) for name in entries):
                    raise ValueError(f"state[{number!r:.80}] is no object")
            return groups, state
    raise ValueError("expected what `state_dict()` of an optimizer returns: an object with `state` and `param_groups`")


def document_of(session: Any) -> dict[str, Any]:
    """Return the session's document of a file, as plain values. Raises `ValueError`."""
    try:
        document = json.loads(json.dumps(session, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"`session` is not the document of a session: {error}") from None
    match document:
        case {"optimizer": str(), "hyperparameters": {}, "groups": [*groups], "tensors": {**tensors}}:
            for name, listed in tensors.items():
                _check_listed(str(name), listed, len(groups))
            if all(isinstance(group, dict) for group in groups):
                return dict(document)
    raise ValueError("`session` is not the document of a session: leave it out if the state is a local optimizer's")


def _check_group(where: str, group: Any) -> None:
    """Raise `ValueError` unless that is a group of parameters."""
    match group:
        case {"params": [*params]} if all(type(number) is int for number in params):
            for name in SETTINGS & group.keys():
                _check_setting(f"{where}[{name!r}]", group[name])
            names = group.get("param_names")
            if names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names)):
                return
    raise ValueError(f"{where} is no group: expected an object with `params`, numbers, and `param_names`, texts")


def _check_setting(where: str, value: Any) -> None:
    """Raise `ValueError` unless that is a plain value, a tensor of one number, or several of them."""
    for each in value if isinstance(value, list | tuple) else [value]:
        one_number = isinstance(each, torch.Tensor) and each.numel() == 1
        if not (one_number or each is None or isinstance(each, bool | int | float | str)):
            raise ValueError(f"{where} is {type(each).__name__}; expected numbers")


def _check_listed(name: str, listed: Any, groups: int) -> None:
    """Raise `ValueError` unless a tensor of the document has what is needed."""
    match listed:
        case {"shape": [*shape], "dtype": str(dtype)} if dtype in DTYPES and all(map(_is_length, shape)):
            group, optimizer = listed.get("group"), listed.get("optimizer")
            if (group is None or (type(group) is int and 0 <= group < groups)) and isinstance(optimizer, str | None):
                return
    raise ValueError(f"`session` has no shape, dtype and group of tensor {name!r:.80}")


def _is_length(length: Any) -> bool:
    return type(length) is int and 0 <= length <= 2**40
