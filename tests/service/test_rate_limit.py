"""The rate limit of a tenant, on a clock that the test sets."""

import pytest

from app.errors import RateLimited
from app.rate_limit import RateLimit


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_as_many_are_taken_as_may_come_and_the_rest_is_told_when(clock: Clock) -> None:
    limit = RateLimit("2/minute", clock)
    limit.take("lab")
    clock.now += 20.5
    assert limit.take("lab") == {"RateLimit-Policy": '"tenant";q=2;w=60', "RateLimit": '"tenant";r=0;t=40'}
    with pytest.raises(RateLimited, match="2/minute; the next one in 40 s") as refused:
        limit.take("lab")
    assert refused.value.headers() == {
        "Retry-After": "40", "RateLimit-Policy": '"tenant";q=2;w=60', "RateLimit": '"tenant";r=0;t=40',
    }  # fmt: skip


def test_after_retry_after_the_request_is_taken_and_not_before(clock: Clock) -> None:
    limit = RateLimit("1/second", clock)
    limit.take("lab")
    clock.now += 0.75
    with pytest.raises(RateLimited) as refused:
        limit.take("lab")
    assert refused.value.retry_after == 1
    clock.now += 0.25
    limit.take("lab")


def test_what_is_refused_does_not_count(clock: Clock) -> None:
    limit = RateLimit("1/hour", clock)
    limit.take("lab")
    for _ in range(3):
        clock.now += 1000
        with pytest.raises(RateLimited):
            limit.take("lab")
    clock.now += 600
    limit.take("lab")


def test_no_stretch_of_that_length_has_more(clock: Clock) -> None:
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


def test_each_tenant_has_a_limit_of_its_own(clock: Clock) -> None:
    limit = RateLimit("1/day", clock)
    limit.take("lab")
    limit.take("other")
