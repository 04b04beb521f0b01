"""A session of muon: matrices alone, parameters held, and a step that is sent again answered as it was saved."""

import numpy as np
from httpx2 import Client

from tests.service.calls import SAFETENSORS, create, problem

GRADS = {"w": [[0.5, -0.25, 1.0], [0.0, 2.0, -1.0]]}


def test_a_session_of_muon_steps_replays_and_goes_on_from_its_file(client: Client) -> None:
    session = create(client, "muon", hold_params=True)
    body = {"step": 1, "params": {"w": [[1, 2, 3], [4, 5, 6]]}, "grads": GRADS}
    first = client.post(f"{session}/steps", json=body)
    assert first.status_code == 200, first.text
    again = client.post(f"{session}/steps", json=body)
    assert (again.headers["idempotent-replayed"], again.content) == ("true", first.content)
    file = client.get(f"{session}/state").content
    other = client.post("/v1/sessions", content=file, headers={"content-type": SAFETENSORS})
    assert (other.status_code, other.json()["groups"]) == (201, [])
    assert other.json()["digest"] == first.json()["digest"]
    second = [
        client.post(f"{path}/steps", json={"step": 2, "grads": GRADS})
        for path in (session, f"/v1/sessions/{other.json()['id']}")
    ]
    assert second[0].json()["params"] == second[1].json()["params"]
    assert np.asarray(second[0].json()["params"]["w"]).shape == (2, 3)


def test_a_tensor_that_is_no_matrix_is_refused_by_name(client: Client) -> None:
    session = create(client, "muon", hold_params=True)
    tensors = {**GRADS, "b": [1.0, 2.0]}
    answer = client.post(f"{session}/steps", json={"params": tensors, "grads": tensors})
    assert problem(answer, 422, "tensor_mismatch")["tensor"] == "b"
    assert "muon takes matrices alone" in answer.json()["detail"]
