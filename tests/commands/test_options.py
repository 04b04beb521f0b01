"""The options that commands share."""

import pytest
from optim_client import Client

from tests.command import Optim


@pytest.mark.long
def test_a_given_url_wins_over_the_environment(optim: Optim) -> None:
    _, _, said = optim("sessions", "list", "--url", "http://127.0.0.1:1", OPTIM_BASE_URL="http://127.0.0.1:2")
    assert "http://127.0.0.1:1/" in said
    assert "http://127.0.0.1:2/" in optim("sessions", "list")[2]


@pytest.mark.parametrize(("kept", "last"), [(31, "0"), (31, "f"), (20, "f")])
@pytest.mark.long
def test_the_first_digits_of_an_id_suffice(optim: Optim, url: str, kept: int, last: str) -> None:
    with Client(url) as client:
        made = iter(lambda: client.sessions.create("sgd").id, "")
        session_id = next(each for each in made if each.endswith(last))
    told = optim("sessions", "show", session_id[:kept], OPTIM_BASE_URL=url)[1]
    assert told.startswith(session_id)


def test_digits_of_several_ids_are_refused_by_name(optim: Optim, url: str) -> None:
    with Client(url) as client:
        made = [client.sessions.create("sgd").id for _ in range(4)]
    status, told, said = optim("sessions", "show", made[0][:4], OPTIM_BASE_URL=url)
    assert (status, told) == (1, "")
    assert said.endswith(f" begins with {made[0][:4]!r}: {made[3]}, {made[2]}, {made[1]}, …; give more digits\n")


def test_digits_are_looked_for_on_all_pages(optim: Optim, url: str) -> None:
    long = [{"match": [f"{at:0400}" for at in range(250)], "lr": 1.0}]  # a page of the list ends after one such session
    with Client(url) as client:
        first, second = (client.sessions.create("sgd", groups=long).id for _ in range(2))
        assert len(client.sessions.list(limit=2).sessions) == 1
    _, _, said = optim("sessions", "show", first[:4], OPTIM_BASE_URL=url)
    assert f"{second}, {first}" in said


@pytest.mark.parametrize("text", ["00", "f" * 32, "lmdb", ".."])
def test_an_id_of_no_session_is_not_there(optim: Optim, url: str, text: str) -> None:
    status, told, said = optim("sessions", "show", text, OPTIM_BASE_URL=url)
    assert (status, told, said.count("\n")) == (1 if text == ".." else 3, "", 1)
    assert text in said
