"""The bytes of bodies: `tests/metrics/test_requests.py` counts them through sockets."""

from app.web.traffic import Traffic


def test_traffic_starts_at_nothing() -> None:
    assert (Traffic().received, Traffic().sent) == (0, 0)
