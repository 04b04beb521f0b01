"""The states of torch's optimizers as states of sessions, and back.

torch's `state_dict()` names parameters by their place, and an optimizer takes one without a look at names, shapes,
dtypes or the class that it came from. Here all of these are checked. Moments keep their bits in both directions:

- float32 and float64 parameters have the same moments here and there.
- float16 and bfloat16 parameters have moments of their own dtype in torch, and float32 ones in a session. On the way in
  they are widened, which is exact. On the way out they stay float32, and torch rounds them when it loads them.
- NAdam's `mu_product` is float64 in a session. torch rounds it to the parameter's dtype when it loads it.
- ASGD's `eta` and `mu` follow from the settings and the count. SGD and Muon count no steps.
- Adadelta's last update is only for the answer to a repeated step, and torch has none: it is 0 on the way in.

An optimizer that torch lacks has the names of a session's slots in its state.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import torch

from optim_client._state_file import FORMAT, StateFile
from optim_client._tensors import Arrays
from optim_client.documents import SessionInfo
from optim_client.settings import EffectiveSettings
from optim_client.torch import _entries
from optim_client.torch._arrays import NAMES, to_array
from optim_client.torch._checks import Group, parts_of
from optim_client.torch._entries import Kept, Place
from optim_client.torch._kinds import CLASSES, ENTRIES, kinds_of

StateDict = dict[str, Any]
Params = Mapping[str, torch.Tensor]
"""Parameters by name, in the order of `param_groups`."""


def to_torch(saved: StateFile, groups: Sequence[Group], params: Params) -> StateDict:
    """Return a session's state as torch's `state_dict()` has it.

    Args:
        saved: The session's state.
        groups: The `param_groups`, as `state_dict()` of `torch.optim.Optimizer` returns them.
        params: All parameters by name, in the order of the groups. Their values are not read.

    Returns:
        `state` and `param_groups`, which the local class loads, and `session`, which it drops: the session's document.
        Tensors are copies.

    Raises:
        ValueError: A tensor of the session is no parameter or has another shape or dtype, or a moment is missing that
            the settings of its group need.

    Example:
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict(to_torch(saved, groups, dict(model.named_parameters())))
    """
    tensors = saved.session["tensors"]
    if unknown := [name for name in tensors if name not in params]:
        raise ValueError(f"tensor {unknown[0]!r} of the session is none of the optimizer's parameters")
    state: dict[int, _entries.Entries] = {}
    for place in _places(groups, params, saved.session):
        listed = tensors.get(place.name, {"step": 0})
        if "shape" in listed:
            _check_listed(place, listed)
        kept = {slot: arrays[place.name] for slot, arrays in saved.slots.items() if place.name in arrays}
        if entries := _entries.write(place, kept, listed["step"]):
            state[place.number] = entries
    return {"state": state, "param_groups": [dict(group) for group in groups], "session": dict(saved.session)}


def from_torch(
    state_dict: Mapping[str, Any], params: Params, session: Mapping[str, Any], *, step: int | None = None
) -> StateFile:
    """Return torch's `state_dict()` as the state of a session with those settings.

    Args:
        state_dict: The state of a local optimizer, or what `to_torch` returned.
        params: All parameters by name, in the order of `param_groups`. Their values are read if the session holds them.
        session: The session's settings, as `settings_of` returns them; only `optimizer` must be there.
        step: The number of steps that were taken, which `SGD` and `Muon` do not count.

    Returns:
        The state, without a digest; its arrays may be views of the tensors.

    Raises:
        ValueError: The state is another optimizer's, or of other parameters; an entry is missing, unknown, or of
            another shape or dtype; a step is no whole number, or is missing.

    Example:
        saved = from_torch(optimizer.state_dict(), dict(model.named_parameters()), {"optimizer": "adamw"})
        saved.write("torch.safetensors")
    """
    groups, state = parts_of(state_dict)
    places, before = list(_places(groups, params, session)), _before(state_dict)
    if unknown := state.keys() - {place.number for place in places}:
        raise ValueError(f"`state` has an entry {min(map(repr, unknown))}, which is none of {len(places)} parameters")
    held, slots = bool(session.get("hold_params")), dict[str, Arrays]()
    tensors, taken = dict[str, Any](), max(step or 0, before.step)
    for place in places:
        _check_kind(place, session)
        count, kept = _entries.read(place, state.get(place.number, {}))
        if count is None:
            count = _uncounted(place, kept, before, step)
        for slot, array in {**kept, **_beside(place, kept, held)}.items():
            slots.setdefault(slot, {})[place.name] = array
        taken = max(taken, count)
        tensors[place.name] = {"shape": [*place.param.shape], "dtype": NAMES[place.param.dtype], "step": count}
    counts = {"step": taken, "skipped_steps": before.skipped_steps}
    settings = {name: value for name, value in session.items() if name != "digest"}
    return StateFile({**settings, "format": FORMAT, **counts, "tensors": tensors}, slots)


def settings_of(info: SessionInfo) -> dict[str, Any]:
    """Return a session's settings as its document has them.

    Args:
        info: The session, as `session.info`.

    Returns:
        The settings by name, as plain values.

    Example:
        saved = from_torch(optimizer.state_dict(), dict(model.named_parameters()), settings_of(session.info))
    """
    settings = {field.name: getattr(info, field.name) for field in fields(EffectiveSettings)}
    return settings | {"tensors": {name: {"optimizer": tensor.optimizer} for name, tensor in info.tensors.items()}}


class _Counts(NamedTuple):
    """The counts of a session that the state was made from, which torch does not keep."""

    step: int = 0
    skipped_steps: int = 0
    tensors: Mapping[str, int] = {}


def _before(state_dict: Mapping[str, Any]) -> _Counts:
    """Return the counts of the session that the state was made from, if it was. Raises `ValueError`."""
    match state_dict.get("session"):
        case None:
            return _Counts()
        case {"step": int(step), "skipped_steps": int(skipped), "tensors": Mapping() as tensors}:
            listed = [(name, each.get("step")) for name, each in tensors.items() if isinstance(each, Mapping)]
            counts = {name: count for name, count in listed if isinstance(count, int)}
            if len(counts) == len(tensors):
                return _Counts(step, skipped, counts)
    raise ValueError("`session` beside `state` is not the document of a session: leave it out")


def _places(groups: Sequence[Group], params: Params, session: Mapping[str, Any]) -> Iterator[Place]:
    """Yield the place of each parameter. Raises `ValueError` unless numbers and names fit the parameters."""
    numbers = [number for group in groups for number in group["params"]]
    if len(numbers) != len(params) or len({*numbers}) != len(numbers):
        raise ValueError(
            f"the groups have {len({*numbers})} different parameters; expected {len(params)}, one for each"
        )
    names = list(params)
    for group in groups:
        here = [names.pop(0) for _ in group["params"]]
        given = group.get("param_names")
        if given is not None and list(given) != here:
            there, expected = next(
                pair for pair in zip([*given, None], [*here, None], strict=False) if pair[0] != pair[1]
            )
            raise ValueError(f"the state is of a parameter {there!r} where {expected!r} is expected: the names differ")
        for number, name in zip(group["params"], here, strict=True):
            listed = session.get("tensors", {}).get(name, {})
            yield Place(number, name, group, listed.get("optimizer") or session["optimizer"], params[name])


def _check_listed(place: Place, listed: Mapping[str, Any]) -> None:
    here, there = ([*place.param.shape], NAMES.get(place.param.dtype)), ([*listed["shape"]], listed["dtype"])
    if here != there:
        raise ValueError(
            f"{place.name!r} is {place.param.dtype} {here[0]} among the parameters, and {there[1]} {there[0]} in the "
            "session"
        )


def _check_kind(place: Place, session: Mapping[str, Any]) -> None:
    """Raise `ValueError` if the settings of a parameter's group are those of another optimizer."""
    if place.optimizer not in ENTRIES:
        return
    kinds = kinds_of(place.group)
    decoupled = (session.get("hyperparameters") or {}).get("decoupled_weight_decay")
    expected = {"adam", "adamw"} if place.optimizer == "adam" and decoupled else {place.optimizer}
    if not kinds & expected:
        theirs = " or ".join(CLASSES[kind] for kind in sorted(kinds)) or "another optimizer"
        raise ValueError(
            f"the state of {place.name!r} is of {theirs}, by the settings of its group; expected {place.optimizer}"
        )


def _uncounted(place: Place, kept: Kept, before: _Counts, step: int | None) -> int:
    """Return the count of a parameter's steps where torch keeps none: the session's, or the given one."""
    if place.name in before.tensors:
        return before.tensors[place.name]
    if kept and not step:
        raise ValueError(
            f"{CLASSES[place.optimizer]} counts no steps, and {place.name!r} has taken some: say with `step` how many"
        )
    return step if kept and step else 0


def _beside(place: Place, kept: Kept, held: bool) -> Kept:
    """Return the slots of a parameter that torch has not: the parameter itself, or Adadelta's last update."""
    if held:
        return {"params": to_array(place.param)}
    return {"update": np.zeros_like(kept["v"])} if kept and place.optimizer == "adadelta" else {}
