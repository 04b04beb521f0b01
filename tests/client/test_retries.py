"""The rules of `_protocol.py`, without a socket, by a clock that moves with the waits alone."""

import dataclasses
import gc
import logging
import math
import weakref
from contextlib import suppress

import pytest
from optim_client import APIConnectionError, APIStatusError, InvalidAnswer, OptimError, StepConflict
from optim_client._protocol import Call, Outcome, Patience, Request, Response, perform

STEP = Request("POST", "/v1/sessions/s/steps", headers={"idempotency-key": '"k"'})
DELETE = Request("DELETE", "/v1/sessions/s")
DONE = Response(200, {}, b"done")
LOST = APIConnectionError("no answer")
REFUSED = APIConnectionError("no connection", sent=False)
TWICE = Patience(math.inf, 2)
FOR_120_SECONDS = Patience(120)


def answer(status: int, body: bytes = b"", /, **headers: str) -> Response:
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


BUSY = answer(409, b'{"code": "session_busy", "detail": "busy"}')


def play(
    request: Request, *outcomes: Outcome, patience: Patience = TWICE, random: float = 0.0, seconds: float = 0.0
) -> tuple[list[float], bytes | OptimError]:
    """The pauses before each try, and what came of it; each outcome must be asked for. A try takes `seconds`."""
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


def test_a_success_is_taken_at_once() -> None:
    assert play(STEP, DONE) == ([0], b"done")


@pytest.mark.parametrize("bad", [LOST, REFUSED, BUSY, *map(answer, (408, 429, 500, 502, 503, 504, 599))])
def test_what_may_pass_is_tried_again(bad: Outcome) -> None:
    assert play(STEP, bad, DONE) == ([0, 0.5], b"done")
    assert play(STEP, bad, DONE, patience=FOR_120_SECONDS) == ([0, 0.5], b"done")


@pytest.mark.parametrize("status", [301, 304, 400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 421, 422, 501, 505])
def test_what_stays_wrong_is_not_tried_again(status: int) -> None:
    pauses, error = play(STEP, answer(status), patience=FOR_120_SECONDS)
    assert pauses == [0]
    assert isinstance(error, APIStatusError)
    assert error.status == status


def test_a_connection_that_can_never_be_is_not_tried_again() -> None:
    untrusted = APIConnectionError("certificate verify failed", sent=False, may_pass=False)
    assert play(STEP, untrusted, patience=FOR_120_SECONDS) == ([0], untrusted)


def test_after_two_retries_the_last_error_is_raised() -> None:
    pauses, error = play(STEP, LOST, answer(503), answer(500))
    assert pauses == [0, 0.5, 1]
    assert isinstance(error, APIStatusError)
    assert error.status == 500


def test_without_retries_the_first_error_is_raised() -> None:
    assert play(STEP, LOST, patience=Patience(math.inf, 0)) == ([0], LOST)
    assert play(STEP, LOST, patience=Patience(0)) == ([0], LOST)


def test_waits_double_up_to_four_seconds() -> None:
    pauses, _ = play(STEP, *[LOST] * 8, patience=Patience(math.inf, 7))
    assert pauses == [0, 0.5, 1, 2, 4, 4, 4, 4]


def test_trying_goes_on_until_the_time_is_over_and_once_more_at_its_end() -> None:
    pauses, error = play(STEP, *[LOST] * 34, patience=FOR_120_SECONDS)
    assert error is LOST
    assert sum(pauses) == 120
    assert pauses[:6] == [0, 0.5, 1, 2, 4, 4]
    assert pauses[-2:] == [4, 0.5]


def test_the_time_of_the_tries_themselves_counts() -> None:
    pauses, error = play(STEP, LOST, LOST, LOST, patience=FOR_120_SECONDS, seconds=60)
    assert (pauses, error) == ([0, 0.5, 1], LOST)


def test_a_call_that_takes_long_is_tried_again_all_the_same() -> None:
    assert play(STEP, LOST, DONE, patience=FOR_120_SECONDS, seconds=1000) == ([0, 0.5], b"done")


def test_whichever_limit_comes_first_ends_it() -> None:
    assert play(STEP, LOST, LOST, patience=Patience(120, 1))[0] == [0, 0.5]
    assert play(STEP, LOST, LOST, LOST, patience=Patience(1, 9))[0] == [0, 0.5, 0.5]


def test_chance_shortens_a_wait_by_up_to_a_half() -> None:
    assert play(STEP, LOST, DONE, random=1.0)[0] == [0, 0.25]
    assert play(STEP, LOST, DONE, random=0.5)[0] == [0, 0.375]


@pytest.mark.parametrize("patience", [TWICE, FOR_120_SECONDS])
@pytest.mark.parametrize(("said", "seconds"), [("0", 0), ("3", 3), ("120", 120)])
def test_retry_after_is_obeyed(patience: Patience, said: str, seconds: float) -> None:
    assert play(STEP, answer(429, retry_after=said), DONE, patience=patience) == ([0, seconds], b"done")


def test_waits_grow_where_retry_after_does_not() -> None:
    at_once, later = answer(503, retry_after="0"), answer(503, retry_after="2")
    assert play(STEP, *[at_once] * 5, DONE, patience=FOR_120_SECONDS)[0] == [0, 0, 1, 2, 4, 4]
    assert play(STEP, *[later] * 4, DONE, patience=FOR_120_SECONDS)[0] == [0, 2, 2, 2, 4]


@pytest.mark.parametrize(("patience", "said"), [(TWICE, "121"), (FOR_120_SECONDS, "121"), (Patience(5), "6")])
def test_a_retry_after_that_is_too_long_is_left_to_the_caller(patience: Patience, said: str) -> None:
    pauses, error = play(STEP, answer(503, retry_after=said), patience=patience)
    assert pauses == [0]
    assert isinstance(error, APIStatusError)


def test_who_is_patient_waits_for_a_long_retry_after() -> None:
    assert play(STEP, answer(503, retry_after="600"), DONE, patience=Patience(3600))[0] == [0, 600]


def test_a_retry_after_date_counts_from_the_answers_own_date() -> None:
    dates = {"retry_after": "Fri, 20 Nov 2026 12:00:07 GMT", "date": "Fri, 20 Nov 2026 12:00:00 GMT"}
    assert play(STEP, answer(503, **dates), DONE)[0] == [0, 7]
    assert play(STEP, answer(503, date=dates["retry_after"], retry_after=dates["date"]), DONE)[0] == [0, 0]


@pytest.mark.parametrize(
    "headers",
    [
        {"retry_after": "soon"},
        {"retry_after": "-1"},
        {"retry_after": "²"},
        {"retry_after": ""},
        {"retry_after": "Fri, 20 Nov 2026 12:00:07 GMT"},
        {"retry_after": "Fri, 20 Nov 2026 12:00:07 -0000", "date": "Fri, 20 Nov 2026 12:00:00 GMT"},
    ],
)
def test_a_retry_after_that_says_nothing_is_passed_over(headers: dict[str, str]) -> None:
    assert play(STEP, answer(503, **headers), DONE)[0] == [0, 0.5]


def test_x_should_retry_overrules_the_status() -> None:
    assert play(STEP, answer(422, x_should_retry="true"), DONE) == ([0, 0.5], b"done")
    assert play(STEP, answer(503, x_should_retry="false", retry_after="1"))[0] == [0]


def test_a_step_conflict_is_raised_at_once() -> None:
    body = b'{"code": "step_conflict", "detail": "step 3 is not the next one", "current_step": 7}'
    for headers in ({}, {"x-should-retry": "false"}):
        pauses, error = play(STEP, Response(409, headers, body), patience=FOR_120_SECONDS)
        assert pauses == [0]
        assert isinstance(error, StepConflict)
        assert error.current_step == 7


def test_a_deletion_that_finds_nothing_the_second_time_is_done() -> None:
    assert play(DELETE, LOST, Response(404, {}, b"gone")) == ([0, 0.5], b"gone")


def test_a_deletion_that_finds_nothing_the_first_time_is_an_error() -> None:
    _, error = play(DELETE, answer(404))
    assert isinstance(error, APIStatusError)


def test_only_deletions_are_content_with_nothing() -> None:
    _, error = play(dataclasses.replace(DELETE, method="GET"), LOST, answer(404))
    assert isinstance(error, APIStatusError)


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


def test_the_log_says_once_that_it_waits_and_once_that_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
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
        read = lambda response: bytes(response.body)  # noqa: E731
        kept = weakref.ref(read)
        conversation = perform(Call(DELETE, read), TWICE)
        next(conversation)
        with suppress(OptimError):
            conversation.send(answer(404, b'{"code": "session_not_found", "detail": "gone"}'))
        del read, conversation
        assert kept() is None
    finally:
        gc.enable()
