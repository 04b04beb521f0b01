"""The history of a session in Redis: rows and marks, each a member of a sorted set that begins with its place."""

from functools import partial

from app.store.envelope import has_expired, peek
from app.store.generation import MOST_UNDO
from app.store.history import HistoryStore, Numbered, Placed, merged, newer_rows
from app.store.redis_client import Command
from app.store.redis_commands import Commands
from app.store.redis_names import head_key, history_key, marks_key, outline_key
from app.store.redis_scripts import KEEP_OUTLINE, NEWER
from app.store.sealed import LABEL_BYTES


class Histories(HistoryStore):
    """The histories of all sessions."""

    def __init__(self, client: Commands) -> None:
        self._redis = client

    async def history(self, session_id: str, after: int, limit: int) -> list[bytes]:
        key = history_key(session_id)
        (page,) = await self._redis.ask(("ZRANGEBYSCORE", key, f"({after}", "+inf", "LIMIT", 0, limit))
        if page:
            last = int(page[-1][:16])
            (sharing,) = await self._redis.ask(("ZRANGEBYSCORE", key, last, last))
            page = [member for member in page if int(member[:16]) < last] + sharing
        return [member[32:] for member in page]

    async def latest(self, session_id: str, count: int) -> list[bytes]:
        (page,) = await self._redis.ask(("ZRANGE", history_key(session_id), -count, -1))
        return [member[32:] for member in page]

    async def newer(self, session_id: str, version: int, limit: int) -> list[Numbered]:
        """Return rows and marks, as every store does.

        The head is read first: what was saved after it may be beside the rows that are read, so it is left for later.
        """
        read = limit + 4 * MOST_UNDO
        while True:
            label, page, marks = await self._redis.ask(
                _label(session_id),
                ("EVAL", NEWER.text, 1, history_key(session_id), version, MOST_UNDO, read),
                ("ZRANGEBYSCORE", marks_key(session_id), f"({version}", "+inf", "LIMIT", 0, limit),
            )
            if not label or has_expired(label):
                return []
            rows = [Placed(int(row[:16]), int(row[16:32]), partial(row.__getitem__, slice(32, None))) for row in page]
            if len(rows) < read or _are_enough(rows, version, limit):
                break
            read *= 4
        newest = peek(session_id, label).stamp.version
        found = merged(newer_rows(rows, version, limit), map(_mark, marks), limit)
        return [each for each in found if each.number <= newest]

    async def marks(self, session_id: str) -> list[bytes]:
        label, members = await self._redis.ask(_label(session_id), ("ZRANGE", marks_key(session_id), 0, -1))
        return [_mark(member).body for member in members] if label and not has_expired(label) else []

    async def outline(self, session_id: str) -> bytes | None:
        outline: bytes | None
        label, outline = await self._redis.ask(_label(session_id), ("GET", outline_key(session_id)))
        return outline if label and not has_expired(label) else None

    async def keep_outline(self, session_id: str, outline: bytes) -> None:
        await self._redis.run(KEEP_OUTLINE, [head_key(session_id), outline_key(session_id)], [outline])


def _label(session_id: str) -> Command:
    return ("GETRANGE", head_key(session_id), 0, LABEL_BYTES - 1)


def _are_enough(rows: list[Placed], version: int, limit: int) -> bool:
    """Return whether `newer_rows` needs no more rows than these."""
    above = [row for row in rows if row.number > version]
    return len(above) >= limit > 0 and rows[-1].step > above[limit - 1].step + MOST_UNDO


def _mark(member: bytes) -> Numbered:
    kind, _, body = member[16:].partition(b" ")
    return Numbered(int(member[:16]), kind.decode(), body)
