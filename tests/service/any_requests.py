"""Strategies of the machine in test_any_order.py: settings of all rules, gradients of all kinds, changes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st
from optim_client import Int8, Rows, TopK

from app.digest import write_config
from optim_engine import Config, InvalidConfig
from optim_engine.arrays import Array
from optim_engine.overrides import overridden
from tests.engine.cases import DTYPES, RULES
from tests.engine.row_cases import LAZY
from tests.service.engine_session import SHAPES, EngineSession

REST = {"match": ["*bias", "gain"], "optimizer": "adamw", "name": "rest"}
"""The group of the tensors that `muon` cannot take."""
CLIPS = [None, {"global_norm": 0.7}, {"value": 0.3}]
SCHEDULES = [
    None,
    {"kind": "warmup_cosine", "warmup_steps": 2, "total_steps": 9, "min_factor": 0.1},
    {"kind": "step", "step_size": 2, "gamma": 0.5},
]
RATES = [0.001, 0.01]

seeds = st.integers(0, 1 << 32)
faults = st.sampled_from([None] * 8 + list(range(1, 25)))
"""The moment of the store at which a write's first try is hit, if it is."""
names = st.sets(st.sampled_from(sorted(SHAPES)), min_size=1).map(sorted)


@st.composite
def settings(draw: st.DrawFn) -> dict[str, Any]:
    """Return the body of a creation: any rule with any of its flags, and settings around it."""
    case = draw(st.sampled_from(RULES))
    hold = case.optimizer == "muon" or draw(st.booleans())
    own = draw(st.none() | st.sampled_from([case for case in RULES if hold or case.optimizer != "muon"]))
    groups: list[Mapping[str, Any]] = [REST] if case.optimizer == "muon" else []
    if own:
        groups.append({"match": ["own"], "optimizer": own.optimizer, **own.hyperparameters})
    is_lazy = hold and case in LAZY and draw(st.booleans())
    if is_lazy:
        groups.append({"match": ["emb"], "sparse": "lazy"})
    about: dict[str, Any] = {"groups": groups} if groups else {}
    if hold:
        average = None if is_lazy else draw(st.sampled_from([None, {"decay": 0.9}]))
        about |= {"average": average, "wire_dtype": draw(st.sampled_from([None, None, "bfloat16", "float16"]))}
    return {
        "optimizer": case.optimizer,
        "hyperparameters": dict(case.hyperparameters),
        "hold_params": hold,
        "undo": draw(st.sampled_from([3, 3, 1, 0])),
        "on_non_finite": draw(st.sampled_from(["skip", "reject"])),
        "clip": draw(st.sampled_from(CLIPS)),
        "schedule": draw(st.sampled_from(SCHEDULES)),
        **about,
    }


dtypes = st.sampled_from(["float32"] * 4 + list(DTYPES)).map(DTYPES.__getitem__)


def params_of(dtype: type[Any], seed: int) -> dict[str, Array]:
    """Return parameters for all tensors."""
    return {name: drawn(np.empty(shape, dtype), seed) for name, shape in SHAPES.items()}


def drawn(like: Array, seed: int) -> Array:
    """Return normally distributed numbers in the shape and dtype of an array."""
    return np.asarray(np.random.default_rng(seed).standard_normal(like.shape)).astype(like.dtype)


once = st.sampled_from(
    [{}, {}, {"lr": 0.02}, {"overrides": {"lr": 0.005}}, {"overrides": {"weight_decay": 0.02}}, {"grad_scale": 8.0}]
)
"""Settings for one step alone."""
kinds = st.sampled_from(["dense", "dense", "rows", "top-k", "int8", "top-k of int8"])


def gradient(session: EngineSession, name: str, kind: str, seed: int) -> Any:
    """Return a gradient of that kind, or a dense one where the session's tensor takes no such."""
    rng, θ = np.random.default_rng(seed), session.params[name]
    dtype = DTYPES[session.config.wire_dtype or θ.dtype.name]
    if kind == "rows" and name == "emb" and takes_rows(session):
        rows = np.sort(rng.choice(len(θ), 3, replace=False))
        return Rows(rows, rng.standard_normal((3, *θ.shape[1:])).astype(dtype))
    if kind == "int8" and θ.dtype == np.float32:
        return Int8(rng.integers(-127, 128, θ.shape, np.int8), 0.015)
    if kind.startswith("top-k") and θ.size > 1:
        at = np.sort(rng.choice(θ.size, 2, replace=False))
        if kind == "top-k":
            return TopK(at, rng.standard_normal(2).astype(dtype))
        if θ.dtype == np.float32:
            return TopK(at, Int8(rng.integers(-127, 128, 2, np.int8), 0.015))
    return rng.standard_normal(θ.shape).astype(dtype)


def takes_rows(session: EngineSession) -> bool:
    """Return whether `emb` may have a gradient of some rows: the session knows it, and its rule takes them."""
    config, group = session.config, session.config.group_of("emb")
    refused = config.rule_of(group).refuses_rows(config.hyperparameters_of(group))
    return config.hold_params and "params" in getattr(session.state.entries.get("emb"), "slots", ()) and not refused


def not_finite(g: Any) -> Any:
    """Return the dense gradient with a NaN."""
    bad = np.array(g)
    bad.reshape(-1)[-1] = np.nan
    return bad


def is_bad(grads: Mapping[str, Any]) -> bool:
    """Return whether a dense gradient has a NaN."""
    return any(isinstance(g, np.ndarray) and np.isnan(g.astype(np.float64)).any() for g in grads.values())


def sent(session: EngineSession, θ: Array) -> Array:
    """Return the parameter in the dtype in which the session's tensors travel."""
    return θ.astype(DTYPES[session.config.wire_dtype]) if session.config.wire_dtype else θ


def fits(session: EngineSession, once: Mapping[str, Any]) -> bool:
    """Return whether the session's rule takes what is for one step alone."""
    try:
        overridden(session.config, once.get("overrides"), once.get("lr"))
    except InvalidConfig:
        return False
    return True


changes = st.one_of(
    st.sampled_from(RATES).map(lambda lr: {"hyperparameters": {"lr": lr}}),
    st.sampled_from([0.0, 0.05]).map(lambda decay: {"hyperparameters": {"weight_decay": decay}}),
    st.sampled_from(CLIPS).map(lambda clip: {"clip": clip}),
    st.sampled_from(SCHEDULES).map(lambda schedule: {"schedule": schedule}),
)
"""Changes of settings."""


def merged(session: EngineSession, changes: Mapping[str, Any]) -> Config | None:
    """Return the settings after the changes; `None` if the session's rule has no such setting."""
    config = session.config
    given = changes.get("hyperparameters", {})
    if not all(hasattr(config.hyperparameters, name) for name in given):
        return None
    whole = write_config(config)
    try:
        return Config.parse(**{**whole, **changes, "hyperparameters": {**whole["hyperparameters"], **given}})
    except InvalidConfig:
        return None
