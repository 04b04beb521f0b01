"""The command `optim demo`, as it is typed."""

from tests.command import Optim


def test_a_demo_without_a_service_fails_in_one_line(optim: Optim) -> None:
    status, told, _ = optim("demo", "--url", "http://127.0.0.1:1")
    assert status == 1
    assert "failed" in told
    assert "http://127.0.0.1:1" in told
