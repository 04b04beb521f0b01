"""The options that commands share."""

from tests.command import Optim


def test_a_given_url_wins_over_the_environment(optim: Optim) -> None:
    _, _, said = optim("sessions", "list", "--url", "http://127.0.0.1:1", OPTIM_BASE_URL="http://127.0.0.1:2")
    assert "http://127.0.0.1:1/" in said
    assert "http://127.0.0.1:2/" in optim("sessions", "list")[2]
