"""The rules of retries: the contract's conversations, without a socket, by a clock that only waits move."""

import gc
import json
import logging
import math
import weakref
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from optim_client import APIConnectionError, ForeignAnswer, InvalidAnswer, OptimError, StepConflict, _protocol
from optim_client._options import DEFAULT_RETRY_SECONDS
from optim_client._protocol import Call, Outcome, Patience, Request, Response, perform
from optim_client.errors import APIStatusError

from tests.contract import CONVERSATIONS, ERRORS, RULES

STEP = Request("POST", "/v1/sessions/s/steps", headers={"idempotency-key": '"k"'})


DELETE = Request("DELETE", "/v1/sessions/s")


DONE = Response(200, {}, b"done")


LOST = APIConnectionError("no answer")


REFUSED = APIConnectionError("no connection", sent=False)


UNTRUSTED = APIConnectionError("certificate verify failed", sent=False, may_pass=False)


CONNECTION_ERRORS = {
    "no_answer": LOST,
    "half_answer": LOST,
    "foreign_answer": ForeignAnswer("the answer to another request"),
    "no_connection": REFUSED,
    "untrusted_certificate": UNTRUSTED,
}


TWICE = Patience(math.inf, 2)


FOR_120_SECONDS = Patience(120)


def answer(status: int, body: bytes = b"", /, **headers: str) -> Response:
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


BUSY = answer(409, b'{"code": "session_busy", "detail": "busy"}')


def play(
    request: Request, *outcomes: Outcome, patience: Patience = TWICE, random: float = 0.0, seconds: float = 0.0
) -> tuple[list[float], bytes | OptimError]:
    """Return the pauses before each try, and the result or error. Every outcome is used; a try takes `seconds`."""
    now = 1000.0
    call = Call(request, lambda response: bytes(response.body))
    conversation = perform(call, patience, lambda: now, lambda: random)
    pauses = [next(conversation)]
    for number, outcome in enumerate(outcomes, 1):
        now += pauses[-1] + seconds
        try:
            pauses.append(conversation.send(outcome))
        except StopIteration as end:
            result: bytes | OptimError = end.value
        except OptimError as error:
            result = error
        else:
            continue
        assert number == len(outcomes)
        return pauses, result
    raise AssertionError(f"still trying after {len(outcomes)} tries")


@pytest.mark.parametrize("row", CONVERSATIONS, ids=lambda row: row["name"])
def test_a_conversation_is_as_the_contract_says(row: dict[str, Any]) -> None:
    request = replace(STEP, method=row.get("method", "POST"))
    patience = Patience(limit(row.get("seconds", RULES["seconds"])), limit(row.get("retries")))
    outcomes = list(map(outcome_of, row["tries"]))
    pauses, end = play(
        request, *outcomes, patience=patience, random=row.get("chance", 0.0), seconds=row.get("each_try_takes", 0.0)
    )
    assert pauses == [0, *row["waits"]]
    assert isinstance(end, OptimError) == (row["end"] == "error")


def limit(said: float | None) -> float:
    return math.inf if said is None else said


def outcome_of(said: dict[str, Any]) -> Outcome:
    """Return what one try of a conversation ends in."""
    if "error" in said:
        return CONNECTION_ERRORS[said["error"]]
    problem = json.dumps({"code": said["code"], "detail": "…"}).encode() if "code" in said else b""
    return Response(said["status"], said.get("headers", {}), problem)


def test_the_rules_are_those_of_the_contract() -> None:
    waits = RULES["waits"]
    assert (waits["first"], waits["longest"]) == (_protocol.FIRST_WAIT_SECONDS, _protocol.LONGEST_WAIT_SECONDS)
    assert waits["longest_retry_after"] == _protocol.LONGEST_RETRY_AFTER_SECONDS
    assert set(RULES["statuses"]["final"]) == _protocol.NEVER_MENDED_STATUSES
    assert RULES["seconds"] == DEFAULT_RETRY_SECONDS


def test_the_last_error_is_raised() -> None:
    assert play(STEP, answer(503), LOST, patience=Patience(math.inf, 1)) == ([0, 0.5], LOST)


def test_the_default_time_ends_with_a_last_try() -> None:
    pauses, error = play(STEP, *[LOST] * 34, patience=FOR_120_SECONDS)
    assert error is LOST
    assert sum(pauses) == 120
    assert pauses[-2:] == [4, 0.5]


def test_a_step_conflict_is_raised_at_once() -> None:
    body = b'{"code": "step_conflict", "detail": "step 3 is not the next one", "current_step": 7}'
    for headers in ({}, {"x-should-retry": "false"}):
        pauses, error = play(STEP, Response(409, headers, body), patience=FOR_120_SECONDS)
        assert pauses == [0]
        assert isinstance(error, StepConflict)
        assert error.current_step == 7


@pytest.mark.parametrize("error", [ValueError("no JSON"), KeyError("step"), TypeError("not a dict")])
def test_a_success_that_cannot_be_read_says_so(error: Exception) -> None:
    def read(_: Response) -> None:
        raise error

    conversation = perform(Call(DELETE, read), TWICE)
    next(conversation)
    with pytest.raises(InvalidAnswer, match="DELETE /v1/sessions/s: the answer cannot be read"):
        conversation.send(DONE)


@pytest.mark.parametrize("request_", [STEP, DELETE, Request("GET", "/readyz")])
def test_a_page_with_a_success_is_no_answer(request_: Request) -> None:
    page = Response(200, {"content-type": "text/html; charset=utf-8"}, b"<html>\n <h1>Please log in</h1>")
    _, error = play(request_, page, patience=FOR_120_SECONDS)
    assert isinstance(error, InvalidAnswer)
    assert "login page" in str(error)
    assert "'<html> <h1>Please log in</h1>'" in str(error)


def test_the_log_has_one_line_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    play(STEP, REFUSED, LOST, answer(503), DONE, patience=FOR_120_SECONDS)
    assert [(record.name, record.levelno) for record in caplog.records] == [("optim_client", logging.WARNING)] * 2
    waiting, going_on = (record.getMessage() for record in caplog.records)
    assert waiting == "no connection; trying again, for 120 s"
    assert going_on == "POST /v1/sessions/s/steps: answered, 3.5 s after the first failure, at try 4"


def test_the_log_names_the_call_that_was_refused_for_now(caplog: pytest.LogCaptureFixture) -> None:
    play(STEP, BUSY, DONE)
    assert caplog.messages[0] == "POST /v1/sessions/s/steps: busy (409 session_busy); trying again, 2 times"


def test_the_log_is_silent_where_nothing_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    play(STEP, DONE)
    play(STEP, answer(422))
    play(STEP, LOST, patience=Patience(math.inf, 0))
    assert caplog.records == []


@pytest.mark.parametrize(
    ("patience", "words"),
    [
        (Patience(120), "for 120 s"),
        (Patience(0.5), "for 0.5 s"),
        (Patience(math.inf, 2), "2 times"),
        (Patience(60, 5), "5 times or for 60 s"),
        (Patience(math.inf), "until it works"),
    ],
)
def test_patience_is_said_in_words(patience: Patience, words: str) -> None:
    assert str(patience) == words


def test_a_failure_keeps_nothing_of_the_call_until_a_collection() -> None:
    gc.disable()
    try:

        def read(response: Response) -> bytes:
            return bytes(response.body)

        kept = weakref.ref(read)
        conversation = perform(Call(DELETE, read), TWICE)
        next(conversation)
        with suppress(OptimError):
            conversation.send(answer(404, b'{"code": "session_not_found", "detail": "gone"}'))
        del read, conversation
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("code", ERRORS)
def test_a_client_tries_again_where_the_contract_says_so(code: str) -> None:
    row = ERRORS[code]
    headers = {name.lower(): value or "1" for name, value in row["headers"].items()}
    conversation = perform(Call(Request("POST", "/"), bool), Patience(120), random=lambda: 0.0)
    next(conversation)
    again = True
    try:
        conversation.send(Response(row["status"], headers, json.dumps({"code": code}).encode()))
    except APIStatusError:
        again = False
    assert again == row["again"]
