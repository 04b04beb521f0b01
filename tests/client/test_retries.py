"""The rules of `_protocol.py`, without a socket or a clock."""

import dataclasses

import pytest
from optim_client import APIConnectionError, APIStatusError, InvalidAnswer, OptimError, StepConflict
from optim_client._protocol import Call, Outcome, Request, Response, perform

REPEATABLE = Request("POST", "/v1/sessions/s/steps", headers={"idempotency-key": '"k"'})
CREATE = Request("POST", "/v1/sessions", repeatable=False)
DELETE = Request("DELETE", "/v1/sessions/s")
DONE = Response(200, {}, b"done")
LOST = APIConnectionError("no answer")
REFUSED = APIConnectionError("no connection", sent=False)


def answer(status: int, **headers: str) -> Response:
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


def play(
    request: Request, *outcomes: Outcome, max_retries: int = 2, random: float = 0.0
) -> tuple[list[float], bytes | OptimError]:
    """The pauses before each try, and what came of it; every outcome must have been asked for."""
    conversation = perform(Call(request, lambda response: response.body), max_retries, lambda: random)
    pauses = [next(conversation)]
    for number, outcome in enumerate(outcomes, 1):
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
    assert play(REPEATABLE, DONE) == ([0], b"done")


@pytest.mark.parametrize("bad", [LOST, REFUSED, *map(answer, (408, 409, 429, 500, 502, 503, 504, 599))])
def test_what_may_pass_is_tried_again(bad: Outcome) -> None:
    assert play(REPEATABLE, bad, DONE) == ([0, 0.5], b"done")


@pytest.mark.parametrize("status", [301, 304, 400, 401, 403, 404, 405, 406, 413, 415, 422])
def test_what_stays_wrong_is_not_tried_again(status: int) -> None:
    pauses, error = play(REPEATABLE, answer(status))
    assert pauses == [0]
    assert isinstance(error, APIStatusError)
    assert error.status == status


def test_after_two_retries_the_last_error_is_raised() -> None:
    pauses, error = play(REPEATABLE, LOST, answer(503), answer(500))
    assert pauses == [0, 0.5, 1]
    assert isinstance(error, APIStatusError)
    assert error.status == 500


def test_without_retries_the_first_error_is_raised() -> None:
    assert play(REPEATABLE, LOST, max_retries=0) == ([0], LOST)


def test_waits_double_up_to_eight_seconds() -> None:
    pauses, _ = play(REPEATABLE, *[LOST] * 8, max_retries=7)
    assert pauses == [0, 0.5, 1, 2, 4, 8, 8, 8]


def test_chance_shortens_a_wait_by_up_to_a_quarter() -> None:
    assert play(REPEATABLE, LOST, DONE, random=1.0)[0] == [0, 0.375]
    assert play(REPEATABLE, LOST, DONE, random=0.5)[0] == [0, 0.4375]


@pytest.mark.parametrize(("said", "seconds"), [("0", 0), ("3", 3), ("120", 120)])
def test_retry_after_is_obeyed(said: str, seconds: float) -> None:
    assert play(REPEATABLE, answer(429, retry_after=said), DONE) == ([0, seconds], b"done")


def test_a_retry_after_of_more_than_two_minutes_is_left_to_the_caller() -> None:
    pauses, error = play(REPEATABLE, answer(503, retry_after="121"))
    assert pauses == [0]
    assert isinstance(error, APIStatusError)


def test_a_retry_after_date_counts_from_the_answers_own_date() -> None:
    dates = {"retry_after": "Fri, 20 Nov 2026 12:00:07 GMT", "date": "Fri, 20 Nov 2026 12:00:00 GMT"}
    assert play(REPEATABLE, answer(503, **dates), DONE)[0] == [0, 7]
    assert play(REPEATABLE, answer(503, date=dates["retry_after"], retry_after=dates["date"]), DONE)[0] == [0, 0]


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
    assert play(REPEATABLE, answer(503, **headers), DONE)[0] == [0, 0.5]


def test_x_should_retry_overrules_the_status() -> None:
    assert play(REPEATABLE, answer(422, x_should_retry="true"), DONE) == ([0, 0.5], b"done")
    assert play(REPEATABLE, answer(503, x_should_retry="false", retry_after="1"))[0] == [0]
    assert play(CREATE, answer(500, x_should_retry="true"), DONE) == ([0, 0.5], b"done")


def test_a_step_conflict_is_raised_at_once() -> None:
    body = b'{"code": "step_conflict", "detail": "step 3 is not the next one", "current_step": 7}'
    _, error = play(REPEATABLE, Response(409, {"x-should-retry": "false"}, body))
    assert isinstance(error, StepConflict)
    assert error.current_step == 7


@pytest.mark.parametrize("never_done", [REFUSED, answer(429), answer(503)])
def test_a_creation_is_tried_again_where_nothing_was_created(never_done: Outcome) -> None:
    assert play(CREATE, never_done, DONE) == ([0, 0.5], b"done")


@pytest.mark.parametrize("doubtful", [LOST, answer(408), answer(409), answer(500), answer(502), answer(504)])
def test_a_creation_that_may_have_happened_is_not_tried_again(doubtful: Outcome) -> None:
    assert play(CREATE, doubtful)[0] == [0]


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

    conversation = perform(Call(DELETE, read), 2)
    next(conversation)
    with pytest.raises(InvalidAnswer, match="DELETE /v1/sessions/s: the answer cannot be read"):
        conversation.send(DONE)
