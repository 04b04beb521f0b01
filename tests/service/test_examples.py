"""The examples in the OpenAPI schema: a request's example works, and its answer has the documented shape."""

from typing import Any

import pytest
from httpx2 import Client

from tests.service.calls import create, path_of, stepped, summary_of
from tests.service.test_openapi import JSON, OPERATIONS


def example_of(name: str) -> Any:
    return OPERATIONS[name][2]["requestBody"]["content"][JSON]["example"]


def answer_of(name: str, status: int = 200) -> Any:
    return OPERATIONS[name][2]["responses"][str(status)]["content"][JSON]["example"]


def shape_of(value: Any) -> Any:
    """Return the keys of nested objects."""
    if isinstance(value, dict):
        return {key: shape_of(inner) for key, inner in value.items()}
    return [shape_of(inner) for inner in value[:1]] if isinstance(value, list) else None


def session_at_step_41(client: Client, **settings: Any) -> str:
    session = create(client, on_other_params="accept", **settings)
    example = example_of("takeStep")
    for number in range(1, 42):
        stepped(client, session, step=number, params=example["params"], grads=example["grads"])
    return session


class TestExample:
    def test_of_creating_and_changing_a_session_works(self, client: Client) -> None:
        created = client.post("/v1/sessions", json=example_of("createSession"))
        assert created.status_code == 201
        assert created.json().keys() == answer_of("createSession", 201).keys()
        changed = client.patch(path_of(created), json=example_of("updateSession"))
        assert changed.status_code == 200
        assert changed.json().keys() == answer_of("updateSession").keys()
        listed = client.get("/v1/sessions").json()
        assert listed.keys() == answer_of("listSessions").keys()
        assert listed["sessions"] == [summary_of(changed.json(), 0)]

    def test_of_a_step_works_and_has_the_answers_shape(self, client: Client) -> None:
        session = session_at_step_41(client)
        header = next(p for p in OPERATIONS["takeStep"][2]["parameters"] if p["name"] == "Idempotency-Key")
        headers = {"idempotency-key": header["example"]}
        answer = client.post(f"{session}/steps", json=example_of("takeStep"), headers=headers)
        assert answer.status_code == 200
        assert shape_of(answer.json()) == shape_of(answer_of("takeStep"))
        rows = client.get(f"{session}/history?after=41").json()
        assert shape_of(rows) == shape_of(answer_of("getHistory"))

    def test_of_a_first_step_has_the_computed_numbers(self, client: Client) -> None:
        answer = stepped(client, create(client), **{**example_of("takeStep"), "step": 1})
        documented = answer_of("takeStep")
        assert answer["params"] == documented["params"]
        for name, value in documented["metrics"].items():
            assert answer["metrics"][name] == pytest.approx(value, rel=1e-4)

    def test_of_a_session_equals_a_real_one(self, client: Client) -> None:
        session = create(client, hyperparameters={"lr": 0.001})
        w = {"w": example_of("takeStep")["params"]["w"]}
        params = w
        for _ in range(41):
            params = stepped(client, session, params=params, grads=w)["params"]
        found, documented = client.get(session).json(), answer_of("getSession")
        for part in documented.keys() - {"id", "digest", "created_at", "updated_at"}:
            assert found[part] == documented[part]
        assert len(found["id"]) == len(documented["id"])
        assert len(found["digest"]) == len(documented["digest"])

    def test_of_held_parameters_works(self, client: Client) -> None:
        session = create(client, hold_params=True)
        assert client.put(f"{session}/params", json=example_of("putParams")).status_code == 204
        assert client.get(f"{session}/params").json() == answer_of("getParams")
        rows = client.post(f"{session}/params/rows", json=example_of("getRows"))
        assert rows.json() == answer_of("getRows")

    def test_of_editing_tensors_works(self, client: Client) -> None:
        session = session_at_step_41(client)
        answer = client.patch(f"{session}/tensors", json=example_of("editTensors"))
        assert answer.status_code == 200
        assert list(answer.json()["tensors"]) == ["head.w"]
        assert shape_of(answer.json()).keys() == shape_of(answer_of("editTensors")).keys()

    def test_of_health_of_tensors_has_the_members_of_one(self, client: Client) -> None:
        answer = client.get(f"{session_at_step_41(client)}/tensors").json()
        assert answer["tensors"]["w"].keys() == answer_of("getTensors")["tensors"]["w"].keys()

    def test_of_the_optimizers_is_part_of_the_answer(self, client: Client) -> None:
        documented = answer_of("listOptimizers")["optimizers"]
        assert documented.items() <= client.get("/v1/optimizers").json()["optimizers"].items()

    def test_of_health_equals_the_answers(self, client: Client) -> None:
        assert client.get("/livez").json() == answer_of("getLiveness")
        of_lmdb = {"store": "lmdb", "durability": "an answered step survives a power cut"}
        assert client.get("/readyz").json() | of_lmdb == answer_of("getReadiness")
