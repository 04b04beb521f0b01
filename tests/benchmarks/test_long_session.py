"""The session with a long history that benchmarks look at."""

from pathlib import Path

import pytest
from optim_client import Client

from benchmarks.long_session import long_session

STEPS = 700


@pytest.mark.campaign
@pytest.mark.long
def test_a_long_session_has_a_row_of_each_step(tmp_path: Path) -> None:
    with long_session(tmp_path, STEPS) as (service, session_id), Client(service.url) as client:
        session = client.sessions.get(session_id)
        assert session.get().step == STEPS
        assert list(session.history().step) == list(range(1, STEPS + 1))
