"""Tensors of a session: renamed, removed, begun anew by `PATCH …/tensors`."""

from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from httpx2 import Client

from tests.service.calls import SAFETENSORS, binary_step, bits, create, problem, read_binary, serving, step, stepped
from tests.service.state_files import download, upload
from tests.wire import package

NAMES = ("a", "b", "layer.bias")


def edit(client: Client, session: str, **edits: Any) -> dict[str, Any]:
    answer = client.patch(f"{session}/tensors", json=edits)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    assert document == client.get(session).json()
    assert answer.headers["etag"] == client.get(session).headers["etag"]
    return document


def tensors(seed: int, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(3, np.float32) for name in names}


def trained(client: Client, steps: int = 3, **settings: Any) -> str:
    session = create(client, **settings)
    params: Any = tensors(0)
    for seed in range(1, steps + 1):
        held = settings.get("hold_params") and seed > 1
        params, _ = read_binary(binary_step(client, session, tensors(seed), None if held else params))
    return session


@pytest.mark.parametrize("hold", [False, True])
def test_renamed_tensors_take_the_steps_they_would_have(client: Client, hold: bool) -> None:
    plain, other = (trained(client, hold_params=hold) for _ in range(2))
    names = {"a": "b", "b": "a", "layer.bias": "head.bias"}
    edit(client, other, rename=names)
    grads, params = tensors(7), None if hold else tensors(8)
    expected, _ = read_binary(binary_step(client, plain, grads, params, step=4))
    renamed = [t and {names[name]: array for name, array in t.items()} for t in (grads, params)]
    answer, _ = read_binary(binary_step(client, other, renamed[0], renamed[1], step=4))
    assert bits(answer) == bits({names[name]: array for name, array in expected.items()})


def test_a_session_lists_its_tensors_by_their_new_names(client: Client) -> None:
    session = trained(client, groups=[{"match": ["head.*"], "lr": 0.5}, {"match": ["*bias"], "weight_decay": 0.0}])
    before = client.get(session).json()
    after = edit(client, session, rename={"a": "head.a", "layer.bias": "head.shift"}, remove=["b"])
    assert list(after["tensors"]) == ["head.a", "head.shift"]
    assert [tensor["group"] for tensor in before["tensors"].values()] == [None, None, 1]
    assert [tensor["group"] for tensor in after["tensors"].values()] == [0, 0]
    assert before["warnings"] == ["groups: the pattern 'head.*' matches no tensor"]
    assert after["warnings"] == ["groups: the pattern '*bias' matches no tensor"]
    assert (after["step"], after["skipped_steps"]) == (3, 0)


def test_groups_follow_the_new_names(client: Client) -> None:
    session = trained(client, groups=[{"match": ["frozen.*"], "lr": 0.0, "weight_decay": 0.0}])
    edit(client, session, rename={"a": "frozen.a"})
    grads = {"frozen.a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]}
    answer = stepped(client, session, params=grads, grads=grads)
    assert answer["params"]["frozen.a"] == grads["frozen.a"]
    assert answer["params"]["b"] != grads["b"]


@pytest.mark.parametrize("hold", [False, True])
def test_a_removed_tensor_may_come_again_in_another_shape(client: Client, hold: bool) -> None:
    session = trained(client, hold_params=hold)
    grown = {"a": np.ones((4, 2), np.float32)}
    refused = problem(binary_step(client, session, grown, None if hold else grown), 422, "tensor_mismatch")
    assert "PATCH …/tensors with `remove`" in refused["detail"]
    document = edit(client, session, remove=["a"])
    assert list(document["tensors"]) == ["b", "layer.bias"]
    fresh = create(client)
    answers = [read_binary(binary_step(client, s, grown, grown))[0] for s in (session, fresh)]
    assert bits(answers[0]) == bits(answers[1])
    about = client.get(session).json()["tensors"]["a"]
    assert (about["shape"], about["step"]) == ([4, 2], 1)


def test_held_parameters_follow_their_tensors(client: Client) -> None:
    session = trained(client, hold_params=True)
    before = package.load(client.get(f"{session}/params", headers={"accept": "application/vnd.safetensors"}).content)
    edit(client, session, rename={"a": "c"}, remove=["b"], reset=["layer.bias"])
    after = package.load(client.get(f"{session}/params", headers={"accept": "application/vnd.safetensors"}).content)
    assert bits(after) == bits({"params/c": before["params/a"], "params/layer.bias": before["params/layer.bias"]})


@pytest.mark.parametrize("hold", [False, True])
def test_a_reset_tensor_begins_anew(client: Client, hold: bool) -> None:
    session = trained(client, hold_params=hold)
    document = edit(client, session, reset=["a"])
    assert document["tensors"]["a"] == {
        "shape": [3],
        "dtype": "float32",
        "step": 0,
        "group": None,
        "optimizer": "adamw",
    }
    assert {name.partition("/")[0] for name in package.load(download(client, session)) if name.endswith("/a")} == (
        {"params"} if hold else set()
    )
    wrong = {"a": np.ones(4, np.float32)}
    problem(binary_step(client, session, wrong, None if hold else wrong), 422, "tensor_mismatch")
    grads = tensors(9, ("a",))
    start = {"a": np.float32(client.get(f"{session}/params").json()["params"]["a"])} if hold else tensors(8, ("a",))
    answer, _ = read_binary(binary_step(client, session, grads, None if hold else start))
    expected, _ = read_binary(binary_step(client, create(client), grads, start))
    assert bits(answer) == bits(expected)


def test_reset_tensors_take_settings_that_need_other_moments(client: Client) -> None:
    session = trained(client, hold_params=True)
    amsgrad = {"hyperparameters": {"amsgrad": True}}
    refused = problem(client.patch(session, json=amsgrad), 422, "invalid_session")
    assert "reset it first (PATCH …/tensors)" in refused["detail"]
    edit(client, session, reset=list(NAMES))
    assert client.patch(session, json=amsgrad).status_code == 200
    held = client.get(f"{session}/params", headers={"accept": SAFETENSORS}).content
    params = {name.removeprefix("params/"): array for name, array in package.load(held).items()}
    answer, _ = read_binary(binary_step(client, session, tensors(9)))
    expected, _ = read_binary(binary_step(client, create(client, **amsgrad), tensors(9), params))
    assert bits(answer) == bits(expected)


def test_an_edit_ends_what_can_be_answered_again(client: Client) -> None:
    session = trained(client, steps=1)
    grads = {"a": [1.0, 2.0, 3.0]}
    body = {"step": 2, "params": grads, "grads": grads}
    stepped(client, session, "key", **body)
    edit(client, session, rename={"b": "c"})
    refused = problem(step(client, session, "key", **body), 409, "step_conflict")
    assert refused["applied_as_step"] == 2
    refused = problem(step(client, session, **body), 409, "step_conflict")
    assert refused["current_step"] == 2
    stepped(client, session, **body | {"step": 3})


def test_an_edit_keeps_history_settings_and_labels(client: Client) -> None:
    session = trained(client, labels={"run": "1"}, clip={"value": 1.0})
    history = client.get(f"{session}/history").json()
    before = client.get(session).json()
    after = edit(client, session, remove=["a"])
    assert client.get(f"{session}/history").json() == history
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"tensors", "digest", "updated_at"}


def test_an_edit_there_and_back_is_the_same_state(client: Client) -> None:
    session = trained(client, hold_params=True)
    before = client.get(session).json()["digest"]
    assert edit(client, session, rename={"a": "b", "b": "a"})["digest"] != before
    assert edit(client, session, rename={"a": "b", "b": "a"})["digest"] == before
    assert edit(client, session)["digest"] == before


def test_edits_of_two_sessions_come_to_one_digest(client: Client) -> None:
    first, second = (trained(client, hold_params=True) for _ in range(2))
    once = edit(client, first, rename={"a": "x", "layer.bias": "y"}, remove=["b"])
    edit(client, second, remove=["b"])
    edit(client, second, rename={"layer.bias": "y"})
    assert edit(client, second, rename={"a": "x"})["digest"] == once["digest"]


def test_an_edited_session_goes_out_and_in_again(client: Client) -> None:
    for hold in (False, True):
        session = trained(client, hold_params=hold)
        edit(client, session, rename={"a": "x/y.z"}, remove=["b"], reset=["layer.bias"])
        file, digest = download(client, session), client.get(session).json()["digest"]
        assert upload(client, session, file).status_code == 204
        other = create(client, hold_params=hold)
        assert upload(client, other, file).status_code == 204
        assert {client.get(s).json()["digest"] for s in (session, other)} == {digest}


def test_an_edit_outlives_the_service(tmp_path: Path) -> None:
    url = f"lmdb:{tmp_path}"
    with serving(store=url) as client:
        session = trained(client, hold_params=True)
        document = edit(client, session, rename={"a": "b", "b": "a"}, reset=["layer.bias"])
        file = download(client, session)
    with serving(store=url) as client:
        assert client.get(session).json() == document
        assert download(client, session) == file


def test_large_tensors_are_renamed(client: Client) -> None:
    session, plain = create(client, hold_params=True), create(client, hold_params=True)
    big = {"w": np.random.default_rng(0).standard_normal(700_000, np.float32), "v": np.ones(3, np.float32)}
    for s in (session, plain):
        read_binary(binary_step(client, s, big, big))
    edit(client, session, rename={"w": "v", "v": "w"})
    answer, _ = read_binary(binary_step(client, session, {"v": big["w"], "w": big["v"]}))
    expected, _ = read_binary(binary_step(client, plain, big))
    assert bits(answer) == bits({"v": expected["w"], "w": expected["v"]})


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"rename": {"x": "y"}}, "x", "no such tensor"),
    ({"remove": ["x"]}, "x", "no such tensor"),
    ({"reset": ["a", "x"]}, "x", "no such tensor"),
    ({"remove": ["A"]}, "A", "no such tensor"),
    ({"remove": ["a", "a"]}, "a", "name it once"),
    ({"remove": ["a"], "reset": ["a"]}, "a", "name it once"),
    ({"rename": {"a": "c"}, "remove": ["a"]}, "a", "name it once"),
    ({"rename": {"a": "b"}}, "b", "two tensors, 'a' and 'b'"),
    ({"rename": {"a": "c", "b": "c"}}, "c", "two tensors, 'a' and 'b'"),
    ({"rename": {"a": "c"}, "reset": ["c"]}, "c", "no such tensor"),
]


@pytest.mark.parametrize(("edits", "tensor", "words"), REFUSED)
def test_edits_that_do_not_fit_the_session_are_refused(
    client: Client, edits: dict[str, Any], tensor: str, words: str
) -> None:
    session = trained(client)
    before = client.get(session)
    refused = problem(client.patch(f"{session}/tensors", json=edits), 422, "tensor_mismatch")
    assert refused["tensor"] == tensor
    assert words in refused["detail"]
    after = client.get(session)
    assert (after.content, after.headers["etag"]) == (before.content, before.headers["etag"])


MALFORMED: list[tuple[bytes, str]] = [
    (b"[]", "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b'{"renames": {}}', "unknown member 'renames'; expected one of rename, remove, reset"),
    (b'{"rename": ["a", "b"]}', "`rename` must be an object"),
    (b'{"rename": null}', "`rename` must be an object"),
    (b'{"rename": {"a": 1}}', "`rename` must have names"),
    (b'{"rename": {"a": null}}', "`rename` must have names"),
    (b'{"rename": {"a": "b", "a": "c"}}', "a name twice"),
    (b'{"remove": "a"}', "`remove` must be a list of names"),
    (b'{"remove": {"a": true}}', "`remove` must be a list of names"),
    (b'{"reset": [["a"]]}', "`reset` must have names"),
    (b'{"rename": {"a": ""}}', "1 to 256 characters"),
    (b'{"rename": {"a": "%s"}}' % (b"n" * 257), "1 to 256 characters"),
    (b'{"remove": ["%s"]}' % (b"n" * 5000), "1 to 256 characters"),
]


@pytest.mark.parametrize(("body", "words"), MALFORMED)
def test_edits_that_cannot_be_read_are_refused(client: Client, body: bytes, words: str) -> None:
    session = trained(client, steps=1)
    before = client.get(session).content
    answer = client.patch(f"{session}/tensors", content=body, headers={"content-type": "application/json"})
    refused = problem(answer, 400, "malformed_body")
    assert words in refused["detail"]
    assert len(answer.content) < 1000
    assert client.get(session).content == before


def test_a_run_resumed_under_other_names_is_mended(client: Client) -> None:
    session, plain = trained(client), trained(client)
    names = {name: f"module.{name}" for name in NAMES}
    params, grads = ({names[name]: array for name, array in tensors(seed).items()} for seed in (8, 9))
    wrong = {name: array.tolist() for name, array in params.items()}
    answer = stepped(client, session, params=wrong, grads=wrong)
    assert "PATCH …/tensors" in " ".join(answer["warnings"])
    after = edit(client, session, remove=list(names.values()), rename=names)
    assert "PATCH …/tensors" not in " ".join(after["warnings"])
    mended, _ = read_binary(binary_step(client, session, grads, params))
    expected, _ = read_binary(binary_step(client, plain, tensors(9), tensors(8)))
    assert bits(mended) == bits({names[name]: array for name, array in expected.items()})


def test_the_parameters_answered_last_follow_their_tensors(client: Client) -> None:
    session = create(client, on_other_params="reject")
    params, _ = read_binary(binary_step(client, session, tensors(1), tensors(0)))
    edit(client, session, rename={"a": "b", "b": "a"}, reset=["layer.bias"])
    swapped = {"a": params["b"], "b": params["a"], "layer.bias": params["layer.bias"]}
    for tensor in ("a", "layer.bias"):
        wrong = swapped | {tensor: np.zeros(3, np.float32)}
        problem(binary_step(client, session, tensors(2), wrong), 409, "params_conflict")
    read_binary(binary_step(client, session, tensors(2), swapped))
    edit(client, session, remove=["a"])
    read_binary(binary_step(client, session, tensors(3, ("a",)), tensors(4, ("a",))))


def test_a_name_whose_group_needs_other_moments_is_refused(client: Client) -> None:
    session = create(client, "sgd", groups=[{"match": ["fast.*"], "momentum": 0.9}])
    one = {"a": [1.0], "fast.b": [1.0]}
    stepped(client, session, params=one, grads=one)
    for rename, tensor in (({"a": "fast.a"}, "fast.a"), ({"fast.b": "b"}, "b")):
        refused = problem(client.patch(f"{session}/tensors", json={"rename": rename}), 422, "invalid_session")
        assert refused["tensor"] == tensor
    edit(client, session, reset=["a"])
    assert edit(client, session, rename={"a": "fast.a"})["tensors"]["fast.a"]["group"] == 0
    stepped(client, session, params={"fast.a": [1.0]}, grads={"fast.a": [1.0]})


def keyed(client: Client, session: str, headers: dict[str, str], **edits: Any) -> httpx2.Response:
    return client.patch(f"{session}/tensors", json=edits, headers=headers)


def test_an_edit_that_comes_twice_is_made_once(client: Client) -> None:
    session = trained(client)
    headers = {"idempotency-key": '"swap"'}
    first = keyed(client, session, headers, rename={"a": "b", "b": "a"})
    again = keyed(client, session, headers, rename={"a": "b", "b": "a"})
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    problem(keyed(client, session, headers, rename={"a": "c"}), 422, "idempotency_mismatch")


def test_an_edit_of_another_session_than_was_meant_is_refused(client: Client) -> None:
    session = trained(client)
    headers = {"if-match": client.get(session).headers["etag"]}
    assert keyed(client, session, headers, remove=["a"]).status_code == 200
    problem(keyed(client, session, headers, remove=["b"]), 412, "precondition_failed")
    assert "b" in client.get(session).json()["tensors"]
