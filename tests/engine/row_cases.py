"""The settings under which rows are updated, and tables to update."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from optim_engine import Config, State
from optim_engine.arrays import Array
from tests.engine.cases import RULES, Case

TAKING = [
    case
    for case in RULES
    if case.optimizer in ("adam", "adamw", "rmsprop", "adagrad", "sgd")
    if not case.config.rule_of(None).refuses_rows(case.config.hyperparameters)
]
"""The cases whose rules take rows."""
LAZY = [
    case
    for case in TAKING
    if case.config.hyperparameters.decoupled or not case.config.hyperparameters.weight_decay
    if not case.config.hyperparameters.cautious
]
"""The cases among them whose rows may be lazy."""
SHAPE = (40, 7)


def config_of(case: Case, sparse: str = "dense", **around: Any) -> Config:
    """Return the configuration of a case that holds a table `emb`, with rows of that kind, and other tensors."""
    groups = [{"match": ["emb"], "sparse": sparse}]
    settings = {"groups": groups, **case.around, **around}
    return Config.parse(case.optimizer, hyperparameters=case.hyperparameters, hold_params=True, **settings)


def drawn(seed: int, dtype: type[Any] = np.float32, count: int = 9) -> tuple[Array, Array]:
    """Return the indices of some rows, and a gradient of them."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(SHAPE[0], count, replace=False)).astype(np.int64)
    return rows, rng.standard_normal((count, *SHAPE[1:])).astype(dtype)


def table(seed: int, dtype: type[Any] = np.float32) -> Array:
    """Return a table of parameters or gradients."""
    return np.random.default_rng(seed).standard_normal(SHAPE).astype(dtype)


def own(state: State) -> State:
    """Return the state with a memory of its own."""
    memory = State.allocate(state.t, state.layout, state.counts).memory
    memory[:] = state.memory
    return replace(state, memory=memory)


def slots(state: State, tensor: str = "emb") -> Mapping[str, Array]:
    """Return copies of a tensor's slots."""
    return {slot: state.array(tensor, slot).copy() for slot in state.entries[tensor].slots}
