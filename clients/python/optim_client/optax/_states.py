"""Live states of optax from state files, and back: the trees around the arrays of `_files.py`."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from optim_client._state_file import StateFile
from optim_client.optax._files import COUNT, SESSION, from_npz, to_npz
from optim_client.optax._forms import FORMS, check_rule, form_of
from optim_client.optax._leaves import named_leaves
from optim_client.settings import Optimizer, Settings, document

STATES = {form.state: form for forms in FORMS.values() for form in forms if form.fields}
"""The states of optax that have moments, by class."""
COUNTS = frozenset({name for form in STATES.values() for name in form.counts})
SCHEDULES = frozenset({"InjectHyperparamsState", "InjectStatefulHyperparamsState", "ScaleByScheduleState"})
"""The states that count updates for a schedule."""
AMSGRAD = "ScaleByAmsgradState"


def load_optax_state(path: str | os.PathLike[str], like: Any) -> Any:
    """Return a state of optax with the moments and the count of a state file.

    Args:
        path: A file of `session.save_state(path)`.
        like: A state of the local optimizer, such as `optax.adamw(1e-3).init(params)`. It may be one of a chain, masked
            or with injected hyperparameters; all that is not in the file stays as it is there.

    Returns:
        The state. Moments have the service's dtype: float32, also for parameters in half precision.

    Raises:
        ValueError: The file is no state file, optax computes the rule otherwise, or an array is missing, left over, or
            of another shape; or one is float64, and JAX has no float64 here.
        OSError: The file cannot be read.

    Example:
        session.save_state("state.safetensors")
        opt_state = load_optax_state("state.safetensors", optax.adamw(1e-3).init(params))
    """
    filling = _Filling(to_npz(StateFile.read(path)))
    state = filling.filled(like)
    filling.check_all_used()
    return state


def save_optax_state(
    path: str | os.PathLike[str],
    opt_state: Any,
    params: Any,
    optimizer: Optimizer,
    *,
    step: int | None = None,
    **settings: Unpack[Settings],
) -> None:
    """Write a state of optax as a state file, for `session.load_state(path, digest="none")`.

    Args:
        path: The file, which is replaced wholly or not at all.
        opt_state: The state of the local optimizer.
        params: The parameters; with `hold_params=True` they are in the file.
        optimizer: The service's name of the rule.
        step: The number of updates, for rules of which optax does not count them.
        settings: The settings of the file's session; a session that loads it keeps its own.

    Raises:
        ValueError: optax computes the rule otherwise, the state is of another rule, an array is missing, or of another
            shape or dtype; or no state counts the updates, and there is no `step`.
        OSError: The file cannot be written.

    Example:
        save_optax_state("state.safetensors", opt_state, params, "adamw")
        session = client.sessions.create("adamw", lr=1e-3)
        session.load_state("state.safetensors", digest="none")
    """
    asked = document(settings)
    check_rule(optimizer, asked.get("hyperparameters", {}))
    if any("optimizer" in group for group in asked.get("groups") or []):
        raise ValueError("a group with its own optimizer: write a file for each rule, or leave `groups` to the session")
    arrays, count = _moments(optimizer, opt_state), _count(optimizer, opt_state, step)
    kept = _of_moments(arrays, named_leaves("params", params))
    if asked.get("hold_params"):
        arrays |= {f"params/{name}": leaf for name, leaf in kept.items()}
    tensors = {name: {"shape": p.shape, "dtype": p.dtype.name, "step": count} for name, p in kept.items()}
    session = json.dumps({"optimizer": optimizer, "tensors": tensors, **asked})
    from_npz({COUNT: np.array(count), SESSION: np.array(session), **arrays}).write(path)


def _of_moments(arrays: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the parameters that have moments; all of them where there are none. Raises `ValueError`."""
    names = {key.partition("/")[2] for key in arrays} or params.keys()
    if unknown := names - params.keys():
        raise ValueError(f"optax's state has {min(unknown)!r}, which params has not")
    return {name: np.asarray(leaf) for name, leaf in params.items() if name in names}


class _Filling:
    """A state of optax that is filled with the arrays of a file, each once."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._count = jnp.asarray(arrays[COUNT], jnp.int32)
        self._begun = int(arrays[COUNT]) > 0
        fields = {field for form in STATES.values() for field in form.fields.values()}
        self._left = {key: array for key, array in arrays.items() if key.partition("/")[0] in fields}

    def filled(self, like: Any) -> Any:
        """Return the state with the arrays in it. Raises `ValueError`."""
        return jax.tree.map(lambda node: self._node(node) if _is_state(node) else node, like, is_leaf=_is_state)

    def check_all_used(self) -> None:
        """Raise `ValueError` if an array has found no place."""
        if self._left:
            raise ValueError(f"the file has {min(self._left)!r}, for which optax's state has no place")

    def _node(self, node: Any) -> Any:
        counts = {name: self._count for name in COUNTS if hasattr(node, name) and _is_number(getattr(node, name))}
        form = STATES.get(type(node).__name__)
        if form is None:
            inner = {name: self.filled(getattr(node, name)) for name in node._fields if name not in counts}
            return node._replace(**counts, **inner)
        if not self._begun:
            return node
        return node._replace(
            **counts, **{field: self._tree(field, getattr(node, field)) for field in form.fields.values()}
        )

    def _tree(self, field: str, tree: Any) -> Any:
        return jax.tree.unflatten(
            jax.tree.structure(tree),
            [self._take(f"{field}/{name}", leaf) for name, leaf in named_leaves(field, tree).items()],
        )

    def _take(self, key: str, leaf: Any) -> jax.Array:
        if key not in self._left:
            raise ValueError(f"the file has no {key!r}, or optax's state has two places for it")
        array = self._left.pop(key)
        if array.shape != leaf.shape:
            raise ValueError(
                f"{key!r} has the shape {list(array.shape)} in the file, {list(leaf.shape)} in optax's state"
            )
        taken = jnp.asarray(array)
        if taken.dtype != array.dtype:
            raise ValueError(
                f"{key!r} is {array.dtype}, which JAX has only with jax.config.update('jax_enable_x64', True)"
            )
        return taken


def _moments(optimizer: str, opt_state: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays of optax's state under the names of an `.npz` file. Raises `ValueError`."""
    found = {type(node).__name__: node for node in _states(opt_state)}
    wanted = {form.state for form in FORMS[optimizer] if form.fields}
    if AMSGRAD in found:
        form_of(optimizer, ["v_max"])  # raises, with the reason
    if optimizer == "rmsprop" and "TraceState" in found:
        form_of(optimizer, ["b"])
    if unlike := sorted((found.keys() & STATES.keys()) - wanted):
        raise ValueError(f"optax's state has {unlike[0]}; expected {' or '.join(sorted(wanted))} for {optimizer}")
    if not wanted & found.keys() and len(wanted) == len(FORMS[optimizer]):
        raise ValueError(f"optax's state has no {' or '.join(sorted(wanted))}, as {optimizer} has")
    arrays = dict[str, NDArray[Any]]()
    for node in _states(opt_state):
        form = STATES.get(type(node).__name__)
        for field in form.fields.values() if form else ():
            for name, leaf in named_leaves(field, getattr(node, field)).items():
                key = f"{field}/{name}"
                if key in arrays:
                    raise ValueError(f"optax's state has {key!r} twice; expected one state of {optimizer}")
                arrays[key] = np.asarray(leaf)
    return arrays


def _count(optimizer: str, opt_state: Any, step: int | None) -> int:
    """Return the number of updates. Raises `ValueError` unless there is one that all agree upon."""
    counts = {
        int(getattr(node, name))
        for node in _states(opt_state)
        for name in COUNTS
        if hasattr(node, name) and _is_number(getattr(node, name))
    }
    if step is not None:
        counts.add(step)
    if not counts:
        raise ValueError(f"optax does not count the updates of {optimizer}: say step=…")
    if len(counts) > 1:
        raise ValueError(f"the counts of updates are {sorted(counts)}; expected one number")
    return counts.pop()


def _states(opt_state: Any) -> Iterator[Any]:
    """Yield the states of optax that have moments or counts, also those within others."""
    for node in jax.tree.leaves(opt_state, is_leaf=_is_state):
        if _is_state(node):
            yield node
            if type(node).__name__ not in STATES:
                yield from _states(tuple(node))


def _is_state(node: Any) -> bool:
    return type(node).__name__ in {*STATES, *SCHEDULES, AMSGRAD}


def _is_number(value: Any) -> bool:
    return getattr(value, "shape", None) == () and jnp.issubdtype(value.dtype, jnp.integer)
