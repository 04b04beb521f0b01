"""The entries that torch keeps for one parameter, as the slots of a session, and back. Each one is checked."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from optim_client.torch._arrays import DTYPES, to_array, to_tensor
from optim_client.torch._kinds import DERIVED, ENTRIES, FLAGS, NEEDED_AT_ONCE, UNCOUNTED, derived, entries_of

BESIDE = frozenset({"params", "average", "row_steps", "row_decay", "decay"})
"""The slots that are no optimizer's."""
NUMBERS = frozenset({"step", "mu_product", "eta", "mu"})
"""The entries that are single numbers, in a dtype that is not the parameter's."""
MOST_STEPS = 2**53

Entries = dict[str, torch.Tensor]
Kept = dict[str, NDArray[Any]]
"""A tensor's arrays by slot."""


class Place(NamedTuple):
    """The place of a parameter: its number in the state, its name, its group, its optimizer, and itself."""

    number: int
    name: str
    group: Mapping[str, Any]
    optimizer: str
    param: torch.Tensor

    def __str__(self) -> str:
        return f"state[{self.number}] ({self.name!r})"


def write(place: Place, kept: Kept, count: int) -> Entries:
    """Return what torch keeps for a parameter after `count` steps; nothing before the first one, except for Adagrad.

    Raises `ValueError` if a slot is missing that the settings of the group need.
    """
    kind, group = place.optimizer, place.group
    if not count:
        if kind not in NEEDED_AT_ONCE:
            return {}
        return {"step": _counted(0), "sum": _start(place).repeat(place.param.shape)}
    entries = {} if kind in UNCOUNTED else {"step": _counted(count)}
    numbers = derived(group, count) if kind in DERIVED else {}
    entries |= {name: torch.tensor(number, dtype=_scalar_dtype()) for name, number in numbers.items()}
    for name, slot in _wanted(place, kept).items():
        if slot not in kept:
            raise ValueError(f"the session has no {slot!r} of {place.name!r}: torch needs {_named(kind, name, group)}")
        entries[name] = to_tensor(_widened(name, kept[slot]))
    return entries


def read(place: Place, entries: Mapping[str, Any]) -> tuple[int | None, Kept]:
    """Return the count of a parameter's steps and its arrays by slot; no count where torch keeps none.

    Raises `ValueError`.
    """
    given = {name: value for name, value in entries.items() if value is not None}
    if not given:
        return (None if place.optimizer in UNCOUNTED else 0), {}
    known = place.optimizer in ENTRIES
    wanted = _wanted(place, given)
    beside = {*DERIVED.get(place.optimizer, ()), *(() if place.optimizer in UNCOUNTED else ("step",))}
    for name in [*beside, *wanted]:
        if name not in given:
            raise ValueError(f"{place} has no {_named(place.optimizer, name, place.group)}")
        if not isinstance(given[name], torch.Tensor) and name not in NUMBERS:
            raise ValueError(f"{place}: {name!r} must be a tensor, not {type(given[name]).__name__}")
    if unknown := [name for name in given if name not in wanted and name not in beside]:
        raise ValueError(f"{place} has {_named(place.optimizer, str(unknown[0]), place.group)}, which is not kept")
    count = None if place.optimizer in UNCOUNTED else _count(place, given["step"])
    kept = {slot: _read(place, name, given[name], checked=known) for name, slot in wanted.items()}
    if count == 0:
        _check_start(place, kept)
        return 0, {}
    return count, kept


def _wanted(place: Place, there: Mapping[str, Any]) -> dict[str, str]:
    """Return the slots by torch's names. What torch lacks has the names of its slots."""
    if place.optimizer in ENTRIES:
        return entries_of(place.optimizer, place.group, place.param.ndim)
    return {name: name for name in there if name not in BESIDE and name != "step"}


def _named(kind: str, name: str, group: Mapping[str, Any]) -> str:
    """Return an entry's name, with the setting that decides about it."""
    flag = FLAGS.get((kind, name))
    return f"{name!r} (its group has {flag}={group[flag]!r})" if flag else f"{name!r} ({kind})"


def _widened(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return the array in torch's shape: its means of rows and columns have a dimension of one more."""
    return {"row_var": array[..., None], "col_var": array[..., None, :]}[name] if name.endswith("_var") else array


def _read(place: Place, name: str, value: Any, *, checked: bool) -> NDArray[Any]:
    """Return an entry as a session has it: widened to float32 if it is narrower. Raises `ValueError`."""
    if name in NUMBERS:
        return np.array(_number(place, name, value))
    tensor = value.detach()
    if tensor.is_sparse or tensor.dtype not in DTYPES.values():
        raise ValueError(f"{place}: {name!r} is {_spec(tensor)}; expected a dense tensor of {', '.join(DTYPES)}")
    if checked:
        _check_spec(place, name, tensor)
    wide = tensor if tensor.dtype == torch.float64 else tensor.float()
    array = to_array(wide)
    return {"row_var": array[..., 0], "col_var": array[..., 0, :]}[name] if name.endswith("_var") else array


def _check_spec(place: Place, name: str, tensor: torch.Tensor) -> None:
    shape, dtype = tuple(place.param.shape), place.param.dtype
    expected = {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, *shape[-1:])}.get(name, shape)
    narrow = dtype in (torch.float16, torch.bfloat16)
    if tuple(tensor.shape) != expected or (tensor.dtype != dtype and not (narrow and tensor.dtype == torch.float32)):
        raise ValueError(
            f"{place}: {name!r} is {_spec(tensor)} and should be {str(dtype).removeprefix('torch.')} {[*expected]}, as "
            "its parameter is"
        )


def _spec(tensor: torch.Tensor) -> str:
    return f"{'sparse ' * tensor.is_sparse}{str(tensor.dtype).removeprefix('torch.')} {[*tensor.shape]}"


def _number(place: Place, name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{place}: {name!r} must be one number: {error}") from None


def _count(place: Place, value: Any) -> int:
    number = _number(place, "step", value)
    if not 0 <= number <= MOST_STEPS or number != int(number):
        raise ValueError(f"{place}: its step is {number!r} and should be a whole number from 0 to {MOST_STEPS}")
    return int(number)


def _counted(count: int) -> torch.Tensor:
    """Return a count as torch keeps it. Beyond 2²⁴, float32 skips whole numbers."""
    return torch.tensor(float(count), dtype=_scalar_dtype() if count <= 2**24 else torch.float64)


def _scalar_dtype() -> torch.dtype:
    return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32


def _start(place: Place) -> torch.Tensor:
    """Return an element of Adagrad's sum before the first step."""
    return torch.tensor(float(place.group["initial_accumulator_value"]), dtype=place.param.dtype)


def _check_start(place: Place, kept: Kept) -> None:
    """Raise `ValueError` if a parameter without steps has moments other than those at the start."""
    if place.optimizer not in NEEDED_AT_ONCE:
        raise ValueError(f"{place} has taken no step, and yet has moments: leave it out of the state")
    if not (kept["v"] == _start(place).item()).all():
        raise ValueError(
            f"{place} has taken no step, and its 'sum' is not initial_accumulator_value="
            f"{place.group['initial_accumulator_value']!r} everywhere: a session begins with that"
        )
