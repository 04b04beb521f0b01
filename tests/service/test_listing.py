"""The list of sessions: newest first, page by page."""

import pytest
from httpx2 import Client

from app.store.memory import MemoryStore
from tests.service.calls import create, problem, serving


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


def test_a_page_that_ends_with_the_last_session_has_no_next_one(client: Client) -> None:
    made = [create(client) for _ in range(2)]
    page = client.get("/v1/sessions?limit=2").json()
    assert (len(page["sessions"]), page["next_cursor"]) == (2, None)
    assert page["sessions"] == [client.get(session).json() for session in reversed(made)]


def test_a_list_has_twenty_sessions_unless_asked_for_more(client: Client) -> None:
    for _ in range(21):
        create(client)
    assert len(client.get("/v1/sessions").json()["sessions"]) == 20
    assert len(client.get("/v1/sessions?limit=100").json()["sessions"]) == 21


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=ten", "limit=", "cursor=yesterday", "cursor="])
def test_a_page_that_cannot_be_meant_is_refused(client: Client, query: str) -> None:
    refused = problem(client.get(f"/v1/sessions?{query}"), 400, "malformed_query")
    assert query.partition("=")[0] in refused["detail"]


def test_a_damaged_session_is_named_beside_the_others_and_can_be_deleted() -> None:
    store = MemoryStore(10)
    with serving(store, max_sessions=4) as client:
        made = [create(client) for _ in range(3)]
        damaged = made[1].rpartition("/")[2]
        store._heads[damaged] = b"garbage"
        page = client.get("/v1/sessions").json()
        assert page["sessions"] == [client.get(session).json() for session in (made[2], made[0])]
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
