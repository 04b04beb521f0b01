"""Which error an answer becomes."""

import json
import re
from pathlib import Path

import optim_client
import pytest
from optim_client import errors
from optim_client.errors import BY_CODE, BY_STATUS, APIStatusError, status_error

from app.errors import ERRORS, ServiceError

PAGE = Path(__file__).parents[2] / "clients" / "README.md"
HEADERS = {"x-request-id": "req-1"}


def error_of(error: ServiceError) -> APIStatusError:
    return status_error(error.status, HEADERS, json.dumps(error.problem()).encode())


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_error_of_the_service_keeps_its_status_code_detail_and_request_id(code: str) -> None:
    error = error_of(ERRORS[code]("what happened", extra=[1]))
    assert (error.status, error.code, error.detail) == (ERRORS[code].status, code, "what happened")
    assert (error.request_id, error.fields) == ("req-1", {"extra": [1]})
    assert str(error).startswith(f"what happened ({error.status} {code}, request req-1)")


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_error_of_the_service_is_one_of_its_statuses_family(code: str) -> None:
    family = BY_STATUS.get(ERRORS[code].status)
    if family is None:
        family = errors.InternalServerError if ERRORS[code].status >= 500 else APIStatusError
    assert isinstance(error_of(ERRORS[code]("")), family)


def test_no_class_is_for_a_code_that_the_service_does_not_know() -> None:
    assert set(BY_CODE) <= set(ERRORS)


def test_every_error_can_be_imported_from_the_package() -> None:
    defined = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert defined <= set(optim_client.__all__)


def test_the_page_for_other_languages_lists_every_error_with_its_status() -> None:
    rows = PAGE.read_text(encoding="utf-8").split("## Errors")[1].split("## ")[0].splitlines()
    listed: dict[str, set[str]] = {}
    for row in rows:
        if row.startswith(("| 4", "| 5")):
            _, statuses, codes, *_ = row.split("|")
            listed |= {code: set(re.findall(r"\d+", statuses)) for code in re.findall("`(.*?)`", codes)}
    assert set(listed) == set(ERRORS)
    assert all(str(ERRORS[code].status) in statuses for code, statuses in listed.items())


def test_a_step_conflict_says_where_the_session_is_and_how_to_go_on() -> None:
    error = error_of(ERRORS["step_conflict"]("step 3 is not the next one", current_step=7, applied_as_step=3))
    assert isinstance(error, errors.StepConflict)
    assert (error.current_step, error.applied_as_step) == (7, 3)
    assert "session.get()" in str(error)


def test_a_value_that_is_not_finite_is_named_with_its_place() -> None:
    error = error_of(ERRORS["non_finite"]("w[0, 2] is nan", tensor="w", index=[0, 2]))
    assert isinstance(error, errors.NonFinite)
    assert (error.tensor, error.index) == ("w", [0, 2])


def test_a_code_of_tomorrow_is_told_by_its_status() -> None:
    error = status_error(409, {}, b'{"code": "of_tomorrow", "detail": "later"}')
    assert type(error) is errors.Conflict
    assert error.code == "of_tomorrow"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (502, errors.InternalServerError),
        (503, errors.ServiceUnavailable),
        (404, errors.NotFound),
        (418, APIStatusError),
    ],
)
@pytest.mark.parametrize(
    "body",
    [b"<html>\n<h1>Bad Gateway</h1>", b"", b"\xff\xfe", b"[1, 2]", b'"text"', b"null", b'{"code": 5}', b"[" * 99999],
)
def test_what_a_proxy_says_becomes_an_error_too(status: int, kind: type[APIStatusError], body: bytes) -> None:
    error = status_error(status, {}, body)
    assert type(error) is kind
    assert (error.code, error.request_id) == (None, None)
    assert len(str(error)) < 300


def test_a_proxys_page_is_quoted_in_one_line() -> None:
    error = status_error(502, {}, b"<html>\n  <h1>Bad Gateway</h1>\n</html>")
    assert str(error) == "not an answer of the service: '<html> <h1>Bad Gateway</h1> </html>' (502)"
