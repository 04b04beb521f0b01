"""`optim serve` with a certificate: HTTPS for every client of it, and nothing that cannot be shown is served."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from optim_client import APIConnectionError, AsyncClient, Client

from app import serve
from app.settings import Settings
from tests.docs.blocks import read
from tests.reaper import tied

LARGE = {"w": np.ones(1 << 20, np.float32)}
"""Goes through the bulk lane, both ways."""


class Authority:
    """One that signs, and files with what it signed."""

    def __init__(self, folder: Path) -> None:
        issuer = trustme.CA()
        made = issuer.issue_cert("127.0.0.1")
        self.path, self.certificate, self.key = (folder / name for name in ("authority", "certificate", "key"))
        issuer.cert_pem.write_to_path(str(self.path))
        made.private_key_pem.write_to_path(str(self.key))
        for blob in made.cert_chain_pems:
            blob.write_to_path(str(self.certificate), append=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def started(authority: Authority, folder: Path, workers: int = 1) -> Iterator[str]:
    """The URL of a server with that certificate, as its log says it."""
    log = folder / "log"
    command = [sys.executable, "-m", "app.cli", "serve", "--port=0", f"--store=lmdb:{folder / 'store'}"]
    command += [f"--workers={workers}", f"--ssl-certfile={authority.certificate}", f"--ssl-keyfile={authority.key}"]
    with log.open("wb") as stream, tied(command, stderr=stream) as server:
        try:
            while not (found := re.findall(r"listening url=(\S+)", log.read_text())):
                assert server.poll() is None, log.read_text()
                time.sleep(0.01)
            yield found[0]
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture(scope="module")
def url(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from started(authority, tmp_path_factory.mktemp("server"))


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.long
def test_a_training_run_goes_over_https(authority: Authority, tmp_path: Path, workers: int) -> None:
    for url in started(authority, tmp_path, workers):
        assert url.startswith("https://127.0.0.1:")
        with Client(url) as client:
            session = client.sessions.create("adam", hold_params=True)
            session.put_params(LARGE)
            for _ in range(3):
                session.step(grads=LARGE)
            session.save_state(tmp_path / "state")
            session.load_state(tmp_path / "state")
            assert session.get().step == 3


@pytest.mark.usefixtures("trusted")
@pytest.mark.long
async def test_the_async_client_speaks_https_too(url: str) -> None:
    async with AsyncClient(url) as client:
        session = await client.sessions.create("sgd")
        assert (await session.step(LARGE, LARGE))["w"].shape == LARGE["w"].shape


@pytest.mark.usefixtures("trusted")
@pytest.mark.long
def test_the_command_line_speaks_https_too(url: str) -> None:
    with Client(url) as client:
        session = client.sessions.create("sgd")
    command = [sys.executable, "-m", "app.cli", "sessions", "list", "--url", url]
    assert session.id in subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_client_that_does_not_know_the_authority_sends_nothing(url: str) -> None:
    with pytest.raises(APIConnectionError, match="certificate verify failed") as raised, Client(url) as client:
        client.sessions.list()
    assert not raised.value.sent


@pytest.mark.usefixtures("trusted")
def test_http_is_not_spoken_on_that_port(url: str) -> None:
    with pytest.raises(APIConnectionError), Client(url.replace("https", "http"), max_retries=0) as client:
        client.sessions.list()


@pytest.mark.parametrize("tls", [True, False])
def test_the_images_health_check_uses_https_where_the_service_does(url: str, authority: Authority, tls: bool) -> None:
    (words,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", read("Dockerfile"), re.MULTILINE)
    command = [sys.executable, *json.loads(words)[1:]]
    environment = os.environ | {"OPTIM_PORT": url.rpartition(":")[2]}
    if tls:
        environment["OPTIM_SSL_CERTFILE"] = str(authority.certificate)
    checked = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
    assert (checked.returncode == 0) is tls


def test_a_key_may_stand_in_the_certificate_s_file(authority: Authority, tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.write_bytes(authority.key.read_bytes() + authority.certificate.read_bytes())
    serve._check_certificate(Settings(ssl_certfile=both))


def test_an_encrypted_key_needs_its_password_and_never_prompts(authority: Authority, tmp_path: Path) -> None:
    key = tmp_path / "key"
    plain = load_pem_private_key(authority.key.read_bytes(), None)
    encryption = BestAvailableEncryption(b"password")
    key.write_bytes(plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    settings = Settings(ssl_certfile=authority.certificate, ssl_keyfile=key, ssl_keyfile_password="password")
    serve._check_certificate(settings)
    for wrong in (None, "secret"):
        with pytest.raises(ValueError, match=f"OPTIM_SSL_KEYFILE={key} cannot be read") as refusal:
            serve._check_certificate(settings.model_copy(update={"ssl_keyfile_password": wrong}))
        assert "secret" not in str(refusal.value)


def test_a_key_of_another_certificate_is_refused(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read as a certificate and its private key"):
        serve._check_certificate(Settings(ssl_certfile=authority.certificate, ssl_keyfile=Authority(tmp_path).key))
