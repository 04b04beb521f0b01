"""Sessions: creation, refusals, groups, reading, deletion and expiry."""

import json
import time
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urljoin

import pytest
from httpx2 import Client

from app.wire.session_json import CREATION
from tests.service.calls import W, create, path_of, problem, serving, step, stepped

DEFAULTS: dict[str, dict[str, Any]] = {
    "adamw": {
        "lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 1e-2, "amsgrad": False, "maximize": False,
        "bias_correction": True, "cautious": False,
    },
    "adam": {
        "lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False,
        "decoupled_weight_decay": False, "bias_correction": True, "cautious": False,
    },
    "sgd": {
        "lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False,
    },
    "rmsprop": {
        "lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0, "centered": False,
        "maximize": False,
    },
    "nadam": {
        "lr": 2e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0, "momentum_decay": 4e-3, "maximize": False,
        "decoupled_weight_decay": False, "cautious": False,
    },
    "adafactor": {
        "lr": 1e-2, "beta2_decay": -0.8, "eps": [None, 1e-3], "d": 1.0, "weight_decay": 0.0, "maximize": False,
    },
}  # fmt: skip
"""The defaults in the documentation of torch 2.13."""
EFFECTIVE = {
    "id", "optimizer", "hyperparameters", "groups", "schedule", "clip", "on_non_finite", "hold_params", "wire_dtype",
    "on_other_params", "undo", "step", "skipped_steps", "rewinds", "digest", "tensors", "warnings", "ttl_seconds",
    "labels", "created_at", "updated_at", "expires_at",
}  # fmt: skip


@pytest.mark.parametrize("optimizer", DEFAULTS)
def test_the_answer_to_an_optimizer_alone_has_every_effective_value(client: Client, optimizer: str) -> None:
    answer = client.post("/v1/sessions", json={"optimizer": optimizer})
    session = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"sessions/{session['id']}"
    assert session.keys() == EFFECTIVE | CREATION.keys()
    assert session["hyperparameters"] == DEFAULTS[optimizer]
    assert session["groups"] == [{"match": ["*bias"], "weight_decay": 0.0}]
    assert (session["schedule"], session["clip"], session["on_non_finite"]) == (None, None, "reject")
    assert (session["hold_params"], session["step"], session["skipped_steps"]) == (False, 0, 0)
    assert (session["undo"], session["rewinds"]) == (0, 0)
    assert (session["tensors"], session["warnings"], session["labels"]) == ({}, [], {})
    assert (session["ttl_seconds"], session["expires_at"]) == (None, None)
    assert session["created_at"] == session["updated_at"]
    assert client.get(path_of(answer)).json() == session


@pytest.mark.parametrize("prefix", ["http://service", "https://proxy.example/optim", "http://[::1]:8000/a/b"])
def test_a_location_works_behind_a_path_prefix(client: Client, prefix: str) -> None:
    answer = client.post("/v1/sessions", json={"optimizer": "sgd"})
    session = urljoin(f"{prefix}/v1/sessions", answer.headers["location"])
    assert session == f"{prefix}/v1/sessions/{answer.json()['id']}"


def test_the_contracts_example_is_taken_and_echoed(client: Client) -> None:
    wanted = {
        "optimizer": "adamw",
        "hyperparameters": {
            "lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False, "maximize": False,
        },
        "groups": [{"match": ["*bias"], "weight_decay": 0.0}],
        "schedule": {"kind": "warmup_cosine", "warmup_steps": 100, "total_steps": 10000, "min_factor": 0.1},
        "clip": {"global_norm": 1.0},
        "on_non_finite": "reject",
        "hold_params": False,
        "ttl_seconds": 604800,
        "labels": {"run": "mnist-3"},
    }  # fmt: skip
    session = client.post("/v1/sessions", json=wanted).json()
    session["hyperparameters"] = {name: session["hyperparameters"][name] for name in wanted["hyperparameters"]}
    assert wanted.items() <= session.items()


def test_a_null_setting_has_its_default(client: Client) -> None:
    settings = ("hyperparameters", "groups", "schedule", "clip", "ttl_seconds", "labels")
    bare = client.get(create(client)).json()
    with_nulls = client.get(create(client, **dict.fromkeys(settings))).json()
    for name in EFFECTIVE - {"id", "created_at", "updated_at"}:
        assert with_nulls[name] == bare[name]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "optimizer"),
    ({"optimizer": None}, "optimizer"),
    ({"optimizer": ["adamw"]}, "optimizer"),
    ({"optimizer": "adamx"}, "adamx"),
    ({"optimizer": "adamw", "learning_rate": 1}, "learning_rate"),
    ({"optimizer": "adamw", "hyperparameters": {"learning_rate": 1}}, "hyperparameters.learning_rate"),
    ({"optimizer": "adamw", "hyperparameters": {"momentum": 0.9}}, "hyperparameters.momentum"),
    ({"optimizer": "adamw", "hyperparameters": {"decoupled_weight_decay": True}}, "decoupled_weight_decay"),
    ({"optimizer": "sgd", "hyperparameters": {"betas": [0.9, 0.999]}}, "hyperparameters.betas"),
    ({"optimizer": "rmsprop", "hyperparameters": {"nesterov": True}}, "hyperparameters.nesterov"),
    ({"optimizer": "adamw", "hyperparameters": {"lr": -1}}, "-1"),
    ({"optimizer": "adamw", "hyperparameters": {"lr": "0.1"}}, "hyperparameters.lr"),
    ({"optimizer": "adamw", "hyperparameters": {"lr": True}}, "hyperparameters.lr"),
    ({"optimizer": "adamw", "hyperparameters": {"betas": [0.9, 1.0]}}, r"hyperparameters.betas\[1\]"),
    ({"optimizer": "adamw", "hyperparameters": {"betas": 0.9}}, "hyperparameters.betas"),
    ({"optimizer": "adamw", "hyperparameters": [1]}, "hyperparameters"),
    ({"optimizer": "sgd", "hyperparameters": {"nesterov": True}}, "hyperparameters.nesterov"),
    ({"optimizer": "muon"}, "hold_params: muon needs `hold_params: true`, because other machines compute other bits"),
    ({"optimizer": "muon", "hold_params": True, "hyperparameters": {"maximize": True}}, "hyperparameters.maximize"),
    ({"optimizer": "adamw", "groups": {}}, "groups"),
    ({"optimizer": "adamw", "groups": [{}]}, r"groups\[0\].match"),
    ({"optimizer": "adamw", "groups": [{"match": "*bias"}]}, r"groups\[0\].match"),
    ({"optimizer": "adamw", "groups": [{"match": ["*"]}, {"match": ["a"], "lr": -1}]}, r"groups\[1\].lr"),
    ({"optimizer": "adamw", "groups": [{"match": ["a"], "name": 1}]}, r"groups\[0\].name"),
    ({"optimizer": "adamw", "schedule": {"kind": "cosin"}}, "schedule.kind"),
    ({"optimizer": "adamw", "schedule": {"kind": "cosine"}}, "schedule.total_steps"),
    ({"optimizer": "adamw", "schedule": {"kind": "constant", "gamma": 1}}, "schedule.gamma"),
    ({"optimizer": "adamw", "schedule": "cosine"}, "schedule"),
    ({"optimizer": "adamw", "clip": {}}, "clip"),
    ({"optimizer": "adamw", "clip": {"global_norm": 0}}, "clip.global_norm"),
    ({"optimizer": "adamw", "clip": {"global_norm": 1, "value": 1}}, "clip"),
    ({"optimizer": "adamw", "on_non_finite": "ignore"}, "on_non_finite"),
    ({"optimizer": "adamw", "hold_params": 1}, "hold_params"),
    ({"optimizer": "adamw", "hold_params": None}, "hold_params"),
    ({"optimizer": "adamw", "ttl_seconds": 0}, "ttl_seconds"),
    ({"optimizer": "adamw", "ttl_seconds": "60"}, "ttl_seconds"),
    ({"optimizer": "adamw", "ttl_seconds": True}, "ttl_seconds"),
    ({"optimizer": "adamw", "ttl_seconds": 1e300}, "ttl_seconds"),
    ({"optimizer": "adamw", "labels": ["a"]}, "labels"),
    ({"optimizer": "adamw", "labels": 0}, "labels"),
    ({"optimizer": "adamw", "labels": {"run": 3}}, "labels.run"),
    ({"optimizer": "adamw", "labels": {"run": "x" * 257}}, "labels.run"),
    ({"optimizer": "adamw", "labels": {str(i): "" for i in range(65)}}, "labels"),
]


@pytest.mark.parametrize(("document", "named"), REFUSED)
def test_a_wrong_setting_is_refused_by_its_name(client: Client, document: dict[str, Any], named: str) -> None:
    refused = problem(client.post("/v1/sessions", json=document), 422, "invalid_session")
    assert named.replace("\\", "") in refused["detail"]
    assert client.get("/v1/sessions").json()["sessions"] == []


SETTINGS = "optimizer, hyperparameters, groups, "
BELONGS = f"belongs in `hyperparameters`; expected one of {SETTINGS}"
TTL = "must be a number of seconds above 0 and at most 315360000, or null, not"
TOLD: list[tuple[str, str, str]] = [
    ("{}", "optimizer", "is required; expected one of adamw, "),
    ('{"optimizer": null}', "optimizer", "null is unknown; expected one of adamw, "),
    ('{"optimizer": "adamw", "lr": 0.1}', "lr", f"unknown setting 'lr'; `lr` {BELONGS}"),
    ('{"optimizer": "adamw", "momentum": 0.1}', "momentum", f"unknown setting 'momentum'; `momentum` {BELONGS}"),
    (
        '{"optimizer": "adamw", "learning_rate": 1}',
        "learning_rate",
        "unknown setting 'learning_rate'; expected one of ",
    ),
    ('{"optimizer": "adamw", "step": 3}', "step", f"unknown setting 'step'; expected one of {SETTINGS}"),
    (
        '{"optimizer": "adamw", "hyperparameters": {"x": 1}}',
        "hyperparameters.x",
        "unknown setting 'x'; expected one of lr, ",
    ),
    (
        '{"optimizer": "adamw", "hyperparameters": {"lr": 1' + 400 * "0" + "}}",
        "hyperparameters.lr",
        "must be a number, not Infinity (or a number beyond 1.8e308)",
    ),
    (
        '{"optimizer": "muon"}',
        "hold_params",
        "muon needs `hold_params: true`, because other machines compute other bits",
    ),
    ('{"optimizer": "adamw", "hold_params": null}', "hold_params", "must be true or false, not null"),
    ('{"optimizer": "adamw", "ttl_seconds": "1d"}', "ttl_seconds", f"{TTL} '1d'"),
    ('{"optimizer": "adamw", "ttl_seconds": true}', "ttl_seconds", f"{TTL} true"),
    ('{"optimizer": "adamw", "ttl_seconds": 1e300}', "ttl_seconds", f"{TTL} 1e+300"),
    ('{"optimizer": "adamw", "labels": ["a"]}', "labels", "must be an object of up to 64 strings, not a list"),
    (json.dumps({"optimizer": "sgd", "labels": dict.fromkeys(map(str, range(65)), "")}), "labels", "65 labels; the "),
    ('{"optimizer": "adamw", "labels": {"a": 5}}', "labels.a", "must be a string of up to 256 characters, not 5"),
    (
        json.dumps({"optimizer": "adamw", "labels": {"a": "x" * 300}}),
        "labels.a",
        "the string has 300 characters; the limit is 256",
    ),
    (
        json.dumps({"optimizer": "adamw", "labels": {"x" * 300: "a"}}),
        "labels." + "x" * 80,
        "the name has 300 characters; the limit is 256",
    ),
]


@pytest.mark.parametrize(("body", "where", "told"), TOLD, ids=[where[:20] for _, where, _ in TOLD])
def test_a_refused_setting_has_its_place_value_and_way_out(client: Client, body: str, where: str, told: str) -> None:
    answer = client.post("/v1/sessions", content=body, headers={"content-type": "application/json"})
    refused = problem(answer, 422, "invalid_session")
    assert refused["where"] == where
    assert refused["detail"].startswith(f"{where}: {told}")


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b'"adamw"'])
def test_a_body_that_is_not_an_object_is_refused(client: Client, body: bytes) -> None:
    answer = client.post("/v1/sessions", content=body, headers={"content-type": "application/json"})
    refused = problem(answer, 422, "invalid_session")
    assert refused["detail"].startswith("the body must be a JSON object, not ")
    assert "where" not in refused


def decayed(client: Client, **settings: Any) -> dict[str, Any]:
    """Return three parameters of 1 after a step of weight decay alone."""
    session = create(client, hyperparameters={"lr": 0.5, "weight_decay": 0.5}, **settings)
    names = ("layer.weight", "layer.bias", "bias")
    answer = stepped(client, session, params=dict.fromkeys(names, 1.0), grads=dict.fromkeys(names, 0.0))
    params: dict[str, Any] = answer["params"]
    return params


def test_biases_do_not_decay_without_groups(client: Client) -> None:
    assert decayed(client) == {"layer.weight": 0.75, "layer.bias": 1.0, "bias": 1.0}


def test_an_empty_list_of_groups_decays_everything(client: Client) -> None:
    assert decayed(client, groups=[]) == {"layer.weight": 0.75, "layer.bias": 0.75, "bias": 0.75}


def test_the_first_group_that_matches_wins(client: Client) -> None:
    groups = [{"match": ["layer*"], "weight_decay": 1.0}, {"match": ["*bias"], "weight_decay": 0.0}]
    assert decayed(client, groups=groups) == {"layer.weight": 0.5, "layer.bias": 0.5, "bias": 1.0}


def test_a_session_lists_each_tensor_that_it_has_seen(client: Client) -> None:
    session = create(client)
    stepped(client, session, params={"w": [[1, 2]]}, grads={"w": [[1, 2]]})
    double = {"dtype": "float64", "shape": [1], "data": [1]}
    stepped(client, session, params={"w": [[1, 2]], "bias": double}, grads={"w": [[1, 2]], "bias": double})
    assert client.get(session).json()["tensors"] == {
        "w": {"shape": [1, 2], "dtype": "float32", "step": 2, "group": None, "optimizer": "adamw"},
        "bias": {"shape": [1], "dtype": "float64", "step": 1, "group": 0, "optimizer": "adamw"},
    }


def test_a_pattern_that_matched_nothing_is_a_warning(client: Client) -> None:
    session = create(client, groups=[{"match": ["w", "norm*"], "weight_decay": 0.0}, {"match": ["*.biass"]}])
    assert client.get(session).json()["warnings"] == []
    stepped(client, session, **W)
    assert client.get(session).json()["warnings"] == [
        "groups: the pattern 'norm*' matches no tensor",
        "groups: the pattern '*.biass' matches no tensor",
    ]


def test_the_default_group_gives_no_warning(client: Client) -> None:
    session = create(client)
    stepped(client, session, **W)
    assert client.get(session).json()["warnings"] == []


def test_an_unchanged_session_is_answered_304(client: Client) -> None:
    session = create(client)
    tag = client.get(session).headers["etag"]
    same = client.get(session, headers={"if-none-match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert client.get(session, headers={"if-none-match": f'"other", W/{tag}'}).status_code == 304
    assert client.get(session, headers={"if-none-match": "*"}).status_code == 304
    assert client.get(session, headers={"if-none-match": '"other"'}).status_code == 200


def test_every_change_of_a_session_changes_its_etag(client: Client) -> None:
    answer = client.post("/v1/sessions", json={"optimizer": "sgd"})
    session, tags = path_of(answer), {answer.headers["etag"]}
    assert tags == {client.get(session).headers["etag"]}
    stepped(client, session, **W)
    tags.add(client.get(session).headers["etag"])
    tags.add(client.patch(session, json={"labels": {"a": "b"}}).headers["etag"])
    assert len(tags) == 3


def test_reading_changes_nothing(client: Client) -> None:
    session = create(client)
    stepped(client, session, **W)
    before = client.get(session)
    for path in ("", "/history", "/state"):
        client.get(session + path)
    client.get("/v1/sessions")
    after = client.get(session)
    assert (before.content, before.headers["etag"]) == (after.content, after.headers["etag"])


@pytest.mark.parametrize("below", ["", "/steps", "/params", "/state", "/history"])
def test_a_deleted_session_is_not_found(client: Client, below: str) -> None:
    session = create(client, hold_params=True)
    stepped(client, session, **W)
    gone = client.delete(session)
    assert (gone.status_code, gone.content) == (204, b"")
    answer = step(client, session, **W) if below == "/steps" else client.get(session + below)
    problem(answer, 404, "session_not_found")


def test_a_second_deletion_is_not_found(client: Client) -> None:
    session = create(client)
    client.delete(session)
    problem(client.delete(session), 404, "session_not_found")
    assert client.get("/v1/sessions").json()["sessions"] == []


@pytest.mark.parametrize("name", ["0", "x" * 5000, "%00", "%2e%2e", "{id}", "a b", "ü", "*"])
def test_a_malformed_id_is_not_found(client: Client, name: str) -> None:
    problem(client.get(f"/v1/sessions/{name}"), 404, "session_not_found")


def test_a_session_expires_its_ttl_after_its_last_change(client: Client) -> None:
    session = create(client, ttl_seconds=3600)
    for change in (lambda: None, lambda: stepped(client, session, **W), lambda: client.patch(session, json={})):
        change()
        document = client.get(session).json()
        updated, expires = (datetime.fromisoformat(document[name]) for name in ("updated_at", "expires_at"))
        assert expires - updated == timedelta(hours=1)


def test_an_expired_session_is_not_found() -> None:
    with serving() as client:
        session = create(client, ttl_seconds=0.05)
        assert client.get(session).status_code == 200
        time.sleep(0.06)
        problem(client.get(session), 404, "session_not_found")
        problem(step(client, session, **W), 404, "session_not_found")
        assert client.get("/v1/sessions").json()["sessions"] == []


def test_times_are_written_in_utc(client: Client) -> None:
    before = time.time()
    document = client.get(create(client)).json()
    assert document["created_at"].endswith("Z")
    assert before - 0.001 <= datetime.fromisoformat(document["created_at"]).timestamp() <= time.time()
