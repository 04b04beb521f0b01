"""The URLs of several servers: a Redis Cluster, or the sentinels of a Redis."""

import re
from typing import NamedTuple, Self

from app.store.redis_topology import Address

FORM = r"(?P<scheme>rediss?)\+%s://(?P<user>(?:[^@/?#]*@)?)(?P<servers>[^@/?#]+)%s(?P<query>(?:\?[^#]*)?)"
CLUSTER = re.compile(FORM % ("cluster", "(?:/0?)?"))
SENTINEL = re.compile(FORM % ("sentinel", "/(?P<service>[^/?#]+)(?:/(?P<database>[0-9]*))?"))
SERVER = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
DEFAULT_PORT, SENTINEL_PORT = 6379, 26379


class ClusterAddress(NamedTuple):
    """The parts of a cluster's URL."""

    scheme: str
    user: str
    servers: tuple[Address, ...]
    query: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return the parts. Raises `ValueError` without the URL, which may hold a password."""
        parts, servers = _read(
            CLUSTER, url, DEFAULT_PORT,
            "OPTIM_STORE must be redis+cluster://[user:password@]host[:port][,host[:port]…], or "
            "rediss+cluster://… for TLS; a cluster has only database 0",
        )  # fmt: skip
        return cls(parts["scheme"], parts["user"], servers, parts["query"])

    def url_of(self, server: Address) -> str:
        """Return the URL of one server."""
        return f"{self.scheme}://{self.user}{_written(server)}{self.query}"


class SentinelAddress(NamedTuple):
    """The parts of the URL of a Redis that sentinels watch: `servers` are the sentinels."""

    scheme: str
    user: str
    servers: tuple[Address, ...]
    service: str
    database: str
    query: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return the parts. Raises `ValueError` without the URL, which may hold a password."""
        parts, servers = _read(
            SENTINEL, url, SENTINEL_PORT,
            "OPTIM_STORE must be redis+sentinel://[user:password@]host[:port][,host[:port]…]/SERVICE[/database], "
            "or rediss+sentinel://… for TLS",
        )  # fmt: skip
        return cls(parts["scheme"], parts["user"], servers, parts["service"], parts["database"] or "0", parts["query"])

    @property
    def sentinel_urls(self) -> list[tuple[str, str]]:
        """Return the URLs of each sentinel: without the user, and with the user of Redis."""
        places = [f"{_written(server)}{self.query}" for server in self.servers]
        return [(f"{self.scheme}://{place}", f"{self.scheme}://{self.user}{place}") for place in places]

    def url_of(self, server: Address) -> str:
        """Return the URL of a server that may be the primary."""
        return f"{self.scheme}://{self.user}{_written(server)}/{self.database}{self.query}"


def _read(form: re.Pattern[str], url: str, port: int, refusal: str) -> tuple[re.Match[str], tuple[Address, ...]]:
    """Return the parts of a URL of that form, and its servers. Raises `ValueError` with the refusal."""
    parts = form.fullmatch(url)
    found = [SERVER.fullmatch(server) for server in parts["servers"].split(",")] if parts else []
    if parts is None or None in found:
        raise ValueError(refusal)
    return parts, tuple(Address(server["host"].strip("[]"), int(server["port"] or port)) for server in found if server)


def _written(server: Address) -> str:
    return f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"
