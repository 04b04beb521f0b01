"""The store's document of a ledger: JSON. Unknown members are ignored, as a later version may add some."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from app import plain
from app.errors import StateDamaged
from app.store.piece import Piece
from app.workers.entry import Entry
from app.workers.ledger import Contribution, Dropped, Last, Ledger, Turn, Worker


def write_ledger(ledger: Ledger) -> bytes:
    """Return the ledger as the store keeps it. Its pieces are named alone: the store has the rest of them."""
    document = {
        "epoch": ledger.epoch,
        "workers": [_written_worker(worker) for worker in ledger.workers.values()],
        "round": ledger.round,
        "waiting": [_written_contribution(contribution) for contribution in ledger.waiting],
        "dropped": [{"round": drop.round, **drop.entry.document()} for drop in ledger.dropped],
        "began": ledger.began,
    }
    return orjson.dumps(document)


def read_ledger(session_id: str, data: bytes, pieces: Iterable[Piece]) -> Ledger:
    """Return the ledger of a document; `pieces` are those that the store has for it. Raises `StateDamaged`."""
    try:
        return _read(orjson.loads(data), {piece.name: piece for piece in pieces})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateDamaged(f"session {session_id}: its ledger cannot be read: {error!r}") from error


def _read(document: Mapping[str, Any], pieces: Mapping[str, Piece]) -> Ledger:
    workers = [_read_worker(row) for row in document["workers"]]
    return Ledger(
        epoch=document["epoch"],
        workers={worker.name: worker for worker in workers},
        round=document["round"],
        waiting=tuple(_read_contribution(row, pieces) for row in document["waiting"]),
        dropped=tuple(Dropped(row["round"], Entry.read(row)) for row in document["dropped"]),
        began=tuple(document["began"]) if document["began"] else None,
    )


def _written_worker(worker: Worker) -> dict[str, Any]:
    last, turn = worker.last, worker.turn
    return {
        "name": worker.name,
        "epoch": worker.epoch,
        "expires_at": worker.expires_at,
        "joins": worker.joins,
        "last": last and (last.round, last.at, last.lateness),
        "turn": turn and (turn.seq, turn.digest, turn.step),
        **({"left": True} if worker.has_left else {}),
    }


def _read_worker(row: Mapping[str, Any]) -> Worker:
    joins = tuple((key, epoch) for key, epoch in row["joins"])
    last, turn = row["last"] and Last(*row["last"]), row["turn"] and Turn(*row["turn"])
    return Worker(row["name"], row["epoch"], row["expires_at"], joins, last, turn, row.get("left", False))


def _written_contribution(contribution: Contribution) -> dict[str, Any]:
    return {
        "entry": contribution.entry.document(),
        "at": contribution.at,
        "loss": plain.number(contribution.loss),
        "pieces": [piece.name for piece in contribution.pieces],
    }


def _read_contribution(row: Mapping[str, Any], pieces: Mapping[str, Piece]) -> Contribution:
    loss = None if row["loss"] is None else float(row["loss"])
    return Contribution(Entry.read(row["entry"]), row["at"], loss, tuple(pieces[name] for name in row["pieces"]))
