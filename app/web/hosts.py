"""The gate for hosts and origins: requests for another host are refused, and writes of another site's pages.

A browser lets any page send requests to this machine. Without API keys two checks keep such a page out: the `Host`,
because an attacker's name may resolve to 127.0.0.1 (DNS rebinding), and the `Origin`, which a browser sends with every
write. The gate also makes a head unambiguous: a field that may be sent once is there once.
"""

from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Forbidden, MalformedHeader, Misdirected, ServiceError
from app.web.names import EVERY, Hosts, host_of, is_loopback, origin
from app.web.request_head import joined

PROBES = {"/livez", "/readyz"}
"""Answered for any host: probes use a pod's address, which no setting can name, and see no session."""
READING = {"GET", "HEAD", "OPTIONS", "TRACE"}


class HostGate:
    """The layer that refuses requests for another host, and, without API keys, writes of another site's pages."""

    def __init__(
        self,
        app: ASGIApp,
        answer_error: Callable[[ServiceError], ASGIApp],
        allowed: Collection[str],
        origins: Collection[str],
        has_keys: bool,
    ) -> None:
        self._app = app
        self._answer_error = answer_error
        self._hosts = Hosts(allowed)
        self._any_host = has_keys and not allowed
        self._any_origin = has_keys or EVERY in origins
        self._origins = {origin(name) for name in origins if name != EVERY}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope)
            except ServiceError as error:
                await self._answer_error(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raise `MalformedHeader`, `Misdirected` or `Forbidden`."""
        scope["headers"] = joined(scope["headers"])
        hosts, page, site = list[str](), None, None
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value.decode("latin-1"))
            elif name == b"origin":
                page = value.decode("latin-1")
            elif name == b"sec-fetch-site":
                site = value.decode("latin-1")
        self._check_host(hosts, scope)
        if not self._any_origin and scope["method"] not in READING:
            self._check_page(page, site)

    def _check_host(self, hosts: list[str], scope: Scope) -> None:
        if not hosts and scope["http_version"] == "1.0":
            return  # not a browser
        if hosts in ([], [""]) and _is_over_unix(scope):
            return  # the socket's path is the name, and no browser opens it
        if len(hosts) != 1:
            raise MalformedHeader(f"a request has exactly one Host field; this one has {len(hosts)}")
        try:
            host = host_of(hosts[0])
        except ValueError as error:
            raise MalformedHeader(f"Host {error}") from None
        if not (self._any_host or is_loopback(host) or host in self._hosts or scope["path"] in PROBES):
            raise Misdirected(
                f"{host!r:.80} is not a host of this service: use localhost or 127.0.0.1, or add it to "
                "OPTIM_ALLOWED_HOSTS"
            )

    def _check_page(self, page: str | None, site: str | None) -> None:
        """Raise `Forbidden` for another site's page: browsers send some writes without a preflight."""
        if site == "cross-site" if page is None else page not in self._origins and not self._is_ours(page):
            raise Forbidden(
                f"a page of {page or 'another site'!r:.80} may not change anything: add its origin to "
                "OPTIM_CORS_ORIGINS, or use API keys"
            )

    def _is_ours(self, page: str) -> bool:
        try:
            host = host_of(page.partition("://")[2])
        except ValueError:  # "null", say
            return False
        return is_loopback(host) or host in self._hosts


def _is_over_unix(scope: Scope) -> bool:
    """Return whether the request came over a Unix socket: the server's address is then a path, without a port."""
    server = scope.get("server")
    return server is not None and server[1] is None and server[0].startswith("/")
