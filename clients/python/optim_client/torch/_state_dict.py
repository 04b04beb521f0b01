"""The `state_dict()` of a remote optimizer, read from its session and put into it."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from optim_client._sessions import Session
from optim_client._state_file import StateFile
from optim_client.torch import _param_groups
from optim_client.torch._kinds import UNCOUNTED
from optim_client.torch._param_groups import FLAGS, ParamGroups
from optim_client.torch._states import from_torch, settings_of, to_torch

Entries = dict[str, Any]
NO_HYPERPARAMETERS = frozenset({"params", "param_names"})


def read_state(session: Session, param_groups: ParamGroups) -> tuple[dict[torch.Tensor, Entries], Entries]:
    """Return the state of each parameter, as torch's own class keeps it, and the session's document."""
    params = _param_groups.named(param_groups)
    with TemporaryDirectory(prefix="optim-") as folder:
        path = Path(folder) / "state.safetensors"
        session.save_state(path)
        saved = to_torch(StateFile.read(path), _numbered(param_groups), params)
    by_number = list(params.values())
    return {by_number[number]: entries for number, entries in saved["state"].items()}, saved["session"]


def state_of(session: Session, state_dict: Mapping[str, Any], param_groups: ParamGroups) -> StateFile:
    """Return what `state_dict()` answered as a state of the session. Raises `ValueError` if it is of other parameters.

    SGD and Muon count no steps in torch, and need none to go on: theirs count as the session's, or as one.
    """
    _check_groups(state_dict["param_groups"], param_groups)
    groups = [{name: x for name, x in group.items() if name != "param_names"} for group in state_dict["param_groups"]]
    has_count = "session" in state_dict or session.info.optimizer not in UNCOUNTED
    step = None if has_count else max(1, session.info.step)
    return from_torch(
        {**state_dict, "param_groups": groups}, _param_groups.named(param_groups), settings_of(session.get()), step=step
    )


def write_state(session: Session, saved: StateFile) -> None:
    """Put the state into the session."""
    with TemporaryDirectory(prefix="optim-") as folder:
        path = Path(folder) / "state.safetensors"
        saved.write(path)
        session.load_state(path, digest="none")


def with_values(param_groups: ParamGroups, saved: ParamGroups) -> list[dict[str, Any]]:
    """Return saved groups for these parameters: with their hyperparameters, and flags of torch as they are here."""
    return [
        {**kept, **{name: group[name] for name in FLAGS & group.keys()}}
        for group, kept in zip(param_groups, saved, strict=True)
    ]


def _numbered(param_groups: ParamGroups) -> list[dict[str, Any]]:
    """Return the groups with numbers for their parameters, as `state_dict()` has them, and without names."""
    numbered, number = list[dict[str, Any]](), 0
    for group in param_groups:
        numbers = list(range(number, number := number + len(group["params"])))
        values = {name: value for name, value in group.items() if name not in NO_HYPERPARAMETERS}
        numbered.append({**values, "params": numbers})
    return numbered


def _check_groups(saved: ParamGroups, param_groups: ParamGroups) -> None:
    """Raise `ValueError` unless the saved groups have as many parameters, with the same names if they have names."""
    there, here = ([len(group["params"]) for group in groups] for groups in (saved, param_groups))
    if there != here:
        raise ValueError(f"the state's param groups have {there} parameters, and the optimizer's have {here}")
    for i, (kept, group) in enumerate(zip(saved, param_groups, strict=True)):
        names, ours = kept.get("param_names"), group.get("param_names")
        if names is not None and ours is not None and list(names) != list(ours):
            different = next(pair for pair in zip(names, ours, strict=True) if pair[0] != pair[1])
            raise ValueError(
                f"param group {i}: the state is of a parameter {different[0]!r} where {different[1]!r} is expected"
            )
