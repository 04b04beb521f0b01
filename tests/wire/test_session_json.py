"""The session's own JSON against anything that can be sent: taken, or refused in so many words."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import InvalidSession, InvalidState, MalformedBody
from app.session import Session
from app.session_document import read_document, write_document
from app.store.base import Head
from app.wire.session_json import CREATION, read_changes, read_creation, read_fork, view
from optim_engine import EngineError, InvalidConfig

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from([0, 1, 0.5, "adamw", "sgd", "skip", "cosine", "float32", "async", "median", 2**53, 1e300, -1])
)
WORDS = st.sampled_from([
    "lr", "betas", "eps", "momentum", "match", "kind", "total_steps", "warmup_steps", "global_norm", "value", "gamma",
    "shape", "dtype", "step", "w", "mode", "expected", "quorum", "aggregate", "trim", "lease_seconds",
])  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8
)
GROUPS = st.lists(st.dictionaries(WORDS, VALUES | st.just(["*"]), max_size=3), max_size=2)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "optimizer": st.sampled_from(["adamw", "adam", "sgd", "rmsprop"]) | VALUES,
        "hyperparameters": st.dictionaries(WORDS, VALUES, max_size=3) | VALUES,
        "groups": GROUPS | VALUES,
        "schedule": VALUES,
        "clip": VALUES,
        "on_non_finite": st.sampled_from(["reject", "skip"]) | VALUES,
        "hold_params": VALUES,
        "wire_dtype": st.sampled_from(["bfloat16", "float16"]) | VALUES,
        "workers": st.dictionaries(WORDS, VALUES, max_size=3) | VALUES,
        "ttl_seconds": VALUES,
        "labels": st.dictionaries(st.text(max_size=5), st.text(max_size=5) | VALUES, max_size=2) | VALUES,
        "other": VALUES,
    },
)


def session_of(document: Any) -> Session:
    return Session("id", "tenant", created_at=0, updated_at=0, **read_creation(document))


def taken_or_refused(take: Callable[[], Session]) -> Session | None:
    """Return what is taken; a refusal is short, and nothing else may happen."""
    try:
        return take()
    except (InvalidSession, InvalidState, MalformedBody, EngineError) as error:
        refusal = str(error)
    assert len(refusal) < 500
    return None


def assert_kept(session: Session) -> None:
    """The store's document of the session is read as the same session."""
    document = write_document(session)
    assert write_document(read_document(Head("id", "tenant", 1, "t", document))) == document


@given(DOCUMENTS | VALUES)
def test_any_json_makes_a_session_or_is_refused(document: Any) -> None:
    session = taken_or_refused(lambda: session_of(document))
    if session is None:
        return
    shown = orjson.loads(orjson.dumps(view(session)))
    again = session_of({name: shown[name] for name in CREATION})
    assert view(again) == view(session)
    assert_kept(session)


@given(DOCUMENTS | VALUES)
@example({"schedule": {"total_steps": 7}})
@example({"schedule": {"kind": None}})
def test_any_json_changes_a_session_or_is_refused(document: Any) -> None:
    session = session_of({"optimizer": "adamw", "schedule": {"kind": "cosine", "total_steps": 5}, "labels": {"a": "b"}})
    changed = taken_or_refused(lambda: read_changes(document)(session))
    if changed is not None:
        assert_kept(changed)


def test_a_change_merges_objects_and_restores_defaults() -> None:
    session = session_of({"optimizer": "adamw", "hyperparameters": {"lr": 0.5, "eps": 1e-4}, "labels": {"a": "b"}})
    document = {"hyperparameters": {"eps": None}, "labels": {"c": "d"}, "clip": {"value": 1.0}}
    changed = view(read_changes(document)(session))
    assert (changed["hyperparameters"]["lr"], changed["hyperparameters"]["eps"]) == (0.5, 1e-8)
    assert (changed["labels"], changed["clip"]) == ({"a": "b", "c": "d"}, {"value": 1.0})
    back = {"hyperparameters": None, "labels": {"a": None}, "clip": None}
    again = view(read_changes(back)(read_changes(document)(session)))
    assert (again["hyperparameters"]["lr"], again["labels"], again["clip"]) == (1e-3, {"c": "d"}, None)


def test_a_fork_is_told_where_other_settings_belong() -> None:
    assert read_fork({"ttl_seconds": None}) == {"ttl_seconds": None}
    with pytest.raises(InvalidConfig, match="clip: is the source's: change it afterwards, or create a new session"):
        read_fork({"clip": None})
