"""The listening sockets: addresses that other machines reach need keys; the file of a Unix socket comes and goes."""

import errno
import socket
import time
from pathlib import Path

import pytest

from app import listener
from app.settings import Settings


def test_only_insecure_or_keyed_services_listen_for_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": []}')
    for setting, value in {"insecure": True, "api_keys_file": keys, "api_key_sha256": "0" * 64}.items():
        listener.check_reach(Settings(store="memory:", host="0.0.0.0", **{setting: value}), "0.0.0.0")
    for loopback in ("127.0.0.1", "127.1.2.3", "::1"):
        listener.check_reach(Settings(store="memory:"), loopback)
    for reached in ("0.0.0.0", "::", "10.0.0.1", "fe80::1%eth0", "8.8.8.8"):
        with pytest.raises(ValueError, match="can be reached by other machines"):
            listener.check_reach(Settings(store="memory:"), reached)


def test_a_port_of_the_administrator_is_refused_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_server(*_: object, **__: object) -> socket.socket:  # what a port below 1024 does depends on the machine
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", create_server)
    with (
        pytest.raises(OSError, match="port 80: Permission denied") as refusal,
        listener.listening(Settings(store="memory:", port=80)),
    ):
        pass
    assert "such as --port 8000" in refusal.value.__notes__[0]


def unix(path: Path) -> Settings:
    return Settings(store="memory:", host="none", unix_socket=path)


def test_a_unix_socket_is_for_its_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listener.listening(unix(path)) as [only], socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert path.stat().st_mode & 0o777 == 0o660
        assert listener.url(unix(path), only) == f"unix://{path}"
    assert not path.exists()


def test_the_socket_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listener.listening(unix(path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_the_socket_of_a_living_server_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listener.listening(unix(path)) as [living]:
        for _ in range(2):
            with pytest.raises(OSError, match="another server answers there"), listener.listening(unix(path)):
                pass
        living.accept()[0].close()
        living.accept()[0].close()


def test_a_full_queue_is_no_sign_of_death(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(OSError, match="another server answers there"), listener.listening(unix(path)):
            pass


def test_a_file_that_is_no_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("notes")
    with pytest.raises(OSError, match="a file that is no socket"), listener.listening(unix(path)):
        pass
    assert path.read_text() == "notes"


def test_a_stopping_server_keeps_the_socket_of_its_successor(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listener.listening(unix(path)) as [first]:
        time.sleep(0.05)  # the clock of files ticks
        first.close()  # no longer accepts, but has requests to end
        successor = listener.listening(unix(path))
        successor.__enter__()
    assert path.exists()
    successor.__exit__(None, None, None)
    assert not path.exists()
