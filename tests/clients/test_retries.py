"""The conversations of `retries.json`, on real sockets, by a clock that only the waits move."""

import json
import math
import ssl
from collections.abc import Mapping
from typing import Any

import pytest
import trustme

from tests.client.raw import RawServer, answer, answers
from tests.client.scripted import Answer
from tests.clients.conversations import Caller, Limits, Played, play
from tests.contract import CONVERSATIONS, MEDIA_TYPE, RULES

UNTRUSTED = [row for row in CONVERSATIONS if {"error": "untrusted_certificate"} in row["tries"]]
PLAYED = [row for row in CONVERSATIONS if row not in UNTRUSTED]
WRITES = ("POST", "DELETE")


def limits_of(row: Mapping[str, Any]) -> Limits:
    seconds, retries = row.get("seconds", RULES["seconds"]), row.get("retries")
    infinite = {None: math.inf}
    return Limits(
        infinite.get(seconds, seconds),
        infinite.get(retries, retries),
        row.get("chance", 0.0),
        row.get("each_try_takes", 0.0),
    )


def answer_of(said: Mapping[str, Any]) -> Answer | None:
    """Return the server's part of a try."""
    match said:
        case {"error": "no_answer"}:
            return None
        case {"error": "half_answer"}:
            return Answer(200, b'{"half": true}', cut=5)
        case {"error": "foreign_answer"}:
            return Answer(200, b"{}", echo=-2)
    headers = said.get("headers", {})
    if "code" in said:
        problem = {"code": said["code"], "detail": "what happened"}
        return Answer(said["status"], json.dumps(problem).encode(), {"Content-Type": MEDIA_TYPE, **headers})
    return Answer(said["status"], b"" if said["status"] == 304 else b"{}", headers)


@pytest.mark.parametrize("row", PLAYED, ids=lambda row: row["name"])
def test_a_call_waits_and_ends_as_the_contract_says(caller: Caller, row: dict[str, Any]) -> None:
    refused = row["tries"].count({"error": "no_connection"})
    answers = [answer_of(said) for said in row["tries"][refused:]]
    played = play(caller, answers, row.get("method", "POST"), limits_of(row), refused)
    assert played.waits == pytest.approx(row["waits"])
    assert played.end["end"] == row["end"]
    assert played.end["status"] == row["tries"][-1].get("status")
    assert len(played.seen) == len(answers)
    check_requests(played, row.get("method", "POST"))


def check_requests(played: Played, method: str) -> None:
    """Check what all tries of a call must share, and what each must have of its own."""
    ids = [seen.headers["x-request-id"] for seen in played.seen]
    assert len(set(ids)) == len(ids)
    for seen in played.seen:
        assert seen.method == method
        assert seen.body == played.seen[0].body == (b"{}" if method == "POST" else b"")
        assert "transfer-encoding" not in seen.headers
    if method in WRITES:
        keys = {seen.headers["idempotency-key"] for seen in played.seen}
        assert len(keys) <= 1
        assert all(len(key) > 2 and key[0] == key[-1] == '"' for key in keys)


def test_every_call_has_a_key_of_its_own(caller: Caller) -> None:
    calls = [play(caller, [Answer(200, b"{}")], "POST", Limits()) for _ in range(2)]
    first, second = (call.seen[0].headers["idempotency-key"] for call in calls)
    assert first != second


@pytest.mark.parametrize("row", UNTRUSTED, ids=lambda row: row["name"])
def test_an_untrusted_certificate_ends_the_call(caller: Caller, row: dict[str, Any]) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with RawServer(answers(answer(b"{}")), tls=context) as server:
        waits, end = caller.call(server.url, "POST", limits_of(row), lambda: None)
    assert (waits, end["end"], end["status"], end["code"]) == ([], "error", None, None)
    assert end["detail"]
