"""Groups with an optimizer and a name of their own: several rules in one session."""

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from httpx2 import Client

from app.store.memory import MemoryStore
from tests.service import gathered
from tests.service.calls import SAFETENSORS, binary_step, create, patched, problem, read_binary, serving, step, stepped
from tests.service.state_files import download, session_of, upload

MATRICES: dict[str, Any] = {"match": ["*.weight"], "optimizer": "muon", "name": "matrices", "lr": 0.02}
REST: dict[str, Any] = {"match": ["*bias"], "optimizer": "lion"}
PARAMS = {"a.weight": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "a.bias": [1.0, 2.0], "gain": 3.0}
GRADS = {"a.weight": [[0.5, -0.25, 1.0], [0.0, 2.0, -1.0]], "a.bias": [0.5, -0.5], "gain": 0.25}
ALL = {"params": PARAMS, "grads": GRADS}


def mixed(client: Client, **settings: Any) -> str:
    return create(client, **{"hold_params": True, "groups": [MATRICES, REST], **settings})


def test_the_session_says_which_rule_updates_each_tensor(client: Client) -> None:
    session = mixed(client)
    stepped(client, session, **ALL)
    document = client.get(session).json()
    assert document["groups"] == [MATRICES, REST]
    assert {name: (tensor["group"], tensor["optimizer"]) for name, tensor in document["tensors"].items()} == {
        "a.weight": (0, "muon"),
        "a.bias": (1, "lion"),
        "gain": (None, "adamw"),
    }


@pytest.mark.parametrize("hold", [True, False])
def test_a_mixed_step_is_repeated_and_resumed_to_the_bit(hold: bool) -> None:
    store, groups = (
        MemoryStore(100),
        [REST, {"match": ["gain"], "optimizer": "adadelta"}, *([MATRICES] if hold else [])],
    )
    with serving(store) as client:
        session = mixed(client, hold_params=hold, groups=groups)
        stepped(client, session, **ALL)
        sent = {"grads": GRADS, "overrides": {"groups": {"0": {"betas": [0.5, 0.6]}}}} | (
            {} if hold else {"params": PARAMS}
        )
        second = stepped(client, session, "second", **sent)
    with serving(store) as client:
        again = step(client, session, "second", **sent)
        assert (again.headers["idempotent-replayed"], again.json()) == ("true", second)
        made = client.post("/v1/sessions", content=download(client, session), headers={"content-type": SAFETENSORS})
        fork = client.post(f"{session}/fork", json={})
        others = [f"/v1/sessions/{answer.json()['id']}" for answer in (made, fork)]
        assert {client.get(other).json()["digest"] for other in others} == {second["digest"]}
        third = [{**stepped(client, path, **sent), "warnings": []} for path in (session, *others)]
        assert third[0] == third[1] == third[2]


async def test_two_services_step_and_preview_a_mixed_session_alike() -> None:
    groups, store = (
        [{"match": ["a.*"], "optimizer": "lion"}, {"match": ["gain"], "optimizer": "adadelta"}],
        MemoryStore(9),
    )
    async with gathered.service(store) as one, gathered.service(store) as other, gathered.service() as single:
        both, alone = [await gathered.created(client, groups=groups) for client in (one, single)]
        for number in range(1, 6):
            near, far = (one, other) if number % 2 else (other, one)
            body = {"step": number, **ALL}
            preview = await far.post(f"{both}/preview", json=body)
            answer = await near.post(f"{both}/steps", json=body)
            again = await far.post(f"{both}/steps", json=body)
            expected = await single.post(f"{alone}/steps", json=body)
            assert answer.content == again.content == expected.content
            assert preview.json() == {**answer.json(), "preview": True}


def test_both_forms_take_a_group_by_name(client: Client) -> None:
    overrides = {"lr": 0.5, "groups": {"matrices": {"lr": 0.125}}}
    answer = stepped(client, mixed(client), **ALL, overrides=overrides)
    grads, params = ({name: np.float32(x) for name, x in of.items()} for of in (GRADS, PARAMS))
    binary, metadata = read_binary(binary_step(client, mixed(client), grads, params, overrides=json.dumps(overrides)))
    assert all(np.array_equal(x, np.float32(answer["params"][name])) for name, x in binary.items())
    assert metadata["digest"] == answer["digest"]
    like = mixed(client, hyperparameters={"lr": 0.5}, groups=[{**MATRICES, "lr": 0.125}, REST])
    assert stepped(client, like, **ALL)["params"] == answer["params"]
    refused = problem(step(client, like, grads=GRADS, overrides={"groups": {"rest": {}}}), 422, "invalid_session")
    assert refused["where"] == "overrides.groups.rest"


def test_a_machines_bits_need_held_parameters_in_groups_too(client: Client) -> None:
    body = {"optimizer": "adamw", "groups": [MATRICES]}
    assert problem(client.post("/v1/sessions", json=body), 422, "invalid_session")["where"] == "hold_params"
    session = create(client)
    assert problem(client.patch(session, json={"groups": [MATRICES]}), 422, "invalid_session")["where"] == "hold_params"


def test_a_vector_among_matrices_is_told_its_group(client: Client) -> None:
    session = mixed(client, groups=[{"match": ["*"], "optimizer": "muon"}])
    for refused in (
        step(client, session, **ALL),
        client.put(f"{session}/params", json={"params": PARAMS}),
    ):
        assert problem(refused, 422, "tensor_mismatch")["tensor"] == "a.bias"
        assert refused.json()["detail"].endswith('such as {"match": ["a.bias"], "optimizer": "adamw"}')
    assert client.get(session).json()["tensors"] == {}


@pytest.mark.parametrize(
    ("groups", "code", "tensor", "words"),
    [
        ([], "invalid_session", "a.bias", "has the moments (m) of lion, but its settings now need (m, v) of adamw"),
        ([{**MATRICES, "optimizer": "lars"}, REST], "invalid_session", "a.weight", "(m) of muon, but its settings"),
        ([MATRICES, {"match": ["*bias"], "optimizer": "muon"}], "tensor_mismatch", "a.bias", "matrices only"),
        ([MATRICES, REST, {"match": ["gain"], "optimizer": "lamb"}], "invalid_session", "gain", "(m, v) of adamw"),
    ],
)
def test_a_change_of_a_tensors_rule_is_refused(
    client: Client, groups: list[dict[str, Any]], code: str, tensor: str, words: str
) -> None:
    session = mixed(client)
    stepped(client, session, **ALL)
    before = client.get(session).json()
    refused = problem(client.patch(session, json={"groups": groups}), 422, code)
    assert refused["tensor"] == tensor
    assert words in refused["detail"]
    assert client.get(session).json() == before


def test_a_reset_tensor_may_get_another_rule(client: Client) -> None:
    session = mixed(client)
    stepped(client, session, **ALL)
    client.patch(f"{session}/tensors", json={"reset": ["a.bias"]})
    patched(client, session, groups=[MATRICES])
    stepped(client, session, grads=GRADS)
    assert client.get(session).json()["tensors"]["a.bias"]["optimizer"] == "adamw"


def test_a_new_name_may_not_give_a_tensor_another_rule(client: Client) -> None:
    session = create(client, groups=[{"match": ["head"], "optimizer": "lamb"}])
    stepped(client, session, params={"w": [1.0]}, grads={"w": [1.0]})
    refused = problem(client.patch(f"{session}/tensors", json={"rename": {"w": "head"}}), 422, "invalid_session")
    assert refused["tensor"] == "head"
    assert "(m, v) of adamw, but its settings now need (m, v) of lamb" in refused["detail"]


def test_a_file_whose_tensor_has_another_rule_is_refused(client: Client) -> None:
    one, other = create(client, groups=[]), create(client, groups=[{"match": ["w"], "optimizer": "lamb"}])
    stepped(client, one, params={"w": [1.0]}, grads={"w": [1.0]})
    file = download(client, one)
    refused = problem(upload(client, other, file), 422, "invalid_state")
    assert (refused["tensor"], refused["expected"], refused["got"]) == ("w", "lamb", "adamw")
    assert session_of(file)["tensors"]["w"]["optimizer"] == "adamw"
    patched(client, other, groups=[{"match": ["w"], "optimizer": "adamw"}])
    assert upload(client, other, file).status_code == 204


@pytest.mark.parametrize(("own", "given", "count"), [(0, 1e-5, 1), (1e-5, 0, 0)])
def test_a_warning_knows_a_groups_rate_of_the_step(client: Client, own: float, given: float, count: int) -> None:
    session = create(client, groups=[{"match": ["w"], "optimizer": "adam", "lr": own, "name": "still"}])
    tensors = {"w": np.ones(2, ml_dtypes.bfloat16), "moves": np.ones(2, np.float32)}
    overrides = json.dumps({"groups": {"still": {"lr": given}}})
    _, metadata = read_binary(binary_step(client, session, tensors, tensors, overrides=overrides))
    assert metadata["warnings"].count("the parameter of 'w' has not moved") == count
