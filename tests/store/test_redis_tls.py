"""Redis behind TLS. The Valkey of the tests has no TLS: a proxy in front of it has."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from app.errors import StoreUnavailable
from app.settings import Settings
from app.store import open_store
from tests.chaos.fault_proxy import FaultProxy
from tests.servers import RedisServer
from tests.store.changes import row, saved, state_of

MIB = 1 << 20


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def authority_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
async def url(redis_server: RedisServer, redis_url: str, authority: trustme.CA) -> AsyncIterator[str]:
    """Lend the URL of a Redis with a certificate for 127.0.0.1, for its least user."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with FaultProxy(redis_server.port, context) as proxy:
        user = redis_url.partition("//")[2].partition("@")[0]
        yield proxy.redis_url.replace("//", f"//{user}@")


async def test_sessions_are_kept_behind_tls(url: str, authority_file: Path) -> None:
    async with open_store(Settings(store=f"{url}?ssl_ca_certs={authority_file}")) as store:
        head = await saved(store, None, [bytes(MIB)] * 40, row=row(1))
        assert await state_of(store, head) == bytes(MIB) * 40
        assert await store.history("session-1", 0, 10) == [b"row 1"]


async def test_a_server_of_an_unknown_authority_is_refused(url: str, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    for query in ("", f"?ssl_ca_certs={other}"):
        with pytest.raises(StoreUnavailable, match="certificate that is not trusted: is its authority in") as said:
            await open_store(Settings(store=url + query)).open()
        assert "secret" not in str(said.value)


async def test_a_certificate_of_another_host_is_refused(url: str, authority_file: Path) -> None:
    elsewhere = url.replace("127.0.0.1", "localhost")
    with pytest.raises(StoreUnavailable, match=r"shows a certificate that is not trusted.*'localhost'"):
        await open_store(Settings(store=f"{elsewhere}?ssl_ca_certs={authority_file}")).open()


@pytest.mark.parametrize("setting", ["ssl_ca_certs", "ssl_certfile"])
def test_a_file_that_is_not_there_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=r"the files that its ssl_… name cannot be used: .*No such file"):
        open_store(Settings(store=f"rediss://127.0.0.1/0?{setting}=/nowhere.pem"))
