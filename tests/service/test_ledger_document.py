"""The ledger's document: read back as it was, by later versions too; damage is told."""

import math
from typing import Any

import orjson
import pytest

from app.errors import StateDamaged
from app.store.piece import Piece
from app.workers.entry import Entry
from app.workers.ledger import Contribution, Dropped, Last, Ledger, Turn, Worker
from app.workers.ledger_document import read_ledger, write_ledger

PIECES = (Piece("2-abc-0", 4, "x"), Piece("2-abc-1", 3, "y"))
LEDGER = Ledger(
    epoch=7,
    workers={
        "a": Worker("a", 7, 61.5, (("key", 5), ("other", 7)), Last(3, 31.5, 0.25), Turn(9, "d", 2)),
        "b": Worker("b", 6, 20.0),
    },
    round=4,
    waiting=(
        Contribution(Entry("a", 7, "d", 2.0, 0.5), 31.5, math.inf, PIECES),
        Contribution(Entry("b", 6, "e", norm=1.0), 32.5, 0.5),
    ),
    dropped=(Dropped(4, Entry("a", 5, "d", fate="dropped", reason="fenced")),),
    began=(3, 30.0),
)


@pytest.mark.parametrize("ledger", [Ledger(), LEDGER])
def test_a_ledger_is_read_back_as_it_was(ledger: Ledger) -> None:
    assert read_ledger("id", write_ledger(ledger), ledger.pieces) == ledger


def test_members_of_a_later_ledger_are_ignored() -> None:
    document = orjson.loads(write_ledger(LEDGER))
    for row in (document, *document["workers"], *document["waiting"], document["waiting"][0]["entry"]):
        row["later"] = [1]
    assert read_ledger("id", orjson.dumps(document), PIECES) == LEDGER


@pytest.mark.parametrize(
    "data",
    [
        b"[",
        b"[]",
        write_ledger(LEDGER).replace(b'"epoch":7,', b"", 1),
        write_ledger(LEDGER).replace(b'"waiting":[', b'"waiting":[7,'),
        write_ledger(LEDGER).replace(b"2-abc-0", b"2-abc-7"),
    ],
)
def test_a_malformed_ledger_is_damage(data: Any) -> None:
    with pytest.raises(StateDamaged, match="its ledger cannot be read"):
        read_ledger("id", data, PIECES)
