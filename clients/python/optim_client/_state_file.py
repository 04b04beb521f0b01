"""State files, read and written: a session's document, and its arrays by slot, in the format of docs/state-files.md."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optim_client._files import replacing
from optim_client._tensors import Arrays, decode_all, encode

FORMAT = 1
SESSION = "session"
"""The name of the session's document in the metadata."""
INTEGER_SLOTS = frozenset({"row_steps"})
"""The slots whose arrays have integers."""


@dataclass(frozen=True)
class StateFile:
    """The whole state of a session, in memory.

    `session` is its document: settings, `step`, and in `tensors` each tensor's `shape`, `dtype` and `step`. `slots` has
    the arrays: `slots["m"]["w"]` is the first moment of the tensor `w`.
    """

    session: Mapping[str, Any]
    slots: Mapping[str, Arrays]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "StateFile":
        """Read a state file.

        Args:
            path: A file of `session.save_state(path)`.

        Returns:
            The state, in memory of its own.

        Raises:
            ValueError: It is no state file.
            ImportError: A tensor is bfloat16, which needs ml_dtypes.
            OSError: The file cannot be read.

        Example:
            session.save_state("state.safetensors")
            m = StateFile.read("state.safetensors").slots["m"]["w"]
        """
        arrays, metadata = decode_all(Path(path).read_bytes())
        slots = dict[str, Arrays]()
        for key, array in arrays.items():
            slot, _, name = key.partition("/")
            slots.setdefault(slot, {})[name] = array
        return cls(_read_document(metadata), slots)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the state as a file, for `session.load_state(path)`.

        Args:
            path: The file, which is replaced wholly or not at all.

        Raises:
            TypeError: JSON lacks the type of a setting, or a slot has arrays of another dtype.
            OSError: The file cannot be written.

        Example:
            state.write("state.safetensors")
        """
        floats = {slot: arrays for slot, arrays in self.slots.items() if slot not in INTEGER_SLOTS}
        integers = {slot: arrays for slot, arrays in self.slots.items() if slot in INTEGER_SLOTS}
        document = json.dumps(self.session, allow_nan=False)
        with replacing(path) as file:
            file.writelines(encode(floats, {SESSION: document}, integers))


def check_document(document: Any) -> None:
    """Raise `ValueError` unless that is a session's document, with the types that its readers need."""
    if not isinstance(document, dict) or not isinstance(document.get("optimizer"), str):
        raise ValueError("`session` must be a JSON object with an `optimizer`")
    groups, tensors = document.get("groups") or [], document.get("tensors") or {}
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise ValueError("`groups` of `session` must be a list of objects")
    if not isinstance(document.get("hyperparameters") or {}, dict) or not isinstance(tensors, dict):
        raise ValueError("`hyperparameters` and `tensors` of `session` must be objects")
    for name, entry in tensors.items():
        if not _is_entry(entry, len(groups)):
            raise ValueError(f"`session` must have shape, dtype and step of tensor {name!r:.80}, not {entry!r:.80}")


def _is_entry(entry: Any, groups: int) -> bool:
    """Return whether that describes a tensor, which is in one of so many groups, or in none."""
    match entry:
        case {"shape": [*shape], "dtype": str(), "step": step} if all(map(_is_count, [*shape, step])):
            group, optimizer = entry.get("group"), entry.get("optimizer")
            return isinstance(optimizer, str | None) and (group is None or (_is_count(group) and group < groups))
    return False


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _read_document(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the session of the metadata. Raises `ValueError`."""
    if not isinstance(metadata.get(SESSION), str):
        raise ValueError("this is no state file: its metadata has no `session`")
    try:
        document = json.loads(metadata[SESSION])
    except RecursionError:
        raise ValueError("this is no state file: `session` in its metadata is nested too deeply") from None
    if not isinstance(document, dict) or not isinstance(document.get("tensors"), dict):
        raise ValueError("this is no state file: `session` in its metadata is no object with `tensors`")
    if document.get("format") != FORMAT:
        raise ValueError(f"the state file has the format {document.get('format')!r}; this client reads {FORMAT}")
    check_document(document)
    if not _is_count(document.get("step")):
        raise ValueError(f"`step` of `session` must be a whole number, 0 or more, not {document.get('step')!r:.80}")
    return document
