"""Which error an answer becomes."""

import json
import pickle
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
    assert (
        str(error) == "a proxy answered and not the service, its page says '<html> <h1>Bad Gateway</h1> </html>' (502)"
    )


@pytest.mark.parametrize(
    ("status", "location", "said"),
    [
        (301, "https://example.org/v1/sessions", "a redirect to 'https://example.org/v1/sessions'"),
        (308, "/optim/v1/sessions", "a redirect to '/optim/v1/sessions'"),
        (302, "https://login.example/?state=secret", "a redirect to 'https://login.example/'"),
    ],
)
def test_a_redirect_names_its_target_and_what_to_do(status: int, location: str, said: str) -> None:
    message = str(status_error(status, {"location": location}, b"<html>moved"))
    assert said in message
    assert "set base_url to the address that leads to the service itself" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("status", "hint"), [(413, "client_max_body_size"), (504, "proxy_read_timeout"), (407, "HTTPS_PROXY")]
)
def test_what_a_proxy_refuses_is_said_to_be_the_proxys(status: int, hint: str) -> None:
    for body in (b"<html>nginx</html>", b""):
        message = str(status_error(status, {}, body))
        assert message.startswith("a proxy answered and not the service")
        assert hint in message


def test_a_missing_key_names_the_variable_and_a_proxys_password_does_not() -> None:
    assert "OPTIM_API_KEY" in str(error_of(ERRORS["unauthenticated"]("no key")))
    assert "OPTIM_API_KEY" not in str(status_error(401, {"www-authenticate": "Basic"}, b"no"))


@pytest.mark.parametrize(
    "error",
    [
        status_error(409, HEADERS, b'{"code": "step_conflict", "detail": "behind", "current_step": 7}'),
        status_error(502, {}, b""),
        errors.APITimeoutError("late", sent=False),
        errors.StepMismatch("s-1", 5, 10),
        errors.InvalidAnswer("no JSON"),
    ],
)
def test_an_error_travels_between_processes(error: errors.OptimError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
