"""PATCH: a merge, valid from the next step on, refused whole where it cannot be."""

from typing import Any

import pytest
from httpx2 import Client

from tests.service.calls import create, patched, problem


def test_hyperparameters_that_are_not_named_stay(client: Client) -> None:
    session = create(client, hyperparameters={"lr": 0.5, "eps": 1e-4})
    after = patched(client, session, hyperparameters={"lr": 0.25})["hyperparameters"]
    assert (after["lr"], after["eps"], after["weight_decay"]) == (0.25, 1e-4, 0.01)


def test_null_puts_a_default_back(client: Client) -> None:
    given: dict[str, Any] = {
        "hyperparameters": {"lr": 0.5, "eps": 1e-4},
        "groups": [],
        "schedule": {"kind": "constant"},
        "clip": {"value": 1.0},
        "ttl_seconds": 60,
        "labels": {"run": "1", "by": "me"},
    }
    session = create(client, **given)
    assert patched(client, session, hyperparameters={"lr": None})["hyperparameters"]["lr"] == 1e-3
    assert patched(client, session, labels={"run": None})["labels"] == {"by": "me"}
    after = patched(client, session, **dict.fromkeys(given))
    bare = client.get(create(client)).json()
    assert {name: after[name] for name in (*given, "expires_at")} == {
        name: bare[name] for name in (*given, "expires_at")
    }


def test_labels_are_merged_key_by_key(client: Client) -> None:
    session = create(client, labels={"run": "1", "by": "me"})
    assert patched(client, session, labels={"run": "2", "host": "a"})["labels"] == {"run": "2", "by": "me", "host": "a"}


def test_groups_and_clip_are_replaced_whole(client: Client) -> None:
    session = create(client, groups=[{"match": ["a"], "lr": 1.0}], clip={"global_norm": 1.0})
    after = patched(client, session, groups=[{"match": ["b"], "eps": 1.0}], clip={"value": 2.0})
    assert (after["groups"], after["clip"]) == ([{"match": ["b"], "eps": 1.0}], {"value": 2.0})
    assert patched(client, session, groups=[])["groups"] == []


def test_only_a_schedule_of_the_same_kind_is_merged(client: Client) -> None:
    session = create(client, schedule={"kind": "cosine", "total_steps": 10, "min_factor": 0.5})
    assert patched(client, session, schedule={"total_steps": 20})["schedule"] == {
        "kind": "cosine", "total_steps": 20, "min_factor": 0.5,
    }  # fmt: skip
    assert patched(client, session, schedule={"kind": "cosine", "min_factor": None})["schedule"]["min_factor"] == 0.0
    other = patched(client, session, schedule={"kind": "exponential", "gamma": 0.5})["schedule"]
    assert other == {"kind": "exponential", "gamma": 0.5}
    assert patched(client, session, schedule=None)["schedule"] is None


def test_a_default_schedule_needs_its_kind(client: Client) -> None:
    session = create(client)
    refused = problem(client.patch(session, json={"schedule": {"total_steps": 5}}), 422, "invalid_session")
    assert "schedule.kind" in refused["detail"]


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "adam"},
        {"on_non_finite": "skip"},
        {"hold_params": True},
        {"step": 7},
        {"id": "x"},
        {"lr": 0.1},
        {"hyperparameters": {"momentum": 0.9}},
        {"hyperparameters": {"lr": -1}},
        {"hyperparameters": 3},
        {"groups": [{"match": []}]},
        {"schedule": {"kind": "none"}},
        {"clip": {}},
        {"ttl_seconds": -1},
        {"labels": {"a": 1}},
        {"labels": "a"},
    ],
)
def test_a_change_that_cannot_be_is_refused_and_changes_nothing(client: Client, change: dict[str, Any]) -> None:
    session = create(client)
    before = client.get(session).json()
    answer = client.patch(session, json={"hyperparameters": {"lr": 0.5}, "labels": {"b": "c"}} | change)
    refused = problem(answer, 422, "invalid_session")
    assert next(iter(change)) in refused["detail"]
    assert client.get(session).json() == before


def test_what_cannot_be_changed_is_told_from_what_is_unknown(client: Client) -> None:
    session = create(client)
    fixed = problem(client.patch(session, json={"optimizer": "sgd"}), 422, "invalid_session")
    unknown = problem(client.patch(session, json={"optimiser": "sgd"}), 422, "invalid_session")
    assert (fixed["where"], unknown["where"]) == ("optimizer", "optimiser")
    assert fixed["detail"].startswith("optimizer: cannot be changed, so create a new session; expected one of hyper")
    assert "unknown setting 'optimiser'" in unknown["detail"]
