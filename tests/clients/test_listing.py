"""The listing of safetensors in `clients/README.md`: it writes and reads every golden byte."""

import pytest

from tests.clients.listing import TEXT, read, write
from tests.contract import GOLDEN

MESSAGES = sorted(GOLDEN.glob("*/*.bin"))


def test_the_listing_writes_what_it_reads_to_the_byte() -> None:
    requests = [path.read_bytes() for path in MESSAGES if "request" in path.name]
    assert len(requests) > 30
    for message in requests:
        assert write(*read(message)) == message


def test_the_listing_reads_every_answer() -> None:
    for path in MESSAGES:
        tensors, metadata = read(path.read_bytes())
        assert "step" in metadata
        assert sum(len(content) for *_, content in tensors.values()) <= path.stat().st_size


def test_the_listing_refuses_a_message_that_is_cut() -> None:
    message = MESSAGES[0].read_bytes()
    with pytest.raises(ValueError, match="does not fit the message"):
        read(message[:-1])


def test_the_listing_has_thirty_lines() -> None:
    assert TEXT.count("\n") <= 30
