"""`Prefer: return=minimal`: a step's answer without parameters, and how the header is read."""

from typing import Any

import pytest
from httpx2 import Client
from optim_client._tensors import decode
from starlette.requests import Request

from app.routes.prefer import prefers_minimal, wait_seconds
from tests.service.calls import W, binary_step, create

GRADS: dict[str, Any] = {"grads": W["grads"]}
MINIMAL = {"prefer": "return=minimal"}


def taken(client: Client, session: str, headers: dict[str, str], **body: Any) -> tuple[dict[str, Any], Any]:
    answer = client.post(f"{session}/steps", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json(), answer.headers


def test_a_minimal_answer_is_the_other_without_params(client: Client) -> None:
    one, other = (create(client, hold_params=True) for _ in range(2))
    whole, plain = taken(client, one, {}, **W)
    short, headers = taken(client, other, MINIMAL, **W)
    assert whole.pop("params")
    assert short == whole
    assert "preference-applied" not in plain
    assert headers["preference-applied"] == "return=minimal"
    assert client.get(f"{other}/params").json() == client.get(f"{one}/params").json()


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("first", [{}, MINIMAL])
def test_a_replay_gives_what_its_own_request_prefers(client: Client, hold: bool, first: dict[str, str]) -> None:
    session, body = create(client, hold_params=hold), {**W, "step": 1}
    answers = [taken(client, session, headers, **body) for headers in (first, {}, MINIMAL, {})]
    (_, one), (whole, two), (short, three), (again, _) = answers
    assert whole == again == {**short, "params": whole["params"]}
    assert "idempotent-replayed" not in one
    assert (two["idempotent-replayed"], three["preference-applied"]) == ("true", "return=minimal")


def test_a_minimal_safetensors_answer_is_metadata_alone(client: Client) -> None:
    session = create(client, hold_params=True)
    answer = binary_step(client, session, W["grads"], W["params"], MINIMAL)
    params, metadata = decode(answer.content, "params")
    assert (answer.status_code, answer.headers["preference-applied"], params) == (200, "return=minimal", {})
    whole = decode(
        binary_step(client, session, W["grads"], headers={"prefer": "return=representation"}).content, "params"
    )
    assert metadata.keys() == whole[1].keys()
    assert whole[0].keys() == {"w"}


def test_a_skipped_step_may_be_answered_minimally(client: Client) -> None:
    session = create(client, on_non_finite="skip")
    short, _ = taken(client, session, MINIMAL, params={"w": [1.0]}, grads={"w": [None]})
    assert short["skipped"]
    assert "params" not in short


@pytest.mark.parametrize(
    ("headers", "minimal"),
    [
        (["return=minimal"], True),
        (["Return = minimal"], True),
        (['return="minimal"'], True),
        (["wait=10, return=minimal; strict"], True),
        (["respond-async", "return=minimal"], True),
        (['other="a, b; return=x", return=minimal'], True),
        (["return=minimal, return=representation"], True),
        (["return=representation, return=minimal"], False),
        (["return=representation"], False),
        (["return=MINIMAL"], False),
        (["return"], False),
        (["wait=10; return=minimal"], False),
        (['other="return=minimal'], False),
        (['other="a, return=minimal, b"'], False),
        (["returns=minimal"], False),
        (["=, ;, ="], False),
        ([""], False),
        ([], False),
    ],
)
def test_preferences_are_read_as_the_rfc_has_them(headers: list[str], minimal: bool) -> None:
    request = Request({"type": "http", "headers": [(b"prefer", header.encode()) for header in headers]})
    assert prefers_minimal(request) is minimal


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=25", 25),
        ("return=minimal, WAIT=3", 3),
        ('wait="7"', 7),
        ("wait=600", 60),
        ("wait=99999999999999999999", 60),
        ("wait=0", 0),
        ("wait=-1", 0),
        ("wait=2.5", 0),
        ("wait=٣", 0),
        ("wait", 0),
        ("", 0),
    ],
)
def test_the_seconds_to_wait_are_whole_and_bounded(header: str, seconds: int) -> None:
    request = Request({"type": "http", "headers": [(b"prefer", header.encode())]})
    assert wait_seconds(request) == seconds
    assert wait_seconds(Request({"type": "http", "headers": []})) == 0
