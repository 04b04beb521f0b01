"""The history thinned for a plot, with its marks, as it is answered."""

import asyncio

import numpy as np
import pytest
from httpx2 import Client

from app.row_columns import CURVES, read
from app.store.memory import MemoryStore
from tests.service.calls import W, binary_step, create, problem, serving, stepped


def test_points_thin_the_history_and_bring_the_marks(client: Client) -> None:
    session = create(client, undo=1)
    for number in range(1, 31):
        stepped(client, session, **W, loss=1000 if number == 17 else number)
    client.patch(session, json={"hyperparameters": {"lr": 0.5}})
    client.post(f"{session}/undo", json={"step": 30})
    answer = client.get(f"{session}/history", params={"points": 8})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert len(document["history"]) <= 12
    losses = {row["step"]: row["loss"] for row in document["history"]}
    assert (losses[1], losses[17], losses[30]) == (1, 1000, 30)
    assert [mark["event"] for mark in document["marks"]] == ["settings", "undo"]
    assert document["marks"][0]["changed"]["hyperparameters.lr"][1] == 0.5


def test_the_number_is_where_the_events_go_on(client: Client) -> None:
    session = create(client)
    stepped(client, session, **W)
    number = client.get(f"{session}/history", params={"points": 8}).json()["number"]
    tag = client.get(session).headers["etag"]
    assert tag.startswith(f'"{number}-')
    stepped(client, session, **W)
    assert client.get(f"{session}/history", params={"points": 8}).json()["number"] == number + 1


def test_one_point_is_the_last_row(client: Client) -> None:
    session = create(client)
    for number in range(1, 4):
        stepped(client, session, **W, loss=number)
    rows = client.get(f"{session}/history", params={"points": 1}).json()["history"]
    assert [row["loss"] for row in rows] == [3]


@pytest.mark.parametrize(
    "query", [{"points": 0}, {"points": 10_001}, {"points": 8, "last": 2}, {"points": 8, "after": 1}]
)
def test_points_go_with_nothing_else(client: Client, query: dict[str, int]) -> None:
    answer = client.get(f"{create(client)}/history", params=query)
    problem(answer, 400, "malformed_query")


def test_unwritten_rows_have_the_columns_of_their_json() -> None:
    store = MemoryStore(100)
    with serving(store) as client:
        session = create(client, on_non_finite="skip")
        for loss, w in ((1.5, 1.0), (None, 2.0), (2.5, float("inf"))):
            binary_step(
                client, session, {"w": np.array([w])}, {"w": np.ones(1)}, **({} if loss is None else {"loss": loss})
            )
    given = asyncio.run(store.given(session.rsplit("/", 1)[1], -1, 9))
    assert [callable(row.__dict__["body"]) for row in given] == [True] * 3
    found, written = read(given), read([row.body for row in given])
    for name in ("kind", "step", *CURVES):
        np.testing.assert_equal(found[name], written[name])
