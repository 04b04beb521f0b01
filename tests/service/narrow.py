"""A service whose limits are soon reached, and the check that a session's state file is taken."""

from typing import Any

from httpx2 import Client

from tests.service.calls import path_of
from tests.service.state_files import download, made_of, upload

LIMITS: dict[str, Any] = {"max_tensors": 4, "max_name_length": 6, "max_dimensions": 3, "max_body_bytes": 1024}


def own_state_is_taken(client: Client, session: str) -> None:
    """Put the session's state into itself, and make a session of it: both are as it was."""
    before, file = client.get(session).json(), download(client, session)
    assert upload(client, session, file).status_code == 204
    assert client.get(session).json()["digest"] == before["digest"]
    answer = made_of(client, file)
    assert answer.status_code == 201, answer.text
    for member in before.keys() - {"id", "created_at", "updated_at", "expires_at", "warnings"}:
        assert answer.json()[member] == before[member], member
    assert client.delete(path_of(answer)).status_code == 204
