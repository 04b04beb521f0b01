"""State files as `.npz` files under optax's names, and back, with every number as it is. Needs neither optax nor JAX.

`numpy.load(path)` reads such a file: `mu/<name>` and `nu/<name>` for Adam, the `count`, and in `session` the session's
document as JSON. Of a tensor that optax has no array for, such as a held parameter, the slot is the name:
`params/<name>`.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipInfo, is_zipfile

import numpy as np
from numpy.typing import NDArray

from optim_client._files import replacing
from optim_client._state_file import FORMAT, StateFile, check_document
from optim_client._tensors import CODES, DTYPES, Arrays
from optim_client.optax._forms import BESIDE, KEEPS_UPDATE, NOTHING, WAY_OUT, Form, check_rule, form_of, form_of_fields

COUNT, SESSION = "count", "session"


def export_npz(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Write a state file as an `.npz` file.

    Args:
        source: A file of `session.save_state(path)`.
        target: The `.npz` file, which is replaced wholly or not at all.

    Raises:
        ValueError: The source is no state file, or optax has no such state.
        OSError: A file cannot be read or written.

    Example:
        session.save_state("state.safetensors")
        export_npz("state.safetensors", "state.npz")
        np.load("state.npz")["mu/w"]
    """
    arrays = to_npz(StateFile.read(source))
    with replacing(target) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the names are the caller's


def import_npz(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Write an `.npz` file as a state file.

    Args:
        source: A file of `export_npz`, or one with the same names. Its `session` needs only the `optimizer`.
        target: The state file, which is replaced wholly or not at all. `session.load_state(target)` takes it, with
            `digest="none"` if the document in `session` has no `digest`.

    Raises:
        ValueError: The source is no such file: an array is missing, left over, or of another shape or dtype.
        OSError: A file cannot be read or written.

    Example:
        import_npz("state.npz", "state.safetensors")
        session.load_state("state.safetensors")
    """
    from_npz(_read_npz(Path(source))).write(target)


def to_npz(state: StateFile) -> dict[str, NDArray[Any]]:
    """Return the arrays of an `.npz` file by name. Raises `ValueError`."""
    arrays = {COUNT: np.array(count_of(state)), SESSION: np.array(json.dumps(state.session))}
    for name, form in forms_of(state).items():
        for slot, of in state.slots.items():
            if name in of:
                key = f"{form.fields.get(slot, slot)}/{name}"
                _check_key(key)
                arrays[key] = form.turned(slot, _readable(of[name]))
    return arrays


def from_npz(arrays: Mapping[str, NDArray[Any]]) -> StateFile:
    """Return the state that the arrays of an `.npz` file have. Raises `ValueError`."""
    document, count = _document(arrays), _count(arrays)
    named = _by_name(arrays)
    listed = document.get("tensors") or {name: _entry(fields, count) for name, fields in named.items()}
    if unlisted := named.keys() - listed.keys():
        raise ValueError(f"{min(unlisted)!r} is not among the tensors of `session`: remove its arrays, or list it")
    slots = dict[str, Arrays]()
    for name, entry in listed.items():
        for slot, array in _slots(name, entry, document, named.get(name, {})):
            slots.setdefault(slot, {})[name] = array
    defaults = {"format": FORMAT, "step": count, "skipped_steps": 0}
    state = StateFile({**defaults, **document, "tensors": listed}, slots)
    if count_of(state) != count:
        raise ValueError(f"count is {count}, and the tensors of `session` have taken {count_of(state)} steps")
    return state


def forms_of(state: StateFile) -> dict[str, Form]:
    """Return the form of each tensor's slots. Raises `ValueError` where optax has none."""
    forms = dict[str, Form]()
    for name, entry in state.session["tensors"].items():
        slots = [slot for slot, arrays in state.slots.items() if name in arrays]
        optimizer = _rule_of(name, entry, state.session)
        with _about(name):
            forms[name] = form_of(optimizer, slots) if entry["step"] else NOTHING
    return forms


def count_of(state: StateFile) -> int:
    """Return the number of updates, which optax has once for all tensors. Raises `ValueError`."""
    counts = {entry["step"]: name for name, entry in state.session["tensors"].items()}
    if len(counts) == 1:
        return int(next(iter(counts)))
    if any(form.counts for form in forms_of(state).values()):
        (fewer, one), *_, (more, other) = sorted(counts.items())
        raise ValueError(
            f"tensor {one!r} has taken {fewer} steps and {other!r} {more}: optax has one count for all. {WAY_OUT}"
        )
    return int(state.session["step"])


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file by name; none is made by a pickle. Raises `OSError` and `ValueError`."""
    with path.open("rb") as file:
        if not is_zipfile(file):
            raise ValueError(f"{path} is no .npz file")
        key = None
        try:
            with np.load(file, allow_pickle=False) as arrays:
                read = dict[str, NDArray[Any]]()
                for key in arrays:
                    read[key] = arrays[key]
                return read
        except Exception as error:  # of a damaged file, NumPy raises anything
            what = path if key is None else f"{path}: array {key!r:.80}"
            raise ValueError(f"{what} cannot be read: {error}") from None


def _rule_of(name: str, entry: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Return the optimizer of a tensor. Raises `ValueError` where optax has none like it."""
    optimizer: str = entry.get("optimizer") or document["optimizer"]
    hyperparameters = dict(document.get("hyperparameters") or {})
    if entry.get("group") is not None:
        hyperparameters |= document["groups"][entry["group"]]
    with _about(name):
        check_rule(optimizer, hyperparameters)
    return optimizer


def _slots(
    name: str, entry: Mapping[str, Any], document: Mapping[str, Any], fields: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the slots of a tensor from its arrays under optax's names. Raises `ValueError`."""
    optimizer, kind = _rule_of(name, entry, document), entry["dtype"]
    with _about(name):
        form = form_of_fields(optimizer, fields) if entry["step"] else NOTHING
        if unknown := fields.keys() - BESIDE - {*form.fields.values()}:
            raise ValueError(f"it has taken no step, but has {min(unknown)!r}")
        slot_of = {field: slot for slot, field in form.fields.items()}
        for field, array in fields.items():
            slot = slot_of.get(field, field)
            dtype = kind if slot == "params" else moments_of(kind)
            yield slot, form.turned(slot, _converted(field, array, dtype, tuple(entry["shape"])))
        if entry["step"] and optimizer in KEEPS_UPDATE and not document.get("hold_params") and "update" not in fields:
            yield "update", np.zeros(entry["shape"], moments_of(kind))


def moments_of(dtype: str) -> str:
    """Return the dtype of the moments of a tensor."""
    return "float64" if dtype == "float64" else "float32"


def _document(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the session's document. Raises `ValueError`."""
    if SESSION not in arrays:
        raise ValueError(
            '`session` is missing: write JSON into it, at least {"optimizer": "adamw"}, as an array of text'
        )
    try:
        document: dict[str, Any] = json.loads(str(arrays[SESSION]))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`session` is no JSON: {error}") from None
    check_document(document)
    return document


def _count(arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return the number of updates. Raises `ValueError`."""
    if COUNT not in arrays:
        raise ValueError("`count` is missing: the number of updates")
    count = arrays[COUNT]
    if count.shape != () or count.dtype.kind not in "iu" or count < 0:
        raise ValueError(f"`count` must be one whole number, 0 or more, not {count!r:.80}")
    return int(count)


def _by_name(arrays: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, NDArray[Any]]]:
    """Return the arrays by the names of the tensors, then by those of optax. Raises `ValueError`."""
    named = dict[str, dict[str, NDArray[Any]]]()
    for key in arrays:
        if key not in (COUNT, SESSION):
            field, slash, name = key.partition("/")
            if not slash:
                raise ValueError(f"array {key!r:.80} must be named field/name, such as mu/w")
            named.setdefault(name, {})[field] = arrays[key]
    return named


def _entry(fields: Mapping[str, NDArray[Any]], count: int) -> dict[str, Any]:
    """Return the entry of a tensor that the session does not list."""
    array = fields.get("params", next(iter(fields.values())))
    return {"shape": list(array.shape), "dtype": array.dtype.name, "step": count}


def _readable(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array that `numpy.load` reads: bfloat16, which NumPy lacks, as float32."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _converted(field: str, array: NDArray[Any], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the array in that dtype, which changes no number. Raises `ValueError`."""
    if array.shape != shape:
        raise ValueError(f"{field!r} has the shape {list(array.shape)}; expected {list(shape)}")
    expected = DTYPES.get(CODES.get(dtype, ""))
    if expected is None:
        raise ValueError(f"unknown dtype {dtype!r}; expected one of {', '.join(CODES)} (bfloat16 needs ml_dtypes)")
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise ValueError(f"{field!r} has the dtype {array.dtype}; expected {dtype}")
    with np.errstate(over="ignore"):
        converted = array.astype(expected)
    if not np.array_equal(converted.astype(array.dtype), array, equal_nan=True):
        raise ValueError(f"{field!r} has the dtype {array.dtype}, and numbers that {dtype} does not have")
    return converted


def _check_key(key: str) -> None:
    """Raise `ValueError` if `numpy.load` would not find the array."""
    if key.endswith(".npy") or ZipInfo(key).filename != key:
        raise ValueError(f"an .npz file cannot have an array named {key!r}: rename the tensor with edit_tensors")


@contextmanager
def _about(name: str) -> Iterator[None]:
    """Name the tensor in a `ValueError`."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"tensor {name!r}: {error}") from None
