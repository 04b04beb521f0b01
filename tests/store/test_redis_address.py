"""The URL of a cluster, and those of its servers."""

import pytest

from app.store.redis_address import ClusterAddress
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
