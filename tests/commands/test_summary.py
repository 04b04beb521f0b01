"""The command `optim sessions show`: a session for people."""

import json

import numpy as np
import pytest
from optim_client import Client

from app.commands.summary import MOST_TENSORS
from tests.command import Optim


@pytest.mark.long
def test_a_session_is_shown_in_sections(optim: Optim, url: str) -> None:
    with Client(url) as client:
        session = client.sessions.create(
            "adamw", labels={"run": "\x1b[31mred"}, clip={"global_norm": 1.0}, schedule={"kind": "constant"}
        )
        session.step({"w": np.ones((2, 3), "f4"), "bias": np.ones(1)}, {"w": np.ones((2, 3), "f4")}, loss=0.53)
    status, told, said = optim("sessions", "show", session.id, OPTIM_BASE_URL=url)
    assert (status, said) == (0, "")
    state, settings, groups, tensors = told.split("\n\n")
    head, *facts = state.splitlines()
    assert head == f"{session.id}  adamw"
    assert dict(line.split(maxsplit=1) for line in facts)["loss"] == "0.53"
    assert "  labels     run=�[31mred" in facts
    assert settings.startswith("Settings\n  lr               0.001\n")
    assert "  schedule         constant" in settings
    assert "  clip             global_norm 1.0" in settings
    assert groups.splitlines()[2].split() == ["0", "*bias", "weight_decay", "0.0"]
    assert tensors.splitlines()[0] == "Tensors (1)"
    assert tensors.splitlines()[2].split() == ["w", "2×3", "float32", "adamw", "–", "1"]


def test_many_tensors_are_counted(optim: Optim, url: str) -> None:
    ones = {f"w{at:03}": np.ones(1, "f4") for at in range(MOST_TENSORS + 3)}
    with Client(url) as client:
        session = client.sessions.create("sgd")
        session.step(ones, ones)
    told = optim("sessions", "show", session.id, OPTIM_BASE_URL=url)[1]
    assert f"w{MOST_TENSORS - 1:03}" in told
    assert f"w{MOST_TENSORS:03}" not in told
    assert told.endswith("… and 3 more, which --json has\n")
    assert len(json.loads(optim("sessions", "show", session.id, "--json")[1])["tensors"]) == MOST_TENSORS + 3


def test_a_sessions_warnings_are_shown(optim: Optim, url: str) -> None:
    with Client(url) as client:
        session = client.sessions.create("sgd", groups=[{"match": ["nothing"]}])
        session.step({"w": np.ones(1)}, {"w": np.ones(1)})
    told = optim("sessions", "show", session.id, OPTIM_BASE_URL=url)[1]
    assert "nothing" in told.partition("\nWarnings\n")[2]
