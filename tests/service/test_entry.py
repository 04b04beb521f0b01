"""The record of a contribution as JSON: read back as it was, also by a version that knows fewer members."""

import math

import orjson
import pytest

from app.workers.entry import Entry


@pytest.mark.parametrize(
    "entry",
    [
        Entry("a", 1, "d"),
        Entry("a", 2, "d", 0.5, 3.25, "dropped", "late"),
        Entry("a", 2, "d", norm=math.inf, fate="applied", seq=7, staleness=0, clip_scale=0.5),
    ],
)
def test_an_entry_is_read_back_from_its_json(entry: Entry) -> None:
    document = orjson.loads(orjson.dumps({**entry.document(), "later": 1}))
    assert Entry.read(document) == entry


def test_an_entry_without_values_has_its_fate_alone() -> None:
    assert Entry("a", 1, "d").document() == {"worker": "a", "epoch": 1, "digest": "d", "weight": 1.0, "fate": None}
