"""The error of a refusal: its class, by code and by status, and its words."""

import re
from pathlib import Path

import pytest
from optim_client import errors
from optim_client._refusals import BY_CODE, BY_STATUS, status_error
from optim_client.errors import APIStatusError

from tests.client.documents import error_of
from tests.contract import ERRORS

PAGE = Path(__file__).parents[2] / "clients" / "README.md"


@pytest.mark.parametrize("code", ERRORS)
def test_an_error_keeps_status_code_detail_members_and_request_id(code: str) -> None:
    status, members = ERRORS[code]["status"], dict.fromkeys(ERRORS[code]["members"], 1)
    error = error_of(code, **members)
    assert (error.status, error.code, error.detail) == (status, code, "what happened")
    assert (error.request_id, error.fields) == ("req-1", members)
    assert str(error).startswith(f"what happened ({status} {code}, request req-1)")


@pytest.mark.parametrize("code", ERRORS)
def test_an_error_is_of_its_statuss_family(code: str) -> None:
    family = BY_STATUS.get(ERRORS[code]["status"])
    if family is None:
        family = errors.InternalServerError if ERRORS[code]["status"] >= 500 else APIStatusError
    assert isinstance(error_of(code), family)


def test_every_class_is_for_a_code_of_the_service() -> None:
    assert set(BY_CODE) <= set(ERRORS)


def test_the_page_lists_every_error_with_its_status_and_members() -> None:
    rows = PAGE.read_text(encoding="utf-8").split("## Errors")[1].split("## ")[0].splitlines()
    listed: set[str] = set()
    for row in rows:
        if row.startswith(("| 4", "| 5")):
            _, statuses, codes, also, *_ = row.split("|")
            for code in (codes_of := re.findall("`(.*?)`", codes)):
                assert str(ERRORS[code]["status"]) in statuses
                assert set(re.findall("`(.*?)`", also)) == {m for each in codes_of for m in ERRORS[each]["members"]}
            listed |= set(codes_of)
    assert listed == set(ERRORS)


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
def test_a_proxys_answer_becomes_an_error(status: int, kind: type[APIStatusError], body: bytes) -> None:
    error = status_error(status, {}, body)
    assert type(error) is kind
    assert (error.code, error.request_id) == (None, None)
    assert len(str(error)) < 300


def test_a_proxys_page_is_quoted_in_one_line() -> None:
    error = status_error(502, {}, b"<html>\n  <h1>Bad Gateway</h1>\n</html>")
    assert str(error) == "a proxy answered, not the service, with the page '<html> <h1>Bad Gateway</h1> </html>' (502)"


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
def test_a_proxys_refusal_names_the_proxys_limit(status: int, hint: str) -> None:
    for body in (b"<html>nginx</html>", b""):
        message = str(status_error(status, {}, body))
        assert message.startswith("a proxy answered, not the service")
        assert hint in message
