"""The verbs about a session's workers: join, renew a lease, leave, list. `roster` decides. Knows no HTTP."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from app.contributions.books import Book, Books
from app.once import Once
from app.store.keys import key_digest
from app.workers import roster, round_views

Document = dict[str, Any]


@dataclass(frozen=True)
class Noted:
    """The answer of a write that changes a ledger alone, which leaves the session's `ETag` as it is."""

    document: Document
    etag: str
    replayed: bool = False


class Members:
    """The roster of a session's workers. A session of another tenant than `tenant` is not found."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def join(self, tenant: str, session_id: str, worker: str, epoch: int | None, once: Once) -> Noted:
        """Let a worker join, or renew the lease of that epoch. Raises `WorkerFenced` and `QuotaExceeded`."""
        key = None if once.key is None else key_digest(once.key)

        async def attempt(book: Book) -> Noted:
            if epoch is None:
                joined = roster.join(book.settings, book.ledger, worker, key, book.now)
            else:
                joined = roster.renew(book.settings, book.ledger, worker, epoch, book.now)
            if not joined.repeated:
                once.check(book.head)
                await self._books.save(book, joined.ledger)
            return Noted(round_views.joined(book.session, joined.worker), book.head.etag, joined.repeated)

        return await self._books.keyed(session_id, once, partial(self._books.change, tenant, session_id, attempt))

    async def leave(self, tenant: str, session_id: str, worker: str, epoch: int | None, once: Once) -> Noted:
        """Let a worker leave; with an epoch, only if it is the worker's. Raises `WorkerFenced`."""

        async def attempt(book: Book) -> Noted:
            once.check(book.head)
            left = roster.leave(book.ledger, worker, epoch)
            if left is not book.ledger:
                await self._books.save(book, left)
            return Noted({}, book.head.etag)

        return await self._books.keyed(session_id, once, partial(self._books.change, tenant, session_id, attempt))

    async def workers(self, tenant: str, session_id: str) -> Document:
        """Return the workers that have joined and not left."""
        book = await self._books.read(tenant, session_id)
        return round_views.roster(book.ledger, book.now)
