"""The metrics of requests."""

import json

from httpx2 import Client

from app.errors import ERRORS
from app.main import create_app
from app.metrics.requests import RequestMetrics
from app.metrics.sharing import numbers_of
from app.settings import Settings
from tests.service.calls import create, problem, step
from tests.service.followers import following
from tests.web.sockets import Wire, listening, post, wait_until


def test_requests_are_counted_with_their_time_and_refusal() -> None:
    metrics = RequestMetrics()
    metrics.count("GET", "/x", 200, 0.02, None)
    metrics.count("GET", "/x", 200, 0.2, None)
    metrics.count("GET", "/x", 404, 0.2, "session_not_found")
    numbers = numbers_of(metrics.families)
    assert numbers["optim_requests"] == {("GET", "/x", "200"): [2], ("GET", "/x", "404"): [1]}
    assert {code: count for (code,), [count] in numbers["optim_errors"].items()} == {
        code: code == "session_not_found" for code in ERRORS
    }
    assert sum(numbers["optim_request_seconds"]["/x",][:-1]) == 3


def test_refusals_are_counted_by_code(client: Client) -> None:
    session = create(client)
    for _ in range(2):
        problem(step(client, session, params={}, grads={}, step=9), 409, "step_conflict")
    assert 'optim_errors_total{code="step_conflict"} 2.0' in client.get("/metrics").text


def test_bytes_of_bodies_are_counted_at_the_socket() -> None:
    app = create_app(Settings(store="memory:"))
    with listening(app) as address, Wire(address) as wire:
        sent, received = 0, 0
        for body in (b'{"optimizer": "sgd"}', b'{"optimizer": "adam"}', b"{"):
            wire.send(post("/v1/sessions", body, content_type="application/json"))
            received += len(wire.answer()[1])
            sent += len(body)
        traffic = app.state.service.metrics.requests.traffic
        assert (traffic.received, traffic.sent) == (sent, received)


def test_a_step_counts_its_bytes_however_it_is_answered() -> None:
    app = create_app(Settings(store="memory:"))
    with listening(app) as (host, port), Client(base_url=f"http://{host}:{port}") as client:
        session = create(client)
        traffic = app.state.service.metrics.requests.traffic
        before = traffic.received, traffic.sent
        answer = step(client, session, params={"w": [1.0]}, grads={"w": [0.5]})
        sent = len(answer.request.content)
        assert json.loads(answer.content)["step"] == 1
        assert (traffic.received - before[0], traffic.sent - before[1]) == (sent, len(answer.content))


def test_a_stream_of_events_is_counted_without_its_time() -> None:
    app = create_app(Settings(store="memory:"))
    with listening(app) as (host, port), Client(base_url=f"http://{host}:{port}") as client:
        session = create(client)
        with following(client, session) as follower:
            follower.next()
        route = "/v1/sessions/{session_id}/events"
        counted = f'optim_requests_total{{method="GET",route="{route}",status="200"}} 1.0'
        wait_until(lambda: counted in client.get("/metrics").text, lambda: client.get("/metrics").text)
        assert f'optim_request_seconds_count{{route="{route}"}}' not in client.get("/metrics").text
