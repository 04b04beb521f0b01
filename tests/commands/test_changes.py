"""The command `optim sessions set`: what is typed, and what has changed."""

import json
from typing import Any

import pytest
import typer
from optim_client import Client

from app.commands.changes import changes_of
from tests.command import Optim


@pytest.mark.parametrize(
    ("texts", "changes"),
    [
        (["lr=0.0005", "nesterov=true"], {"lr": 0.0005, "nesterov": True}),
        (["betas=[0.9, 0.95]", "clip=null"], {"betas": [0.9, 0.95], "clip": None}),
        (["clip.global_norm=1"], {"clip": {"global_norm": 1}}),
        (
            ["schedule.kind=cosine", "schedule.total_steps=9"],
            {"schedule": {"kind": "cosine", "total_steps": 9}},
        ),
        (["labels.a.b=1", "labels.c=null", "labels.d="], {"labels": {"a.b": "1", "c": None, "d": ""}}),
        (["adjust_lr_fn=a=b"], {"adjust_lr_fn": "a=b"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_typed_changes_have_their_types(texts: list[str], changes: dict[str, Any]) -> None:
    assert changes_of(texts) == changes


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["lr"], "must be NAME=VALUE, such as lr=0.0005, not 'lr'"),
        (["=1"], "must be NAME=VALUE, such as lr=0.0005, not '=1'"),
        (["lr=1", "lr=2"], "lr is given twice"),
        (["clip=null", "clip.value=1"], "clip.value is given twice"),
        (["clip.value=1", "clip=null"], "clip is given twice"),
        (["a.b=1", "a.b.c=1"], "a.b.c is given twice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unclear_changes_are_refused(texts: list[str], reason: str) -> None:
    with pytest.raises(typer.BadParameter, match="^" + reason.replace(".", r"\.")):
        changes_of(texts)


@pytest.mark.long
def test_changed_settings_are_shown_old_and_new(optim: Optim, url: str) -> None:
    with Client(url) as client:
        session = client.sessions.create("sgd", lr=0.1, labels={"run": "a", "gone": "b"})
    given = ["momentum=0.9", "lr=0.1", "clip.value=2", "labels.run=c", "labels.gone=null"]
    status, told, said = optim("sessions", "set", session.id, *given, OPTIM_BASE_URL=url)
    assert (status, said) == (0, "")
    assert [line.split() for line in told.splitlines()] == [
        ["momentum", "0.0", "→", "0.9"],
        ["labels.gone", "b", "→", "–"],
        ["labels.run", "a", "→", "c"],
        ["clip.value", "–", "→", "2.0"],
    ]
    assert optim("sessions", "set", session.id, "clip.value=2")[1].startswith("nothing changed")
    found = json.loads(optim("sessions", "set", session.id, "clip=null", "--json")[1])
    assert found == {"id": session.id, "step": 0, "changed": {"clip.value": [2.0, None]}}


@pytest.mark.parametrize(
    ("given", "status", "reason"),
    [("lrr=1", 1, "unknown setting 'lrr'"), ("optimizer=adam", 2, "optimizer cannot be changed: create a new session")],
)
def test_a_wrong_setting_is_refused_by_name(optim: Optim, url: str, given: str, status: int, reason: str) -> None:
    with Client(url) as client:
        session = client.sessions.create("sgd")
    ended, told, said = optim("sessions", "set", session.id, given, OPTIM_BASE_URL=url, COLUMNS="200")
    assert (ended, told) == (status, "")
    assert reason in said
