"""Bodies and answers that hold settings: their length, their media type and the session that they answer with."""

import json
from typing import Any

import pytest
from httpx2 import Client

from app.routes.documents import LARGEST_DOCUMENT
from tests.service.calls import SAFETENSORS, create, problem, step


def padded(document: dict[str, Any], length: int) -> bytes:
    """Return the document as JSON of so many bytes."""
    return json.dumps(document).encode().ljust(length)


@pytest.mark.parametrize(("method", "below"), [("POST", None), ("PATCH", ""), ("PATCH", "/tensors")])
def test_settings_are_at_most_a_mebibyte_of_json(client: Client, method: str, below: str | None) -> None:
    path = "/v1/sessions" if below is None else create(client) + below
    document = {"optimizer": "adamw"} if below is None else {}
    headers = {"content-type": "application/json"}
    longest = client.request(method, path, content=padded(document, LARGEST_DOCUMENT), headers=headers)
    assert longest.status_code == (201 if below is None else 200)
    answer = client.request(method, path, content=padded(document, LARGEST_DOCUMENT + 1), headers=headers)
    refused = problem(answer, 413, "body_too_large")
    assert refused["limit"] == LARGEST_DOCUMENT
    assert "say less in the settings" in refused["detail"]


def test_a_step_may_be_longer_than_settings(client: Client) -> None:
    session = create(client, "sgd")
    w = {"w": [1.0] * (LARGEST_DOCUMENT // 8)}
    assert step(client, session, params=w, grads=w).status_code == 200


@pytest.mark.parametrize("below", ["", "/tensors"])
def test_settings_are_json_alone(client: Client, below: str) -> None:
    answer = client.patch(create(client) + below, content=b"{}", headers={"content-type": SAFETENSORS})
    assert (
        f"settings are application/json, not '{SAFETENSORS}'"
        in (problem(answer, 415, "unsupported_media_type")["detail"])
    )


@pytest.mark.parametrize("below", ["", "/tensors"])
def test_a_change_is_answered_with_the_session(client: Client, below: str) -> None:
    session = create(client)
    changed, read = client.patch(session + below, json={}), client.get(session)
    assert changed.headers["content-type"] == "application/json"
    assert (changed.content, changed.headers["etag"]) == (read.content, read.headers["etag"])
