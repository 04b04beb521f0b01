"""Clients in forked processes: no foreign answer, no deadlock, no broken connection."""

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from app.demo.server import Server
from tests.client.raw import RawServer
from tests.client.raw_service import named


def assert_right(name: str, url: str, **environment: str) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.client.forking", name, url]
    result = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.returncode, result.stdout.splitlines()[-1:], result.stderr) == (0, ["right"], "")


PROGRAMS = [
    "same_values", "same_values_async", "locks_held", "threads_under_way", "one_session", "events", "files",
    "own_transport",
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.long
def test_processes_share_a_client_and_no_connection(program: str, server: Server) -> None:
    assert_right(program, server.url)


@pytest.mark.long
def test_a_forked_process_keeps_no_connection_open(server: Server) -> None:
    assert_right("descriptors", server.url)


@pytest.mark.long
def test_a_forked_process_leaves_the_parents_connection_alone() -> None:
    with RawServer(named) as server:
        assert_right("connection_is_left", server.url)
    assert server.connections == 1


def test_a_forked_process_says_no_goodbye_below_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with RawServer(named, tls=context) as server:
        assert_right("connection_is_left", server.url, SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    assert server.connections == 1


@pytest.mark.parametrize(
    ("program", "store"),
    [
        ("in_process", "memory:"),
        *[(program, "lmdb:{folder}/store") for program in ("in_process", "in_process_anew", "in_process_async")],
    ],
)
@pytest.mark.long
def test_a_forked_process_cannot_use_the_parents_service(program: str, store: str, tmp_path: Path) -> None:
    assert_right(program, store.format(folder=tmp_path))
