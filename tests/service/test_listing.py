"""The list of sessions: newest first, page by page."""

import pytest
from httpx2 import Client

from tests.service.calls import create, problem


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
    refused = problem(client.get(f"/v1/sessions?{query}"), 400, "malformed_header")
    assert query.partition("=")[0] in refused["detail"]
