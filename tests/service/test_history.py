"""The history: one row a step, oldest first, page by page."""

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from httpx2 import Client

from tests.service.calls import W, binary_step, create, problem, serving, stepped

ROW = {
    "step", "loss", "lr", "grad_norm", "update_norm", "param_norm", "clip_scale", "skipped", "duration_ms", "time",
}  # fmt: skip


def rows(client: Client, session: str, **query: int) -> list[dict[str, Any]]:
    answer = client.get(f"{session}/history", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    document: dict[str, list[dict[str, Any]]] = answer.json()
    assert document.keys() == {"history"}
    return document["history"]


def test_a_step_leaves_a_row_with_its_metrics(client: Client) -> None:
    session = create(client, clip={"global_norm": 0.1})
    answer = stepped(client, session, **W, loss=0.53)
    (row,) = rows(client, session)
    assert row.keys() == ROW
    assert answer["metrics"].items() <= row.items()
    assert (row["step"], row["loss"], row["skipped"]) == (1, 0.53, False)
    assert row["duration_ms"] > 0
    updated = client.get(session).json()["updated_at"]
    assert datetime.fromisoformat(row["time"]) == datetime.fromisoformat(updated)


def test_a_session_without_a_step_has_no_history(client: Client) -> None:
    assert rows(client, create(client)) == []


def test_rows_come_oldest_first_page_by_page(client: Client) -> None:
    session = create(client)
    for number in range(1, 8):
        stepped(client, session, **W, loss=number)
    pages, after = [], -1
    while page := rows(client, session, after=after, limit=3):
        pages.append([(row["step"], row["loss"]) for row in page])
        after = page[-1]["step"]
    assert pages == [[(1, 1), (2, 2), (3, 3)], [(4, 4), (5, 5), (6, 6)], [(7, 7)]]
    assert [row["step"] for row in rows(client, session, after=5)] == [6, 7]
    assert rows(client, session, after=7) == []


def test_a_skipped_steps_row_has_the_previous_steps_number(client: Client) -> None:
    session, w, bad = create(client, on_non_finite="skip"), {"w": np.ones(2)}, {"w": np.array([1, np.inf])}
    for grads in (bad, w, bad, bad, w):
        binary_step(client, session, grads, w)
    marks = [(row["step"], row["skipped"]) for row in rows(client, session)]
    assert marks == [(0, True), (1, False), (1, True), (1, True), (2, False)]
    assert [(row["step"], row["skipped"]) for row in rows(client, session, after=0, limit=1)] == marks[1:4]


def test_a_long_history_is_thinned() -> None:
    with serving(history_limit=4) as client:
        session = create(client)
        for _ in range(10):
            stepped(client, session, **W)
        assert [row["step"] for row in rows(client, session)] == [1, 8, 9, 10]


def test_the_last_rows_come_oldest_first(client: Client) -> None:
    session = create(client, on_non_finite="skip")
    assert rows(client, session, last=3) == []
    w, bad = {"w": np.ones(2)}, {"w": np.array([1, np.inf])}
    for grads in (w, w, bad, bad, w):
        binary_step(client, session, grads, w)
    assert rows(client, session, last=5) == rows(client, session, last=10_000) == rows(client, session)
    assert rows(client, session, last=1) == rows(client, session)[-1:]
    assert [(row["step"], row["skipped"]) for row in rows(client, session, last=2)] == [(2, True), (3, False)]


@pytest.mark.parametrize("query", ["last=3&after=1", "last=3&after=-1", "limit=10&last=3", "last=3&limit=1000"])
def test_last_goes_with_nothing_else(client: Client, query: str) -> None:
    refused = problem(client.get(f"{create(client)}/history?{query}"), 400, "malformed_query")
    assert "`last`" in refused["detail"]


@pytest.mark.parametrize(
    "query", ["last=0", "last=-1", "last=10001", "last=", "after=-2", "after=x", "limit=0", "limit=10001", "limit=1.5"]
)
def test_a_page_that_cannot_be_meant_is_refused(client: Client, query: str) -> None:
    refused = problem(client.get(f"{create(client)}/history?{query}"), 400, "malformed_query")
    assert query.partition("=")[0] in refused["detail"]
