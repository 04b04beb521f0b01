"""The errors of `errors.json`: a client hands each one on with its members, and tries again where it may."""

import json
from typing import Any

import pytest

from tests.client.scripted import Answer
from tests.clients.conversations import Caller, Limits, play
from tests.contract import ERRORS, MEDIA_TYPE

VALUES: dict[str, Any] = {
    "tensor": 'größe/0\n"w"',
    "index": [0, 12],
    "current_step": 41,
    "applied_as_step": 7,
    "skipped": False,
    "undone": True,
    "limit": 1 << 40,
    "expected": {"shape": [2, 3], "dtype": "float32"},
    "got": "float16",
    "where": "groups[0].lr",
    "step": 42,
    "piece": "m/1",
    "round": 43,
    "fate": "dropped",
    "reason": "late",
    "have": 2,
    "need": 3,
    "worker": "gpu-3",
    "staleness": 9,
}
"""A value for each member that an error may have."""
DETAIL = 'what happened: "größe" is 1e-5 \\ 2 😀'


def problem(code: str) -> dict[str, Any]:
    """Return the problem document of an error, with all of its members."""
    status = ERRORS[code]["status"]
    standard = {"type": f"urn:optim:error:{code}", "title": "…", "status": status, "detail": DETAIL, "code": code}
    return {**standard, **{member: VALUES[member] for member in ERRORS[code]["members"]}}


@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize("ascii_", [False, True], ids=["utf-8", "escaped"])
def test_an_error_reaches_the_user_whole(caller: Caller, code: str, ascii_: bool) -> None:
    row = ERRORS[code]
    headers = {"Content-Type": MEDIA_TYPE} | {name: value or "1" for name, value in row["headers"].items()}
    error = Answer(row["status"], json.dumps(problem(code), ensure_ascii=ascii_).encode(), headers)
    played = play(caller, [error] * (2 if row["again"] else 1), "POST", Limits(retries=1))
    assert (played.end["end"], played.end["status"], played.end["code"]) == ("error", row["status"], code)
    assert played.end["detail"] == DETAIL
    assert played.end["members"] == {member: VALUES[member] for member in row["members"]}
    assert played.end["request_id"] == played.seen[-1].headers["x-request-id"]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>\n<h1>Bad Gateway</h1>", b"\xff\xfe", b"[1, 2]", b'"text"', b"null", b'{"code": 5}', b'{"code": "a'],
)
def test_a_proxys_page_is_an_error_without_a_code(caller: Caller, body: bytes) -> None:
    played = play(caller, [Answer(418, body)], "GET", Limits(retries=0))
    assert (played.end["end"], played.end["status"], played.end["code"]) == ("error", 418, None)
    assert played.end["detail"]
