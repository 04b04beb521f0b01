"""The digest of a session: one for all sessions that step alike."""

from typing import Any

from httpx2 import Client

from tests.service.calls import W, create, stepped


def test_digests_are_equal_exactly_for_sessions_that_step_alike(client: Client) -> None:
    def digest(**settings: Any) -> str:
        session = create(client, **settings)
        return str(stepped(client, session, **W)["digest"])

    assert digest() == digest(labels={"run": "2"}, ttl_seconds=5)
    assert len({digest(), digest(hyperparameters={"lr": 0.5}), digest(groups=[]), digest(clip={"value": 1})}) == 4
