"""The times at which ledgers in Redis are due: one sorted set, outside of the sessions' slots.

An entry is of one save of a ledger. It is there before that save, and goes when the next one is done. An interrupted
save leaves one of a ledger that never was, or that is gone: a sweep removes it once it is long overdue.
"""

from collections.abc import Sequence

from app.errors import StateDamaged
from app.store.ledger import Due, Ledger
from app.store.ledger_envelope import peek
from app.store.redis_client import Command
from app.store.redis_commands import Commands
from app.store.redis_names import DUE_KEY, ledger_key
from app.store.redis_pieces import batched
from app.store.sealed import LABEL_BYTES

OVERDUE_SECONDS = 60.0
"""The time after which a sweep looks at an entry: longer than any save takes."""


def added(ledger: Ledger) -> list[Command]:
    """Return the command that adds the entry of a ledger; none without a time."""
    return [] if ledger.due_at is None else [("ZADD", DUE_KEY, repr(ledger.due_at), _member(ledger))]


def removed(ledger: Ledger | None) -> list[Command]:
    """Return the command that removes the entry of a ledger that is gone for good; none without a time."""
    return [] if ledger is None or ledger.due_at is None else [("ZREM", DUE_KEY, _member(ledger))]


def _member(ledger: Ledger) -> str:
    return f"{ledger.session_id} {ledger.token}"


async def read(client: Commands) -> list[Due]:
    """Return all entries, the earliest first."""
    return [Due(_session_of(member), due_at) for member, due_at in await _entries(client)]


async def now(client: Commands) -> float:
    """Return the time by Redis's clock."""
    ((seconds, microseconds),) = await client.ask(("TIME",))
    return int(seconds) + int(microseconds) / 1e6


async def sweep(client: Commands) -> int:
    """Remove the overdue entries of ledgers that are gone; return how many were removed.

    A save may be under way whose entry is removed: so its ledger is looked for again, and the entry put back.
    """
    entries = await _entries(client)
    oldest = await now(client) - OVERDUE_SECONDS if entries else 0
    scores = {member: due_at for member, due_at in entries if due_at < oldest}
    swept = 0
    for batch in batched(list(scores)):
        if gone := await _gone(client, batch):
            await client.ask(("ZREM", DUE_KEY, *gone))
            back = set(gone) - set(await _gone(client, gone))
            await client.ask(*(("ZADD", DUE_KEY, repr(scores[member]), member) for member in back))
            swept += len(gone) - len(back)
    return swept


async def _entries(client: Commands) -> list[tuple[bytes, float]]:
    """Return all entries and their times, the earliest first."""
    (found,) = await client.ask(("ZRANGE", DUE_KEY, 0, -1, "WITHSCORES"))
    return list(zip(found[::2], map(float, found[1::2]), strict=True))


async def _gone(client: Commands, members: Sequence[bytes]) -> list[bytes]:
    """Return the entries of other ledgers than those that Redis holds."""
    keys = [ledger_key(_session_of(member)) for member in members]
    labels = await client.ask(*(("GETRANGE", key, 0, LABEL_BYTES - 1) for key in keys))
    return [member for member, label in zip(members, labels, strict=True) if not _is_of(member, label)]


def _session_of(member: bytes) -> str:
    return member.rpartition(b" ")[0].decode()


def _is_of(member: bytes, label: bytes) -> bool:
    """Return whether an entry is of the ledger that begins with this label; of a damaged one, none is."""
    try:
        return peek("", label).stamp.token == member.rpartition(b" ")[2].decode()
    except StateDamaged:
        return False
