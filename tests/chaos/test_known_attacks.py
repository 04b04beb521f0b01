"""Known attacks over a real socket: each gets its exact answer, and the session stays unchanged."""

import json
import logging
from collections.abc import Iterator

import pytest
from httpx2 import Client

from app.main import create_app
from app.settings import Settings
from tests.chaos.known_attacks import ATTACKS
from tests.chaos.trial import Trial
from tests.service.calls import W, create, stepped
from tests.web.sockets import Wire, listening


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with listening(create_app(Settings(store="memory:"))) as address:
        yield address


@pytest.fixture
def client(address: tuple[str, int]) -> Iterator[Client]:
    with Client(base_url=f"http://{address[0]}:{address[1]}") as client:
        yield client


@pytest.mark.requirement("R10")
@pytest.mark.long
def test_each_known_attack_gets_its_expected_answer(
    trial: Trial,
    address: tuple[str, int],
    client: Client,
    subtests: pytest.Subtests,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, attack in ATTACKS.items():
        with subtests.test(name):
            session = create(client)
            stepped(client, session, **W)
            before = client.get(session).content
            with Wire(address) as wire:
                wire.send(attack.sent.replace(b"{s}", session.encode()))
                status, body = wire.answer()
            document = json.loads(body)
            assert (status, document.get("code")) == (attack.status, attack.code), body[:400]
            assert len(body) < 2048
            assert attack.code is None or client.get(session).content == before
            trial.tried["attacks refused" if attack.code else "oddities that are harmless"] += 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
