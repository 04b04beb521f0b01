"""The road: the same answers, log lines and metrics as FastAPI's routes, which it stands before."""

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import pytest
from httpx2 import Client

from app.main import create_app
from app.settings import Settings
from app.store.base import Save
from app.store.memory import MemoryStore
from app.web import starting
from app.web.at_once import start
from app.web.phases import FIELDS
from tests.service.calls import SAFETENSORS, W, create, path_of, running
from tests.service.test_auth import row
from tests.web.logs import Logs, captured
from tests.web.sockets import listening

Call: TypeAlias = Callable[[Client, str], httpx2.Response]
JSON = {"content-type": "application/json"}
ETAG = re.compile(r"\d+-[0-9a-f]{12}")
TIME = re.compile(r"\d+-\d\d-\d\dT[\d:.]+Z")
COUNT = re.compile(r"optim_(steps|requests)_total")
GIVEN = {**W, "loss": 0.5}


def post(path: str = "/steps", **sent: Any) -> Call:
    """Return the call that sends that to a session's path."""
    return lambda client, session: client.post(session + path, **sent)


def key(name: str) -> dict[str, str]:
    return {"idempotency-key": f'"{name}"'}


CALLS: dict[str, Call] = {
    "a step": post(json=GIVEN),
    "a step with a key": post(json=W, headers=key("a")),
    "the same again": post(json=W, headers=key("a")),
    "the key with another body": post(json=GIVEN, headers=key("a")),
    "a step with its number": post(json={**W, "step": 3}),
    "a number that is not next": post(json={**W, "step": 9}),
    "another tag": post(json=W, headers={"if-match": '"x"'}),
    "another tensor's shape": post(json={"params": {"w": [1.0]}, "grads": {"w": [1.0]}}),
    "a NaN": post(json={**W, "grads": {"w": ["NaN", 1.0]}}),
    "no JSON": post(content=b"{", headers=JSON),
    "no body": post(),
    "no media type": post(content=b"{}"),
    "an unknown media type": post(content=b"{}", headers={"content-type": "text/plain"}),
    "an answer that no codec writes": post(json=W, headers={"accept": "text/plain"}),
    "an answer in the other form": post(json=W, headers={"accept": SAFETENSORS}),
    "safetensors that are none": post(content=b"{}", headers={"content-type": SAFETENSORS}),
    "an id for the request": post(json=W, headers={"x-request-id": "mine"}),
    "a query": post("/steps?a=1", json=W),
    "an empty query": post("/steps?", json=W),
    "another host": post(json=W, headers={"host": "evil.example"}),
    "another site": post(json=W, headers={"origin": "https://evil.example"}),
    "an unknown session": lambda client, _: client.post(f"/v1/sessions/{'0' * 32}/steps", json=W),
    "an id with a slash": lambda client, _: client.post("/v1/sessions/a%2Fb/steps", json=W),
    "an id with a line feed": lambda client, _: client.post("/v1/sessions/a%0Ab/steps", json=W),
    "no id": lambda client, _: client.post("/v1/sessions//steps", json=W),
    "a slash at the end": post("/steps/", json=W),
    "a reading": lambda client, session: client.get(f"{session}/steps"),
    "a head": lambda client, session: client.head(f"{session}/steps"),
    "an end": lambda client, session: client.delete(session),
    "a session that is gone": post(json=W),
}


def put(path: str, **sent: Any) -> Call:
    """Return the call that contributes that, to a path of a session with the worker `a`, who has the epoch 1."""
    return lambda client, session: client.put(f"{session}/{path}", **{"json": {**G, "epoch": 1}, **sent})


G = {"grads": {"w": [0.5, -0.25]}}
ROUND = "rounds/1/contributions/a"
CONTRIBUTIONS: dict[str, Call] = {
    "a worker": put("workers/a", json={}),
    "another worker": put("workers/b", json={}),
    "a contribution that waits": put(ROUND),
    "the same again": put(ROUND),
    "another one": put(ROUND, json={"grads": {"w": [1.0, 1.0]}, "epoch": 1}),
    "no epoch": put(ROUND, json=G),
    "a round that is not open": put("rounds/9/contributions/a"),
    "a number that is none": put("rounds/x/contributions/a"),
    "a worker that is none": put("rounds/1/contributions/c"),
    "a name with a slash": put("rounds/1/contributions/a%2Fb"),
    "a name of other letters": put("rounds/1/contributions/%C3%A4"),
    "no media type": put(ROUND, json=None, content=b"{}"),
    "a query": put(f"{ROUND}?a=1"),
    "a reading": lambda client, session: client.get(f"{session}/{ROUND}"),
    "the last one": put("rounds/1/contributions/b", json={**G, "epoch": 2}, headers={"prefer": "wait=9"}),
    "the mode of another session": put("contributions/a/1", json={**G, "epoch": 1, "base_step": 0}),
    "no number": put("contributions/a/1.5"),
    "a plain step": post(json=G),
}


class Failing(MemoryStore):
    """A store that fails at a save as no store should."""

    async def save(self, save: Save) -> None:
        if save.row:
            raise ZeroDivisionError("deep inside")
        await super().save(save)


@contextmanager
def service(
    *, road: bool, at_once: bool = False, store: MemoryStore | None = None, **settings: Any
) -> Iterator[Client]:
    """The service with its road or without; `at_once` is behind a socket, where a small step starts at once."""
    app = create_app(Settings(store="memory:", **settings), store)
    if not road:
        app.road = None
    if at_once:
        with listening(app) as (host, port), Client(base_url=f"http://{host}:{port}") as client:
            yield client
    else:
        with running(app) as client:
            yield client


def told(logs: Logs, session: str) -> list[dict[str, Any]]:
    """Return the log lines without what differs from run to run."""
    varying = (*FIELDS, "ms", "timestamp", "request_id", "exception")
    lines = [{name: value for name, value in line.items() if name not in varying} for line in logs.lines()]
    return [{**line, "session": line.get("session") == session.rpartition("/")[2]} for line in lines]


def shown(answer: httpx2.Response, session: str) -> tuple[Any, ...]:
    """Return an answer without what differs from run to run."""
    varying = {"date", "etag", "server"} | ({"x-request-id"} if answer.headers["x-request-id"] != "mine" else set())
    headers = sorted((name, value) for name, value in answer.headers.multi_items() if name not in varying)
    text = TIME.sub("TIME", ETAG.sub("ETAG", answer.text.replace(session.rpartition("/")[2], "ID")))
    return answer.status_code, headers, "etag" in answer.headers, text


def outcomes(
    calls: Mapping[str, Call] = CALLS, *, road: bool, at_once: bool = False, workers: Any = None
) -> dict[str, Any]:
    with captured() as logs, service(road=road, at_once=at_once) as client:
        session = create(client, on_non_finite="reject", hold_params=workers is not None, workers=workers)
        if workers:
            client.put(f"{session}/params", json={"params": W["params"]})
        found = {name: shown(call(client, session), session) for name, call in calls.items()}
        counts = [
            line for line in client.get("/metrics").text.splitlines() if re.match(r"optim_(steps|requests)_", line)
        ]
    lines = [line for line in told(logs, session) if line["event"] == "request"]  # now: a line may follow its answer
    return {**found, "lines": lines, "metrics": [line for line in counts if "_created" not in line]}


def test_the_road_answers_as_the_route() -> None:
    by_road, by_route = outcomes(road=True), outcomes(road=False)
    for name, outcome in by_route.items():
        assert by_road[name] == outcome, name
    statuses = {name: by_road[name][0] for name in CALLS}
    assert (statuses["a step"], statuses["the same again"], statuses["a query"]) == (200, 200, 400)


def test_the_road_takes_contributions_as_the_route() -> None:
    by_road, by_route = (outcomes(CONTRIBUTIONS, road=road, workers={"expected": 2}) for road in (True, False))
    for name, outcome in by_route.items():
        assert by_road[name] == outcome, name
    statuses = [by_road[name][0] for name in ("a contribution that waits", "a query", "the last one", "a reading")]
    assert statuses == [202, 400, 200, 405]


@pytest.mark.long
def test_steps_at_once_answer_as_the_route(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = []
    monkeypatch.setattr(starting, "start", lambda work, loop: tasks.append(start(work, loop)))
    at_once, by_route = outcomes(road=True, at_once=True), outcomes(road=False)
    for name, outcome in by_route.items():
        assert at_once[name] == outcome, name
    assert len(tasks) > 10
    assert set(tasks) == {None}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("road", [True, False], ids=["road", "route"])
def test_keys_and_rates_hold_on_both(tmp_path: Path, road: bool) -> None:
    file = tmp_path / "keys.json"
    rows = [row("works", role="write"), row("looks", role="read")]
    file.write_text(json.dumps({"keys": rows}))
    with service(road=road, api_keys_file=file, rate_limit="3/hour") as client:
        made = client.post("/v1/sessions", json={"optimizer": "adamw"}, headers=bearer("works"))
        path = f"{path_of(made)}/steps"
        said = [
            client.post(path, json=W, headers=bearer(name)) for name in ("works", "looks", "nobody", "works", "works")
        ]
    assert [answer.status_code for answer in said] == [200, 403, 401, 200, 429]
    assert "ratelimit" in said[0].headers


@pytest.mark.parametrize("road", [True, False], ids=["road", "route"])
def test_an_unexpected_error_is_a_problem_on_both(road: bool) -> None:
    with captured() as logs, service(road=road, store=Failing(100)) as client:
        session = create(client)
        answer = post(json=W)(client, session)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "ZeroDivisionError: deep inside" in logs.text()


@pytest.mark.parametrize("first", ["/livez", "/v1/none", "/v1/sessions"])
def test_a_head_is_answered_before_the_step_behind_it(first: str) -> None:
    app = create_app(Settings(store="memory:"))
    with listening(app) as (host, port), Client(base_url=f"http://{host}:{port}") as client:
        body = json.dumps(W).encode()
        head = f"HEAD {first} HTTP/1.1\r\nHost: {host}\r\nX-Request-ID: head\r\n\r\n"
        step = (
            f"POST {create(client)}/steps HTTP/1.1\r\nHost: {host}\r\nX-Request-ID: step\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection((host, port), timeout=10) as link:
            link.sendall(head.encode() + step.encode() + body)
            answers = b""
            while answers.count(b"x-request-id: ") < 2:
                answers += link.recv(1 << 16)
        assert re.findall(rb"x-request-id: (\w+)", answers) == [b"head", b"step"]
