"""The rate limit of a tenant, on a clock that the test sets."""

import pytest

from app.errors import RateLimited
from app.web.rate_limit import RateLimit


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_requests_over_the_limit_are_told_when_to_retry(clock: Clock) -> None:
    limit = RateLimit("2/minute", clock)
    limit.take("lab")
    clock.now += 20.5
    assert limit.take("lab") == {"RateLimit-Policy": '"tenant";q=2;w=60', "RateLimit": '"tenant";r=0;t=40'}
    with pytest.raises(RateLimited, match="2/minute; the next one in 40 s") as refused:
        limit.take("lab")
    assert refused.value.headers() == {
        "Retry-After": "40", "RateLimit-Policy": '"tenant";q=2;w=60', "RateLimit": '"tenant";r=0;t=40',
    }  # fmt: skip


def test_a_request_is_accepted_once_retry_after_has_passed(clock: Clock) -> None:
    limit = RateLimit("1/second", clock)
    limit.take("lab")
    clock.now += 0.75
    with pytest.raises(RateLimited) as refused:
        limit.take("lab")
    assert refused.value.retry_after == 1
    clock.now += 0.25
    limit.take("lab")


def test_refused_requests_do_not_count(clock: Clock) -> None:
    limit = RateLimit("1/hour", clock)
    limit.take("lab")
    for _ in range(3):
        clock.now += 1000
        with pytest.raises(RateLimited):
            limit.take("lab")
    clock.now += 600
    limit.take("lab")


def test_no_window_has_more_requests_than_the_limit(clock: Clock) -> None:
    limit, taken = RateLimit("5/second", clock), []
    for _ in range(400):
        clock.now += 1 / 32
        try:
            limit.take("lab")
        except RateLimited:
            continue
        taken.append(clock.now)
    assert all(later - first >= 1 for first, later in zip(taken, taken[5:], strict=False))
    assert len(taken) >= 5 * 12


def test_each_tenant_has_its_own_limit(clock: Clock) -> None:
    limit = RateLimit("1/day", clock)
    limit.take("lab")
    limit.take("other")
