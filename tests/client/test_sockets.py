"""Sockets of the lane: descriptors that come with bytes, and connections that have ended."""

import os
import socket
from pathlib import Path

import pytest
from optim_client import _sockets


def test_descriptors_come_with_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("words")
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    descriptors: list[int] = []
    with ours, theirs, (tmp_path / "file").open() as file:
        room = memoryview(bytearray(8))
        socket.send_fds(theirs, [b"ab"], [file.fileno()])
        theirs.send(b"c")
        assert _sockets.receive_into(ours, room, descriptors) == 2
        assert _sockets.receive_into(ours, room, descriptors) == 1
    with os.fdopen(descriptors.pop()) as same:
        assert same.read() == "words"
        assert not os.get_inheritable(same.fileno())
    assert descriptors == []


def test_a_connection_is_silent_until_something_comes_or_it_ends() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert _sockets.is_silent(ours)
        theirs.send(b"a")
        assert not _sockets.is_silent(ours)
        ours.recv(1)
        _sockets.shut_down(theirs)
        assert not _sockets.is_silent(ours)


def test_no_connection_leads_to_an_absent_socket(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _sockets.connected(str(tmp_path / "none"), 1.0)
