"""The list of a tenant's sessions, newest first, page by page. Knows no HTTP and no store's insides.

A filter that matches little must not read everything in one request: a page ends when its budget of work is used up,
with fewer sessions than were asked for, and the next page goes on from there.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial

from app.compute import Compute
from app.errors import StateDamaged
from app.session import Listed
from app.session_document import read_listed
from app.store.base import Head, IncompatibleStore, Store, Unreadable

BATCH = 16
"""Heads read from the store at a time."""
LEAST_WORK = 1 << 14
"""The least cost of a head, for its way from the store."""
PAGE_WORK = 1 << 24
"""The cost at which a page ends: the bytes of its heads, times one more than the patterns of their groups. It is enough
for a thousand small sessions, or for one of the largest."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of sessions: by optimizer, and by labels (`name:value`), which a session must all have."""

    labels: Collection[str] = ()
    optimizer: str | None = None

    def takes(self, listed: Listed) -> bool:
        session = listed.session
        if self.optimizer not in (None, session.config.optimizer):
            return False
        return not self.labels or {f"{name}:{value}" for name, value in session.labels.items()}.issuperset(self.labels)


@dataclass(slots=True)
class Page:
    """A page of a list; the next one begins after the id `last`, which is `None` on the last page."""

    last: str | None
    sessions: list[Listed] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    work: int = 0

    def __len__(self) -> int:
        return len(self.sessions) + len(self.unreadable)

    def add(self, listed: Listed | Unreadable, wanted: Filter) -> None:
        """Add a session if it is wanted. One that cannot be read always is, because its labels are unknown."""
        if isinstance(listed, Unreadable):
            self.unreadable.append(listed)
        elif wanted.takes(listed):
            self.sessions.append(listed)


class Listing:
    """The lists of the sessions in a store."""

    def __init__(self, store: Store, compute: Compute) -> None:
        self._store = store
        self._compute = compute

    async def page(self, tenant: str, limit: int, before: str | None, wanted: Filter) -> Page:
        """Return up to `limit` of the tenant's sessions that the filter takes."""
        page = Page(before)
        while True:
            heads = await self._store.list(tenant, BATCH + 1, page.last)
            for head in heads[:BATCH]:
                if len(page) >= limit or page.work >= PAGE_WORK:
                    return page
                listed = await self._read(head)
                page.last = head.session_id
                page.work += _work_of(head, listed)
                page.add(listed, wanted)
            if len(heads) <= BATCH:
                page.last = None
                return page
            await asyncio.sleep(0)

    async def _read(self, head: Head | Unreadable) -> Listed | Unreadable:
        if isinstance(head, Unreadable):
            return head
        try:
            return await self._compute.run(partial(read_listed, head), len(head.document))
        except (StateDamaged, IncompatibleStore) as error:
            return Unreadable(head.session_id, error)


def _work_of(head: Head | Unreadable, listed: Listed | Unreadable) -> int:
    if isinstance(head, Unreadable) or isinstance(listed, Unreadable):
        return LEAST_WORK
    patterns = sum(len(group.match) for group in listed.session.config.given_groups or ())
    return max(LEAST_WORK, len(head.document) * (1 + patterns))
