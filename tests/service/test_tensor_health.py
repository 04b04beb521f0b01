"""The health of a session's tensors: norms and shares, as the service answers them."""

from collections.abc import Iterator

import numpy as np
import pytest
from httpx2 import Client

from tests.service.calls import binary_step, create, problem, serving, stepped
from tests.service.tensor_norms import health


@pytest.fixture
def client(store_url: str) -> Iterator[Client]:
    with serving(store=store_url) as client:
        yield client


def test_health_is_that_of_numbers_done_by_hand(client: Client) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 0.5, "momentum": 0.9}, hold_params=True)
    stepped(client, session, params={"w": [4.0, 0.0], "b": [2.0]}, grads={"w": [2.0, 0.0], "b": [4.0]})
    answer = client.get(f"{session}/tensors").json()
    assert answer == {
        "step": 1,
        "tensors": {
            "w": {
                "param_norm": 3.0, "m_norm": 2.0, "v_norm": None, "update_norm": 1.0,
                "update_to_weight": 1 / 3, "zero_share": 0.5,
            },
            "b": {
                "param_norm": 0.0, "m_norm": 4.0, "v_norm": None, "update_norm": 2.0,
                "update_to_weight": None, "zero_share": 1.0,
            },
        },
    }  # fmt: skip


def test_a_session_without_parameters_knows_moments_and_updates(client: Client) -> None:
    session = create(client)
    answer = stepped(client, session, params={"w": [1.0, 2.0]}, grads={"w": [3.0, 4.0]})
    (found,) = health(client, session).values()
    nothing = {"param_norm": None, "update_to_weight": None, "zero_share": None}
    assert found | nothing == found
    assert found["update_norm"] == answer["metrics"]["update_norm"]
    assert found["m_norm"] == pytest.approx(0.5)
    assert found["v_norm"] == pytest.approx(0.001 * np.hypot(9, 16))


def test_numbers_that_json_lacks_are_words(client: Client) -> None:
    session = create(client, "sgd", hold_params=True)
    answer = binary_step(client, session, {"w": np.ones(2)}, {"w": np.array([np.inf, 1.0])})
    assert answer.status_code == 200
    found = health(client, session)["w"]
    assert (found["param_norm"], found["update_norm"], found["update_to_weight"]) == ("Infinity", "NaN", "NaN")


def test_a_session_that_has_not_changed_is_not_read_again(client: Client) -> None:
    session = create(client)
    assert client.get(f"{session}/tensors").json() == {"step": 0, "tensors": {}}
    etag = {"if-none-match": client.get(session).headers["etag"]}
    same = client.get(f"{session}/tensors", headers=etag)
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag["if-none-match"])
    stepped(client, session, params={"w": [1.0]}, grads={"w": [1.0]})
    assert client.get(f"{session}/tensors", headers=etag).status_code == 200


def test_a_query_is_refused(client: Client) -> None:
    problem(client.get(f"{create(client)}/tensors?names=w"), 400, "malformed_query")
