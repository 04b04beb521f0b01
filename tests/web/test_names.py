"""Names of hosts and origins in their normal form."""

import pytest

from app.web.names import Hosts, host_of, is_loopback, listed, origin


def test_host_names_have_one_normal_form() -> None:
    assert host_of("LOCALHOST.:80") == "localhost"
    assert host_of("[0::0:1]:80") == "::1"
    assert not is_loopback("127.0.0.1.example")
    assert not is_loopback("::2")


@pytest.mark.parametrize("field", ["", "a b", "a,b", "http://a", "a:b", "a:65536", "[::1", "[1.2.3]", "user@a", "a/b"])
def test_a_malformed_host_has_no_name(field: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        host_of(field)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://app.example", "https://app.example"),
        ("HTTPS://App.Example.:443", "https://app.example"),
        ("http://app.example:443", "http://app.example:443"),
        ("http://app.example:80", "http://app.example"),
        ("http://[0:0::1]:8000", "http://[::1]:8000"),
        ("app+native://host", "app+native://host"),
    ],
)
def test_origins_have_one_normal_form(text: str, normal: str) -> None:
    assert origin(text) == normal == origin(normal)


@pytest.mark.parametrize("text", ["app.example", "https://", "https://a/", "https://a/b", "https://a?b", "https://u@a"])
def test_a_malformed_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an origin|not a host name"):
        origin(text)


def test_a_list_has_hosts_exactly_and_by_their_endings() -> None:
    hosts = Hosts(["Optim.", "*.Example.org", "10.1.2.3", "fd00::0:1"])
    for host in ("optim", "a.example.org", "a.b.example.org", "10.1.2.3", "fd00::1"):
        assert host in hosts
    for host in ("example.org", "aexample.org", "optim.example", "10.1.2.30", "fd00::2", ""):
        assert host not in hosts
    assert "anything" in Hosts(["*"])
    assert "anything" not in Hosts([])


def test_a_setting_is_split_at_its_commas() -> None:
    assert listed(" a , b,,") == ["a", "b"]
    assert listed(None) == listed("") == []
