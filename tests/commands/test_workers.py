"""The command `optim workers`, as it is typed."""

import json

from tests.command import Optim
from tests.commands.service import new_session


def test_the_workers_of_a_session_are_shown(optim: Optim, url: str) -> None:
    session = new_session(url)
    assert optim("workers", session, "--url", url)[:2] == (0, "the session has no workers\n")
    status, told, _ = optim("workers", session, "--json", OPTIM_BASE_URL=url)
    assert (status, json.loads(told)) == (0, {"round": None, "workers": []})
    assert optim("sessions", "delete", session, "--url", url) == (0, "", "")
