"""The envelope of a ledger: exact bytes, and any other bytes."""

import pytest

from app.errors import StateDamaged
from app.store.base import IncompatibleStore
from app.store.ledger import Ledger
from app.store.ledger_envelope import LEDGER_FORMAT, decode, encode, peek
from app.store.piece import Piece, checksum_of
from tests.store.test_damage import flipped

LEDGER = Ledger("0198b3c5", 42, "0123456789ab", b'{"round": 7}\n', (Piece("c1", 3, "c0ffee"),), 1.5e9)
BODY = b' 42 0123456789ab 1500000000.0\n{"session_id":"0198b3c5","pieces":[["c1",3,"c0ffee"]]}\n{"round": 7}\n'
GOLDEN = b"1 a540ecf542407461b6929b1ac6b9ce6c" + BODY


def sealed(number: int, body: bytes) -> bytes:
    return b"%d %s%s" % (number, checksum_of(b"%d%s" % (number, body)).encode(), body)


def test_a_ledgers_bytes_are_those_of_earlier_versions() -> None:
    """Guards the format: if this fails, raise `LEDGER_FORMAT`, and still read the old format."""
    assert encode(LEDGER) == GOLDEN
    assert decode("0198b3c5", GOLDEN) == LEDGER
    assert peek("0198b3c5", GOLDEN) == (LEDGER.stamp, 1.5e9)


def test_any_flipped_byte_of_a_ledger_is_refused() -> None:
    way_out = "session 0198b3c5: the ledger of its workers .* fork the session, whose state is whole"
    for at in range(len(GOLDEN)):
        with pytest.raises(StateDamaged, match=way_out):
            decode("0198b3c5", flipped(GOLDEN, at))


def test_another_sessions_ledger_is_refused() -> None:
    with pytest.raises(StateDamaged, match="is the ledger of session 0198b3c5"):
        decode("another", GOLDEN)


def test_additions_of_a_later_version_to_ledgers_are_ignored() -> None:
    body = BODY.replace(b'"c0ffee"', b'"c0ffee",7').replace(b"{", b'{"later":{},', 1).replace(b".0\n", b".0 later\n", 1)
    assert decode("0198b3c5", sealed(LEDGER_FORMAT, body)) == LEDGER


def test_a_newer_ledger_is_refused_by_name() -> None:
    with pytest.raises(IncompatibleStore, match="the ledger of session 0198b3c5 has format 2"):
        decode("0198b3c5", sealed(LEDGER_FORMAT + 1, BODY))
