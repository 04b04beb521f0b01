"""The envelope of a head: exact bytes, and any other bytes."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import StateDamaged
from app.store.base import Head
from app.store.block_sums import sum_of
from app.store.envelope import HEAD_FORMAT, PLAIN_HEAD_FORMAT, decode, encode, has_expired, peek
from app.store.generation import Generation
from app.store.piece import Piece, checksum_of
from app.store.sealed import LABEL_BYTES
from app.store.stamp import Stamp

texts = st.text(max_size=40)
pieces = st.builds(Piece, name=texts, size=st.integers(0, 1 << 40), checksum=texts)
generations = st.builds(
    Generation, version=st.integers(1, 1 << 60), document=pieces, pieces=st.lists(pieces, max_size=3).map(tuple)
)
heads = st.builds(
    Head,
    session_id=texts,
    tenant=texts,
    version=st.integers(1, 1 << 60),
    token=st.text("0123456789abcdef", min_size=12, max_size=12),
    document=st.binary(max_size=200),
    pieces=st.lists(pieces, max_size=5).map(tuple),
    expires_at=st.none() | st.floats(0, 1e11),
    leftovers=st.lists(texts, max_size=5).map(tuple),
    earlier=st.lists(generations, max_size=3).map(tuple),
)

GOLDEN_HEAD = Head(
    "0198b3c5", "acme", 42, "0123456789ab", b'{"step": 41}\n', (Piece("42-0123456789ab-0", 3, "c0ffee"),), 1.5e9
)
BODY = (
    b" 42 0123456789ab 1500000000.0\n"
    b'{"session_id":"0198b3c5","tenant":"acme","pieces":[["42-0123456789ab-0",3,"c0ffee"]]}\n'
    b'{"step": 41}\n'
)
GOLDEN = b"2 34db552cbdba8cb17e6e95b4926da1bf" + BODY
GOLDEN_1 = b"1 8b626011afcfa4f6c37f3c1b61415c96" + BODY


def test_a_heads_bytes_are_those_of_earlier_versions() -> None:
    """Guards the format: if this fails, raise `PLAIN_HEAD_FORMAT`, and still read the old format."""
    assert encode(GOLDEN_HEAD) == GOLDEN
    assert decode("0198b3c5", GOLDEN) == decode("0198b3c5", GOLDEN_1) == GOLDEN_HEAD


def test_leftovers_are_an_addition_to_the_second_line() -> None:
    data = encode(replace(GOLDEN_HEAD, leftovers=("41-0123456789ab-0",)))
    assert data.endswith(b',"leftovers":["41-0123456789ab-0"]}\n{"step": 41}\n')
    assert decode("0198b3c5", data) == GOLDEN_HEAD


def test_additions_of_a_later_version_to_heads_are_ignored() -> None:
    label, about, document = GOLDEN.partition(b" ")[2].partition(b" ")[2].split(b"\n", 2)
    more = about.replace(b'"c0ffee"', b'"c0ffee",7').replace(b"{", b'{"later":{},', 1)
    body = b"\n".join([label + b" later", more, document])
    checksum = checksum_of(b"%d %s" % (PLAIN_HEAD_FORMAT, body)).encode()
    assert decode("0198b3c5", b"%d %s %s" % (PLAIN_HEAD_FORMAT, checksum, body)) == GOLDEN_HEAD


def test_versions_that_know_no_sums_refuse_a_head_with_them() -> None:
    head = replace(GOLDEN_HEAD, pieces=(Piece("42-0123456789ab-0", 3, sum_of(b"abc")),))
    data = encode(head)
    assert data.startswith(b"%d " % HEAD_FORMAT)
    assert HEAD_FORMAT > PLAIN_HEAD_FORMAT
    assert decode("0198b3c5", data) == head


def test_a_version_without_undo_refuses_a_head_with_generations() -> None:
    pieces = (*GOLDEN_HEAD.pieces, Piece("42-0123456789ab-1", 2, "beef"))
    document = Piece("42-0123456789ab-before", 4, "feed")
    older = Generation(41, document, (pieces[0], Piece("40-0123456789ab-1", 2, "cafe")))
    head = replace(GOLDEN_HEAD, pieces=pieces, earlier=(Generation(42, document, pieces[:1]), older))
    data = encode(head)
    assert data.startswith(b"%d " % HEAD_FORMAT)
    assert (
        b',"earlier":[[42,["42-0123456789ab-before",4,"feed"],[null]],'
        b'[41,["42-0123456789ab-before",4,"feed"],[null,["40-0123456789ab-1",2,"cafe"]]]]}\n'
    ) in data
    assert decode("0198b3c5", data) == head


@given(heads)
def test_a_head_comes_back(head: Head) -> None:
    data = encode(head)
    found = decode(head.session_id, data)
    assert (found, found.leftovers) == (head, head.leftovers)
    assert peek(head.session_id, data[:LABEL_BYTES]) == (head.stamp, head.expires_at)


@given(heads, st.data())
def test_any_flipped_bit_is_noticed(head: Head, choose: st.DataObject) -> None:
    data = bytearray(encode(head))
    bit = choose.draw(st.integers(0, 8 * len(data) - 1))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(StateDamaged):
        decode(head.session_id, bytes(data))


@given(st.binary(max_size=300))
def test_bytes_that_are_no_head_are_refused(data: bytes) -> None:
    with pytest.raises(StateDamaged):
        decode("session", data)
    assert has_expired(data) is False


def test_the_first_line_tells_the_stamp_and_the_expiry() -> None:
    assert peek("", memoryview(GOLDEN)) == (Stamp(42, "0123456789ab"), 1.5e9)
    assert has_expired(GOLDEN) is True
    assert has_expired(GOLDEN.replace(b"1500000000.0", b"%f" % (time.time() + 60))) is False
    assert has_expired(GOLDEN.replace(b"1500000000.0", b"-")) is False
