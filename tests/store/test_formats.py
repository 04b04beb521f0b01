"""Format numbers and their one refusal."""

import pytest

from app.session_document import DOCUMENT_FORMAT, PLAIN_DOCUMENT_FORMAT, UNDO_DOCUMENT_FORMAT
from app.store.base import IncompatibleStore
from app.store.envelope import HEAD_FORMAT, PLAIN_HEAD_FORMAT
from app.store.formats import STORE_FORMAT, expect_format, newer_format
from app.store.ledger_envelope import LEDGER_FORMAT


@pytest.mark.parametrize("found", [0, 1, 2])
def test_a_format_up_to_the_known_one_is_accepted(found: int) -> None:
    expect_format("the store", found, 2)


def test_a_later_format_is_refused_with_the_way_out() -> None:
    with pytest.raises(IncompatibleStore) as refusal:
        expect_format("the store", 3, 2)
    assert refusal.value.detail == newer_format("the store", 3, 2)
    assert refusal.value.detail == (
        "the store has format 3, of a newer version of this service; this version reads up to format 2: "
        "run the newer version"
    )


def test_only_sums_and_undo_are_written_in_format_three() -> None:
    """Guards the numbers by which earlier versions refuse: a higher one needs files in `tests/upgrade`."""
    assert (STORE_FORMAT, PLAIN_HEAD_FORMAT, PLAIN_DOCUMENT_FORMAT) == (2, 2, 2)
    assert (HEAD_FORMAT, UNDO_DOCUMENT_FORMAT) == (3, 3)


def test_only_documents_for_workers_are_written_in_format_four() -> None:
    """Guards the numbers by which earlier versions refuse: a higher one needs files in `tests/upgrade`."""
    assert (DOCUMENT_FORMAT, LEDGER_FORMAT) == (4, 1)
