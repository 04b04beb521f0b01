"""Problem documents as bytes on a connection, and the error that telemetry finds."""

from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from app.errors import ERRORS, ServiceError, StepConflict, StoreUnavailable, Unauthenticated
from app.web.problems import ERROR, Problem
from tests.web.sockets import Wire, listening

FOUND: list[ServiceError] = []
BY_PATH: dict[str, ServiceError] = {
    "/away": StoreUnavailable("the store does not answer"),
    "/key": Unauthenticated("no key: “ü”"),
    "/step": StepConflict("the session is at step 3", current_step=3, applied_as_step=None),
}


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the error of the path, as a layer around the routes does."""
    if scope["type"] == "http":
        await Problem(BY_PATH[scope["path"]])(scope, receive, send)
        FOUND.append(scope[ERROR])


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with listening(refuse) as address:
        yield address


def asked(address: tuple[str, int], path: str) -> tuple[bytes, dict[str, object]]:
    """Return the head of the answer in lower case, and its document."""
    with Wire(address) as wire:
        wire.send(b"GET %s HTTP/1.1\r\nhost: localhost\r\n\r\n" % path.encode())
        head, document = wire.refusal()
    return head.lower(), document


def test_an_error_is_answered_with_its_document(address: tuple[str, int]) -> None:
    head, document = asked(address, "/step")
    assert head.startswith(b"http/1.1 409 ")
    assert b"\r\ncontent-type: application/problem+json\r\n" in head
    assert document == {
        "type": "urn:optim:error:step_conflict", "title": ERRORS["step_conflict"].title, "status": 409,
        "detail": "the session is at step 3", "code": "step_conflict", "current_step": 3,
    }  # fmt: skip


@pytest.mark.parametrize(("path", "header"), [("/away", b"retry-after: "), ("/key", b"www-authenticate: bearer\r\n")])
def test_an_error_sends_its_headers(address: tuple[str, int], path: str, header: bytes) -> None:
    head, document = asked(address, path)
    assert b"\r\n" + header in head
    assert document["detail"] == BY_PATH[path].detail


def test_the_scope_keeps_the_error_for_the_log(address: tuple[str, int]) -> None:
    FOUND.clear()
    asked(address, "/away")
    assert [BY_PATH["/away"]] == FOUND
