"""The URLs of a cluster and of sentinels, and those of their servers."""

import pytest

from app.store.redis_address import ClusterAddress, SentinelAddress
from app.store.redis_topology import Address


@pytest.mark.parametrize(
    ("url", "servers", "first"),
    [
        ("redis+cluster://a:1,b:2", [("a", 1), ("b", 2)], "redis://a:1"),
        ("rediss+cluster://a/0", [("a", 6379)], "rediss://a:6379"),
        ("redis+cluster://u:p%40:1@a:1/", [("a", 1)], "redis://u:p%40:1@a:1"),
        ("redis+cluster://:p@[::1]:1,b?ssl_x=1", [("::1", 1), ("b", 6379)], "redis://:p@[::1]:1?ssl_x=1"),
    ],
)
def test_a_url_names_its_servers(url: str, servers: list[tuple[str, int]], first: str) -> None:
    address = ClusterAddress.parse(url)
    assert [*address.servers] == servers
    assert address.url_of(address.servers[0]) == first


def test_another_server_has_the_same_user_and_settings() -> None:
    address = ClusterAddress.parse("rediss+cluster://u:p@a:1?ssl_ca_certs=x")
    assert address.url_of(Address("fe80::2", 7)) == "rediss://u:p@[fe80::2]:7?ssl_ca_certs=x"


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://:secret@",
        "redis+cluster://u:secret@a,,b",
        "redis+cluster://u:secret@a:port",
        "redis+cluster://u:secret@a/1",
        "redis+cluster://u:secret@::1",
        "unix+cluster://u:secret@a",
    ],
)
def test_a_refused_url_never_shows_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis\+cluster://.*database 0") as refusal:
        ClusterAddress.parse(url)
    assert "secret" not in str(refusal.value)


def test_a_url_names_its_sentinels_and_service() -> None:
    address = SentinelAddress.parse("rediss+sentinel://u:p@a,b:7/optim-1/3?ssl_x=1")
    assert address.service == "optim-1"
    assert address.sentinel_urls == [
        ("rediss://a:26379?ssl_x=1", "rediss://u:p@a:26379?ssl_x=1"),
        ("rediss://b:7?ssl_x=1", "rediss://u:p@b:7?ssl_x=1"),
    ]
    assert address.url_of(Address("::1", 6379)) == "rediss://u:p@[::1]:6379/3?ssl_x=1"


def test_the_database_behind_sentinels_is_0_unless_named() -> None:
    for end in ("", "/"):
        assert SentinelAddress.parse(f"redis+sentinel://a/s{end}").url_of(Address("b", 1)) == "redis://b:1/0"


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://u:secret@a",
        "redis+sentinel://u:secret@a/",
        "redis+sentinel://u:secret@a,:1/s",
        "redis+sentinel://u:secret@a/s/first",
        "redis+sentinel://u:secret@a/s/0/1",
    ],
)
def test_a_refused_url_of_sentinels_never_shows_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis\+sentinel://.*SERVICE") as refusal:
        SentinelAddress.parse(url)
    assert "secret" not in str(refusal.value)
