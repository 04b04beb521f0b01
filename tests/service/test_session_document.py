"""The document of a session in the store."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from app.errors import StateDamaged
from app.session import Session
from app.session_document import DOCUMENT_FORMAT, read_document, read_listed, write_document
from app.store.base import Head, IncompatibleStore
from optim_engine import Config, State
from optim_engine import step as engine_step


def session() -> Session:
    """Return a session of one step with everything that a document may have."""
    params = {"w": np.float32([[1, 2]]), "b.bias": np.float64([1])}
    config = Config.parse("adamw", hyperparameters={"lr": 0.1}, clip={"value": 1.0})
    state = engine_step(config, State.empty(), params, params).state
    return Session(
        "id", "tenant", config, 1.5, 2.5, ttl_seconds=60.0, labels={"run": "1"}, step=1, skipped_steps=2,
        layout=state.layout, counts=state.counts, digest="0" * 32, answered={"w": 7, "gone": 2**32 - 1},
        notes={"late": "a warning"}, updates=np.float64([2.5, 4.0]).tobytes(),
    )  # fmt: skip


def head(document: bytes) -> Head:
    return Head("id", "tenant", 1, "token", document)


def changed(change: Callable[[Any], object]) -> Head:
    """Return the head of the session after a change of its document."""
    document = orjson.loads(write_document(session()))
    change(document)
    return head(orjson.dumps(document))


def test_a_document_is_read_back_as_the_same_session() -> None:
    written = session()
    read = read_document(head(write_document(written)))
    assert replace(read, layout=written.layout) == written
    assert read.layout.entries == written.layout.entries


def test_a_list_reads_names_without_the_layout() -> None:
    listed = read_listed(head(write_document(session())))
    assert sorted(listed.tensors) == ["b.bias", "w"]
    assert (listed.session.labels, listed.session.step, listed.session.counts) == ({"run": "1"}, 1, {})


def test_equal_settings_are_parsed_once_for_a_list() -> None:
    document = write_document(session())
    one, other = read_listed(head(document)), read_listed(head(document))
    assert one.session.config is other.session.config
    assert one.session.config == session().config


def test_settings_with_groups_are_parsed_for_each_session() -> None:
    """They remember the names that their patterns matched."""
    grouped = changed(lambda document: document["config"].update(groups=[{"match": ["w"], "lr": 0.5}]))
    one, other = read_listed(grouped).session.config, read_listed(grouped).session.config
    assert one is not other
    assert one.groups[0].match == ("w",)


def test_an_unknown_member_is_ignored() -> None:
    same = read_document(changed(lambda document: document.update(of_tomorrow=1)))
    assert write_document(same) == write_document(session())


def test_a_document_of_an_earlier_version_has_no_updates() -> None:
    without = read_document(changed(lambda document: document.pop("updates")))
    assert without.updates == b""
    assert b"updates" not in write_document(without)


@pytest.mark.parametrize("read", [read_document, read_listed])
@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(format=DOCUMENT_FORMAT + 1),
        lambda document: document["config"].update(of_tomorrow=1),
        lambda document: document["config"].update(optimizer="of_tomorrow"),
        lambda document: document.update(config=["adamw"]),
    ],
)
def test_a_document_of_a_newer_version_is_incompatible(read: Callable[[Head], Any], change: Any) -> None:
    with pytest.raises(IncompatibleStore):
        read(changed(change))


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("config"),
        lambda document: document.pop("digest"),
        lambda document: document.update(tensors=3),
        lambda document: document["tensors"][0].pop(),
        lambda document: document.update(answered=["no digits", {}]),
    ],
)
def test_a_malformed_document_is_damage(change: Any) -> None:
    with pytest.raises(StateDamaged, match="its document cannot be read"):
        read_document(changed(change))


def test_only_sessions_with_undo_have_documents_of_format_three() -> None:
    """Guards the sessions without: versions that know no undo go on reading them, and refuse the others."""
    plain = Session("id", "tenant", Config.parse("adam"), 1.0, 2.0)
    assert b'"format":2' in write_document(plain)
    assert not {b"undo", b"rewinds"} & set(write_document(plain).split(b'"'))
    kept = replace(plain, undo=2, rewinds=3)
    written = write_document(kept)
    assert b'"format":3' in written
    found = read_document(Head("id", "tenant", 1, "token", written))
    assert (found.undo, found.rewinds) == (2, 3)
