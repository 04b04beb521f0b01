"""Query parameters: what a route does not know is refused, before anything is done."""

from typing import Any

import pytest
from httpx2 import Client

from app.main import create_app
from app.settings import Settings
from tests.service.calls import W, create, problem, step, stepped

ROUTES = [
    (method.upper(), path)
    for path, item in create_app(Settings(store="memory:")).openapi()["paths"].items()
    for method in item
]


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "/docs"), ("GET", "/openapi.json"), ("HEAD", "/livez")])
@pytest.mark.parametrize("query", ["dry_run=true", "force", "=", "Limit=1", "limit%20=1", "labels.run=a", "%00"])
def test_an_unknown_parameter_is_refused_on_every_route(client: Client, method: str, path: str, query: str) -> None:
    session = create(client, hold_params=True)
    stepped(client, session, **W)
    before = client.get(f"{session}/state").content
    answer = client.request(
        method, f"{path.format(session_id=session[-32:], worker='a', round_number=1, seq=1)}?{query}"
    )
    assert answer.status_code == 400
    if method != "HEAD":
        assert "unknown query parameter" in problem(answer, 400, "malformed_query")["detail"]
    assert client.get(f"{session}/state").content == before
    assert len(client.get("/v1/sessions").json()["sessions"]) == 1


def test_an_unknown_parameter_takes_no_step_and_deletes_nothing(client: Client) -> None:
    session = create(client)
    for answer in (client.post(f"{session}/steps?dry_run=true", json=W), client.delete(f"{session}?force=false")):
        assert "this route takes none" in problem(answer, 400, "malformed_query")["detail"]
    assert client.get(session).json()["step"] == 0


def test_a_refusal_names_the_parameter_and_those_there_are(client: Client) -> None:
    refused = problem(client.get("/v1/sessions?limits=1"), 400, "malformed_query")
    assert refused["detail"].startswith(
        "unknown query parameter 'limits'; expected one of label, limit, cursor, optimizer"
    )


@pytest.mark.parametrize("query", ["limit=1&limit=1", "limit=1&limit=2", "limit=1&cursor=&limit=1"])
def test_a_parameter_that_stands_twice_is_refused(client: Client, query: str) -> None:
    refused = problem(client.get(f"/v1/sessions?{query}"), 400, "malformed_query")
    assert "'limit' was sent twice" in refused["detail"]


@pytest.mark.parametrize("query", ["limit=%FF", "%FF=1", "cursor=%C3"])
def test_a_query_that_is_no_utf8_is_refused(client: Client, query: str) -> None:
    assert "UTF-8" in problem(client.get(f"/v1/sessions?{query}"), 400, "malformed_query")["detail"]


@pytest.mark.parametrize(
    "value", ["0", "101", "ten", "", "1.5", "1e1", "%203", "3%20", "%2B3", "1_0", "%D9%A3", "9" * 9999]
)
def test_a_value_that_cannot_be_meant_is_refused_with_it(client: Client, value: str) -> None:
    refused = problem(client.get(f"/v1/sessions?limit={value}"), 400, "malformed_query")
    assert refused["detail"].startswith("query parameter limit is ")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", "limit is '0': it must be 1 or more"),
        ("limit=101", "limit is '101': it must be 100 or less"),
        ("limit=ten", "limit is 'ten': it must be a whole number"),
        ("cursor=abc", "cursor is 'abc': it must be the `next_cursor` of the answer before"),
    ],
)
def test_a_wrong_value_is_refused_with_the_way_out(client: Client, query: str, words: str) -> None:
    refused = problem(client.get(f"/v1/sessions?{query}"), 400, "malformed_query")
    assert refused["detail"] == f"query parameter {words}"


def test_another_digest_than_none_is_refused_with_the_way_out(client: Client) -> None:
    refused = problem(client.put(f"{create(client)}/state?digest=no"), 400, "malformed_query")
    assert refused["detail"] == "query parameter digest is 'no': it must be none"


@pytest.mark.parametrize("query", ["", "?", "?&", "?limit=5&", "?%6Cimit=5"])
def test_a_query_that_says_the_same_otherwise_is_taken(client: Client, query: str) -> None:
    assert client.get(f"/v1/sessions{query}").status_code == 200


def test_a_caller_without_a_session_learns_of_the_query_first(client: Client) -> None:
    nothing: dict[str, Any] = {"path": "/v1/sessions/" + "0" * 32}
    problem(client.get(f"{nothing['path']}?view=eval"), 400, "malformed_query")
    problem(step(client, nothing["path"], **W), 404, "session_not_found")
