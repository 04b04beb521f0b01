"""State files as files of `torch.save`, and back, with every number as it is. No pickle is executed."""

import os
import pickle
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from optim_client._files import replacing
from optim_client._state_file import INTEGER_SLOTS, StateFile
from optim_client.torch._arrays import DTYPES, NAMES, to_array, to_tensor
from optim_client.torch._checks import Group, document_of, parts_of
from optim_client.torch._entries import BESIDE, NUMBERS
from optim_client.torch._file_groups import groups_of, left_out, settings_of
from optim_client.torch._kinds import ENTRIES
from optim_client.torch._states import StateDict, from_torch, to_torch

SLOTS = "slots"
"""The member of the file that has what torch keeps nowhere: `slots["params/w"]`, averages, and the like."""


def export_torch(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> list[str]:
    """Write a state file as torch saves the `state_dict()` of an optimizer.

    A local optimizer loads it, after `by_name` has put the parameters into its order. Beside `state` and
    `param_groups`, which the optimizer reads, the file has `session` and `slots`, which make the way back exact.

    Args:
        source: A file of `session.save_state(path)`.
        target: The file, which is replaced wholly or not at all.

    Returns:
        The names of settings by which the session steps, and which torch's optimizer has not.

    Raises:
        ValueError: The source is no state file.
        OSError: A file cannot be read or written.

    Example:
        session.save_state("state.safetensors")
        export_torch("state.safetensors", "state.pt")
        optimizer.load_state_dict(by_name(optimizer, torch.load("state.pt")))
    """
    saved = StateFile.read(source)
    written = to_file(saved)
    with replacing(target) as file:
        torch.save(written, file)
    return left_out(saved.session)


def import_torch(
    source: str | os.PathLike[str], target: str | os.PathLike[str], *, step: int | None = None
) -> StateFile:
    """Write a file that torch saved as a state file.

    Args:
        source: A file of `export_torch`, or the `state_dict()` of a local optimizer with the names of its parameters.
        target: The state file, which is replaced wholly or not at all. `session.load_state(target)` takes it, with
            `digest="none"` if the source is a local optimizer's.
        step: The number of steps that were taken, which `SGD` and `Muon` do not count.

    Returns:
        The state that was written.

    Raises:
        ValueError: The source is no such file, or would have to execute code; an entry is missing, unknown, or of
            another shape or dtype.
        OSError: A file cannot be read or written.

    Example:
        torch.save(optimizer.state_dict(), "state.pt")
        import_torch("state.pt", "state.safetensors")
        session.load_state("state.safetensors", digest="none")
    """
    saved = from_file(_loaded(Path(source)), step)
    saved.write(target)
    return saved


def to_file(saved: StateFile) -> StateDict:
    """Return what a file of `export_torch` has."""
    session = saved.session
    groups = groups_of(session)
    params = {name: _unread(session["tensors"][name]) for group in groups for name in group["param_names"]}
    slots = {
        f"{slot}/{name}": to_tensor(array)
        for slot, arrays in saved.slots.items()
        for name, array in arrays.items()
        if not _has_place(session, slot, name)
    }
    return {**to_torch(saved, groups, params), SLOTS: slots}


def from_file(read: StateDict, step: int | None = None) -> StateFile:
    """Return the state that a file of torch has. Raises `ValueError`."""
    groups, _ = parts_of(read)
    names = _names(groups)
    if "session" not in read:
        return _made_locally(read, names, step)
    session = document_of(read["session"])
    if missing := session["tensors"].keys() - {*names}:
        raise ValueError(f"tensor {min(missing)!r} of `session` is not among the names of `param_groups`")
    beside = _slots(read.get(SLOTS), session)
    saved = from_torch(read, {name: _param(name, session, beside.get("params", {})) for name in names}, session)
    slots = {slot: dict(arrays) for slot, arrays in saved.slots.items()}
    for slot, tensors in beside.items():
        slots.setdefault(slot, {}).update({name: to_array(tensor) for name, tensor in tensors.items()})
    listed = {name: saved.session["tensors"][name] for name in session["tensors"]}
    return StateFile({**saved.session, "tensors": listed, "digest": session.get("digest")}, slots)


def _loaded(path: Path) -> StateDict:
    """Return what torch saved: tensors and plain values, and nothing that needs code. Raises `ValueError`."""
    with path.open("rb") as file:
        try:
            read = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL (\S+)", str(error))
            what = f"has {found[1]}, which is code and" if found else "is damaged, or"
            raise ValueError(f"{path} {what} is no state of an optimizer: nothing of it was executed") from None
        except Exception as error:  # of a damaged file, torch raises anything
            raise ValueError(f"{path} cannot be read, it is damaged or no file of torch: {error}") from None
    if not isinstance(read, dict) or not {"state", "param_groups"} <= read.keys():
        has = (
            f"an object with {', '.join(map(repr, list(read)[:5]))}" if isinstance(read, dict) else type(read).__name__
        )
        raise ValueError(f"{path} has {has}; expected the `state_dict()` of an optimizer alone")
    return read


def _made_locally(read: StateDict, names: list[str], step: int | None) -> StateFile:
    """Return the state of a local optimizer, whose settings are those of its groups. Raises `ValueError`."""
    session = settings_of(read["param_groups"])
    numbers = [number for group in read["param_groups"] for number in group["params"]]
    by_name = {name: read["state"].get(number) or {} for name, number in zip(names, numbers, strict=True)}
    found = {name: _shaped(session["optimizer"], entries) for name, entries in by_name.items()}
    params = {name: param for name, param in found.items() if param is not None}
    groups = [_without(group, params) for group in read["param_groups"]]
    return from_torch({"state": read["state"], "param_groups": groups}, params, session, step=step)


def _names(groups: Sequence[Group]) -> list[str]:
    """Return the names of all parameters. Raises `ValueError`."""
    for i, group in enumerate(groups):
        if len(group.get("param_names") or []) != len(group["params"]):
            raise ValueError(
                f"param_groups[{i}] has no name for each parameter: make the optimizer with model.named_parameters(), "
                "or use optim_client.torch.from_torch, which takes names"
            )
    names = [name for group in groups for name in group.get("param_names") or []]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"two parameters have the name {twice[0]!r}")
    return names


def _without(group: Mapping[str, Any], params: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return the group without the parameters that have no state: their shapes are unknown."""
    kept = [pair for pair in zip(group["params"], group["param_names"], strict=True) if pair[1] in params]
    return {**group, "params": [number for number, _ in kept], "param_names": [name for _, name in kept]}


def _shaped(optimizer: str, entries: Mapping[str, Any]) -> torch.Tensor | None:
    """Return a parameter without memory, of the shape and dtype that its moments tell; `None` if it has none."""
    there = {name: entries[name] for name in ENTRIES[optimizer] if isinstance(entries.get(name), torch.Tensor)}
    wide = [tensor for name, tensor in there.items() if name not in NUMBERS]
    if not wide:
        return None
    shape = tuple(wide[0].shape)
    if "row_var" in there and "col_var" in there:
        shape = (*there["row_var"].shape[:-1], *there["col_var"].shape[-1:])
    return torch.empty(shape, dtype=wide[0].dtype, device="meta")


def _has_place(session: Mapping[str, Any], slot: str, name: str) -> bool:
    """Return whether torch's `state` has that slot of a tensor."""
    optimizer = session["tensors"][name].get("optimizer") or session["optimizer"]
    return slot in ENTRIES[optimizer].values() if optimizer in ENTRIES else slot not in BESIDE


def _slots(given: Any, session: Mapping[str, Any]) -> dict[str, dict[str, torch.Tensor]]:
    """Return what the file has beside torch's `state`, by slot and tensor. Raises `ValueError`."""
    slots: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in (given if isinstance(given, Mapping) else {}).items():
        slot, slash, name = str(key).partition("/")
        if not slash or name not in session["tensors"] or _has_place(session, slot, name):
            raise ValueError(f"`{SLOTS}` has {key!r:.80}, which is no slot of a tensor of `session`, or is in `state`")
        if not isinstance(tensor, torch.Tensor) or tensor.is_sparse or tensor.dtype not in _dtypes(slot):
            raise ValueError(f"{key!r:.80} in `{SLOTS}` must be a dense tensor of one of {[*_dtypes(slot)]}")
        slots.setdefault(slot, {})[name] = tensor
    return slots


def _dtypes(slot: str) -> Collection[torch.dtype]:
    return (torch.int64,) if slot in INTEGER_SLOTS else NAMES


def _param(name: str, session: Mapping[str, Any], held: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return a parameter: its values if the session holds them, else only shape and dtype. Raises `ValueError`."""
    listed = session["tensors"].get(name)
    if listed is None:
        raise ValueError(f"{name!r} of `param_groups` is not among the tensors of `session`")
    if not session.get("hold_params"):
        return _unread(listed)
    param, expected = held.get(name), _unread(listed)
    if param is None or param.shape != expected.shape or param.dtype != expected.dtype:
        raise ValueError(
            f"`{SLOTS}` has no 'params/{name}' of {listed['dtype']} {listed['shape']}, which `session` holds"
        )
    return param


def _unread(listed: Mapping[str, Any]) -> torch.Tensor:
    """Return a tensor of that shape and dtype without memory."""
    try:
        return torch.empty(tuple(listed["shape"]), dtype=DTYPES[listed["dtype"]], device="meta")
    except RuntimeError:
        raise ValueError(f"the shape {listed['shape']} of `session` is too large") from None
