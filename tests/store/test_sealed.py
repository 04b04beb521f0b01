"""The outer form of heads and ledgers."""

from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store.base import IncompatibleStore
from app.store.sealed import LABEL_BYTES, Label, label_of, seal, unseal
from app.store.stamp import Stamp

LABEL = Label(Stamp(7, "0123456789ab"), 1.5)
SEALED = seal(3, LABEL, {"a": 1}, b"document")


def refuse(why: str) -> NoReturn:
    raise ValueError(why)


@given(st.none() | st.floats(allow_nan=False), st.binary(max_size=50))
def test_what_is_sealed_is_unsealed(moment: float | None, document: bytes) -> None:
    label = LABEL._replace(moment=moment)
    sealed = seal(1, label, {"name": "é\n"}, document)
    assert unseal("it", sealed, 1, refuse) == (label, {"name": "é\n"}, document)
    assert label_of(sealed[:LABEL_BYTES], refuse) == label


def test_a_later_format_is_told_from_damage() -> None:
    with pytest.raises(IncompatibleStore, match="it has format 3"):
        unseal("it", SEALED, 2, refuse)
    with pytest.raises(ValueError, match="does not fit its checksum"):
        unseal("it", SEALED.replace(b"3 ", b"2 ", 1), 3, refuse)
    with pytest.raises(ValueError, match="has no readable first line"):
        label_of(b"garbage", refuse)
