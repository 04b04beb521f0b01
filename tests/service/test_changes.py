"""Changes of a session: valid from the next step on, seen in the digest, and refused whole."""

from typing import Any

import pytest
from httpx2 import Client

from tests.service.calls import W, create, patched, problem, stepped


def test_a_change_is_valid_from_the_next_step_on(client: Client) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 0.5})
    first = stepped(client, session, step=1, params={"w": 1.0}, grads={"w": 1.0})
    assert (first["params"]["w"], first["metrics"]["lr"]) == (0.5, 0.5)
    after = patched(client, session, hyperparameters={"lr": 0.25})
    assert (after["step"], after["tensors"]["w"]["step"]) == (1, 1)
    second = stepped(client, session, step=2, params={"w": 1.0}, grads={"w": 1.0})
    assert (second["params"]["w"], second["metrics"]["lr"]) == (0.75, 0.25)


def test_a_changed_schedule_goes_on_at_the_session_s_step(client: Client) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 1.0})
    for _ in range(3):
        stepped(client, session, params={"w": 1.0}, grads={"w": 1.0})
    patched(client, session, schedule={"kind": "exponential", "gamma": 0.5})
    assert stepped(client, session, params={"w": 1.0}, grads={"w": 1.0})["metrics"]["lr"] == 0.125


def test_a_change_and_its_undoing_show_in_the_digest(client: Client) -> None:
    session = create(client)
    before = stepped(client, session, **W)["digest"]
    changed = patched(client, session, hyperparameters={"lr": 0.5})
    assert changed["digest"] != before
    assert patched(client, session, hyperparameters={"lr": 0.001})["digest"] == before


def test_a_change_of_nothing_is_a_change_all_the_same(client: Client) -> None:
    session = create(client)
    before = client.get(session).json()
    after = patched(client, session)
    assert {**after, "updated_at": None} == {**before, "updated_at": None}


@pytest.mark.parametrize(
    ("optimizer", "change"),
    [
        ("adamw", {"hyperparameters": {"amsgrad": True}}),
        ("adamw", {"groups": [{"match": ["w"], "amsgrad": True}]}),
        ("sgd", {"hyperparameters": {"momentum": 0.9}}),
        ("rmsprop", {"hyperparameters": {"centered": True}}),
        ("rmsprop", {"hyperparameters": {"momentum": 0.9}}),
    ],
)
def test_a_change_that_needs_other_moments_is_refused(client: Client, optimizer: str, change: dict[str, Any]) -> None:
    session = create(client, optimizer)
    assert client.patch(session, json=change).status_code == 200
    assert client.patch(session, json=dict.fromkeys(change)).status_code == 200
    stepped(client, session, **W)
    refused = problem(client.patch(session, json=change), 422, "invalid_session")
    assert refused["tensor"] == "w"
    assert "moments" in refused["detail"]
    stepped(client, session, step=2, **W)


def test_a_tensor_without_moments_allows_the_change(client: Client) -> None:
    session = create(client, hold_params=True)
    client.put(f"{session}/params", json={"params": {"w": [1.0]}})
    assert patched(client, session, hyperparameters={"amsgrad": True})["hyperparameters"]["amsgrad"] is True
