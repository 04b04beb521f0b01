"""The URL of a Redis Cluster: the servers to ask first, and the URL of any server."""

import re
from typing import NamedTuple, Self

from app.store.redis_topology import Address

FORM = re.compile(
    r"(?P<scheme>rediss?)\+cluster://(?P<user>(?:[^@/?#]*@)?)(?P<servers>[^@/?#]+)(?:/0?)?(?P<query>(?:\?[^#]*)?)"
)
SERVER = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
DEFAULT_PORT = 6379


class ClusterAddress(NamedTuple):
    """The parts of a cluster's URL."""

    scheme: str
    user: str
    servers: tuple[Address, ...]
    query: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return the parts. Raises `ValueError` without the URL, which may hold a password."""
        parts = FORM.fullmatch(url)
        servers = [SERVER.fullmatch(server) for server in parts["servers"].split(",")] if parts else [None]
        if parts is None or not all(servers):
            raise ValueError(
                "OPTIM_STORE must be redis+cluster://[user:password@]host[:port][,host[:port]…], or "
                "rediss+cluster://… for TLS; a cluster has only database 0"
            )
        addresses = (
            Address(server["host"].strip("[]"), int(server["port"] or DEFAULT_PORT)) for server in servers if server
        )
        return cls(parts["scheme"], parts["user"], tuple(addresses), parts["query"])

    def url_of(self, server: Address) -> str:
        """Return the URL of one server."""
        host = f"[{server.host}]" if ":" in server.host else server.host
        return f"{self.scheme}://{self.user}{host}:{server.port}{self.query}"
