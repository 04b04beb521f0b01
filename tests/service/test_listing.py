"""The list of sessions: newest first, page by page."""

from typing import Any

import pytest
from httpx2 import Client

from app import listing
from app.store.base import Head, Unreadable
from app.store.memory import MemoryStore
from tests.service.calls import create, problem, serving, stepped, summary_of


def test_sessions_are_listed_newest_first_page_by_page(client: Client) -> None:
    made = [create(client, labels={"n": str(n)}).rpartition("/")[2] for n in range(25)]
    pages: list[list[str]] = []
    cursor = None
    while True:
        page = client.get("/v1/sessions", params={"limit": 10} | ({"cursor": cursor} if cursor else {})).json()
        pages.append([session["id"] for session in page["sessions"]])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [name for page in pages for name in page] == made[::-1]


def test_a_page_with_the_last_session_has_no_next_cursor(client: Client) -> None:
    made = [create(client) for _ in range(2)]
    page = client.get("/v1/sessions?limit=2").json()
    assert (len(page["sessions"]), page["next_cursor"]) == (2, None)
    assert page["sessions"] == [summary_of(client.get(session).json(), 0) for session in reversed(made)]


def test_a_list_has_twenty_sessions_unless_asked_for_more(client: Client) -> None:
    for _ in range(21):
        create(client)
    assert len(client.get("/v1/sessions").json()["sessions"]) == 20
    assert len(client.get("/v1/sessions?limit=100").json()["sessions"]) == 21


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=ten", "limit=", "cursor=yesterday", "cursor="])
def test_a_page_that_cannot_be_meant_is_refused(client: Client, query: str) -> None:
    refused = problem(client.get(f"/v1/sessions?{query}"), 400, "malformed_query")
    assert query.partition("=")[0] in refused["detail"]


def test_a_listed_session_has_its_size_and_not_its_tensors(client: Client) -> None:
    session = create(client, groups=[{"match": ["w", "norm*"], "weight_decay": 0.0}], hold_params=True)
    tensors = {"w": [1.0, 2.0], "b": 1.0}
    stepped(client, session, params=tensors, grads=tensors)
    (listed,) = client.get("/v1/sessions").json()["sessions"]
    data = len(client.get(f"{session}/state").content)
    assert listed == summary_of(client.get(session).json(), listed["state_bytes"])
    assert listed["tensor_count"] == 2
    assert 3 * 3 * 4 <= listed["state_bytes"] < data
    assert listed["warnings"] == ["groups: the pattern 'norm*' matches no tensor"]


def pages(client: Client, query: str) -> list[list[str]]:
    """The names of the sessions of each page."""
    found, cursor = list[list[str]](), ""
    while True:
        page = client.get(f"/v1/sessions?{query}{cursor}").json()
        found.append([session["labels"]["n"] for session in page["sessions"]])
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "x": {"labels": {"run": "x"}},
    "y": {"labels": {"run": "y"}},
    "x of lab": {"labels": {"run": "x", "team": "lab"}},
    "a time": {"labels": {"at": "12:30:00", "": "empty", "none": ""}},
    "sgd": {"optimizer": "sgd", "labels": {"run": "x"}},
}
FILTERS: list[tuple[str, list[str]]] = [
    ("label=run:x", ["sgd", "x of lab", "x"]),
    ("label=run:x&label=team:lab", ["x of lab"]),
    ("label=run:x&label=run:x", ["sgd", "x of lab", "x"]),
    ("label=run:x&label=run:y", []),
    ("label=run:X", []),
    ("label=run:", []),
    ("label=run:*", []),
    ("label=at:12:30:00", ["a time"]),
    ("label=at%3A12%3A30%3A00", ["a time"]),
    ("label=:empty", ["a time"]),
    ("label=none:", ["a time"]),
    ("optimizer=sgd", ["sgd"]),
    ("optimizer=sgd&label=run:y", []),
    ("optimizer=adamw&label=run:x", ["x of lab", "x"]),
    ("optimizer=rmsprop", []),
]


@pytest.mark.parametrize(("query", "expected"), FILTERS)
def test_sessions_are_listed_by_label_and_optimizer(client: Client, query: str, expected: list[str]) -> None:
    for name, settings in RUNS.items():
        create(client, **settings | {"labels": settings.get("labels", {}) | {"n": name}})
    assert pages(client, query) == [expected]
    assert [name for page in pages(client, f"limit=1&{query}") for name in page] == expected


@pytest.mark.parametrize("query", ["label=run", "label=", "label=run:x&label=y", "optimizer=adamx", "optimizer="])
def test_a_filter_that_no_session_can_fit_is_refused(client: Client, query: str) -> None:
    refused = problem(client.get(f"/v1/sessions?{query}"), 400, "malformed_query")
    assert refused["detail"].startswith(f"query parameter {query.partition('=')[0]} is ")


class CountingStore(MemoryStore):
    """Counts the heads that it gives at a time."""

    def __init__(self, history_limit: int) -> None:
        super().__init__(history_limit)
        self.given: list[int] = []

    async def list(self, tenant: str, limit: int, before: str | None = None) -> list[Head | Unreadable]:
        heads = await super().list(tenant, limit, before)
        self.given.append(len(heads))
        return heads


def test_a_page_looks_at_a_bounded_number_of_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    store = CountingStore(10)
    with serving(store) as client:
        for n in range(100):
            create(client, labels={"n": str(n)})
        monkeypatch.setattr(listing, "PAGE_WORK", 20 * listing.LEAST_WORK)
        assert pages(client, "label=n:50&limit=100") == [[], [], ["50"], [], []]
        assert max(store.given) <= 17
        monkeypatch.setattr(listing, "PAGE_WORK", 1)
        assert [len(page) for page in pages(client, "limit=100")] == [1] * 100


def test_large_sessions_take_more_of_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as client:
        for n in range(4):
            session = create(client, labels={"n": str(n)}, groups=[{"match": [f"p{i}" for i in range(9)]}])
            tensors = dict.fromkeys((f"w{i}" for i in range(100)), 1.0)
            stepped(client, session, params=tensors, grads=tensors)
        monkeypatch.setattr(listing, "PAGE_WORK", 5 * listing.LEAST_WORK)
        assert pages(client, "limit=100") == [["3", "2"], ["1", "0"]]


def test_an_unreadable_session_is_listed_under_every_filter() -> None:
    store = MemoryStore(10)
    with serving(store) as client:
        damaged = create(client)
        store._heads[damaged[-32:]] = b"garbage"
        page = client.get("/v1/sessions?label=run:x").json()
        assert (page["sessions"], [lost["id"] for lost in page["unreadable"]]) == ([], [damaged[-32:]])


def test_a_damaged_session_is_listed_and_can_be_deleted() -> None:
    store = MemoryStore(10)
    with serving(store, max_sessions=4) as client:
        made = [create(client) for _ in range(3)]
        damaged = made[1].rpartition("/")[2]
        store._heads[damaged] = b"garbage"
        page = client.get("/v1/sessions").json()
        assert page["sessions"] == [summary_of(client.get(session).json(), 0) for session in (made[2], made[0])]
        assert page["unreadable"] == [{"id": damaged, "code": "state_damaged"}]
        pages = [client.get(f"/v1/sessions?limit=1{more}").json() for more in ("", f"&cursor={made[2][-32:]}")]
        assert [page["next_cursor"] for page in pages] == [made[2][-32:], damaged]
        create(client)  # it counts as one, and hides no quota
        problem(client.post("/v1/sessions", json={"optimizer": "sgd"}), 403, "quota_exceeded")
        problem(client.get(made[1]), 500, "state_damaged")
        assert client.delete(made[1]).status_code == 204
        assert "unreadable" not in client.get("/v1/sessions").json()


def test_a_damaged_session_of_another_tenant_is_not_found() -> None:
    store = MemoryStore(10)
    with serving(store) as client:
        session = create(client)
        store._heads[session[-32:]] = b"garbage"
        store._tenants[session[-32:]] = "another"
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/history"), ("GET", "/state")):
            problem(client.request(method, session + path), 404, "session_not_found")
        assert store._heads[session[-32:]] == b"garbage"
