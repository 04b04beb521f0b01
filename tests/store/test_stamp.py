"""Stamps, and what a store must hold."""

import pytest

from app.store.stamp import Stamp, VersionConflict, expect


def test_a_store_must_hold_what_a_change_was_made_from() -> None:
    expect("the ledger of session a", Stamp(1, "x"), Stamp(1, "x"))
    expect("the ledger of session a", None, None)
    for held in (None, Stamp(1, "y"), Stamp(2, "x")):
        with pytest.raises(VersionConflict, match="the ledger of session a: the store holds"):
            expect("the ledger of session a", held, Stamp(1, "x"))
