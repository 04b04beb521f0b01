"""Knowledge of the parameters that the session holds, by which a change in torch's memory is noticed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from optim_client._gradients import Rows
from optim_client.torch._memory import Array, Params, Staging, is_on_cpu, same_bits


class _Seen(NamedTuple):
    """A parameter as the session holds it: its values, if it is in the process's memory, and torch's own marks."""

    values: Array | None
    version: int
    place: int


class Held:
    """The parameters as the session holds them."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._seen: dict[str, _Seen] = {}

    @property
    def knows_any(self) -> bool:
        """Return whether it knows how the session holds any parameter."""
        return bool(self._seen)

    def changed(self, params: Params) -> dict[str, torch.Tensor]:
        """Return those parameters that the session does not hold as they are."""
        here = self._staging.arrays({name: param for name, param in params.items() if is_on_cpu(param)})
        return {name: param for name, param in params.items() if not self._is_held(name, param, here.get(name))}

    def _is_held(self, name: str, param: torch.Tensor, here: Array | None) -> bool:
        seen = self._seen.get(name)
        if seen is None:
            return False
        if here is not None and seen.values is not None:
            return same_bits(here, seen.values)
        return seen[1:] == _marks(param)

    def put(self, params: Params, arrays: Mapping[str, Array]) -> None:
        """Learn that these were put into the session. The arrays may be views, so they are copied."""
        for name, param in params.items():
            self._learn(name, param, np.array(arrays[name]) if is_on_cpu(param) else None)

    def answered(self, params: Params, arrays: Mapping[str, Array]) -> None:
        """Learn that the session answered these, which are in the parameters' memory now.

        The answer's memory is kept if it has all parameters, and copied if it has some: each small part would keep a
        whole answer.
        """
        whole = arrays.keys() >= self._seen.keys()
        for name, array in arrays.items():
            values = array if whole else self._copied(name, array)
            self._learn(name, params[name], values if is_on_cpu(params[name]) else None)

    def answered_rows(self, params: Params, rows: Mapping[str, Rows]) -> None:
        """Learn that the session answered some rows of these."""
        for name, new in rows.items():
            seen = self._seen.get(name)
            kept = seen.values if seen else None
            if kept is not None:
                kept[np.asarray(new.indices)] = new.values
            self._learn(name, params[name], kept)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the knowledge of nothing: the next step of another process puts the parameters."""
        return {"_staging": self._staging, "_seen": {}}

    def _copied(self, name: str, array: Array) -> Array:
        seen = self._seen.get(name)
        if seen is None or seen.values is None or seen.values.base is not None:
            return np.array(array)
        seen.values[...] = array
        return seen.values

    def _learn(self, name: str, param: torch.Tensor, values: Array | None) -> None:
        self._seen[name] = _Seen(values, *_marks(param))


def _marks(param: torch.Tensor) -> tuple[int, int]:
    return param._version, param.data_ptr()
