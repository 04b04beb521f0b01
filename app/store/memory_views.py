"""The pieces of the sessions in memory: views of states, which a step may write over meanwhile."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

from app.store.base import Head, Save
from app.store.memory_heads import Heads


class StateViews:
    """The views of the state of a save, made when somebody reads them: a save takes no time for each piece.

    `earlier` are those of earlier generations.
    """

    def __init__(self, save: Save | None = None, earlier: Mapping[str, memoryview] | None = None) -> None:
        self._save = save
        self._earlier = earlier or {}

    @cached_property
    def by_name(self) -> dict[str, memoryview]:
        """Return each piece's bytes by its name."""
        own = self._save.parts if self._save else ()
        return {piece.name: data for piece, data in own} | {**self._earlier}


class MemoryViews:
    """The views by session. `heads` are the store's own."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self.states: dict[str, StateViews] = {}
        self._written_over: dict[str, asyncio.Event] = {}
        """The sessions whose state is written over, each with the end of that."""

    @contextmanager
    def written_over(self, head: Head, state: memoryview) -> Iterator[None]:
        """Drop the session's views for the block; if the store still has that head then, view the state again."""
        session_id = head.session_id
        if session_id in self._written_over or not self._names(head):
            yield
            return
        self.states[session_id] = StateViews()
        ended = self._written_over[session_id] = asyncio.Event()
        try:
            yield
        finally:
            if self._names(head):
                self.states[session_id] = StateViews(Save(head, None, state))
            del self._written_over[session_id]
            ended.set()

    def keep(self, save: Save) -> None:
        """View the state of a save, and what its head keeps of earlier ones."""
        earlier = self._earlier(save) if save.head.earlier else {}
        self.states[save.head.session_id] = StateViews(Save(save.head, None, save.state), earlier)

    def _earlier(self, save: Save) -> dict[str, memoryview]:
        """Return the bytes of the pieces that the head of a save has besides those of its state.

        What the save replaces is copied if other pieces of the same state live on: a view of it would keep the whole
        state in memory.
        """
        held = self.states[save.head.session_id].by_name
        replaced = {piece.name for piece in (save.previous.pieces if save.previous else ())}
        own = {piece.name for piece in save.head.pieces}
        copied = replaced - own if replaced & own else set()
        fresh = {piece.name: data for piece, data in save.beside}
        names = [piece.name for piece in save.head.kept if piece.name in held and piece.name not in own]
        return fresh | {name: memoryview(bytes(held[name])) if name in copied else held[name] for name in names}

    def _names(self, head: Head) -> bool:
        """Return whether this is the session's head, though it may have expired."""
        label = self._heads.label(head.session_id)
        return label is not None and label.stamp == head.stamp

    async def until_held(self, session_id: str) -> None:
        """Wait until the session's state is not written over."""
        while ended := self._written_over.get(session_id):
            await ended.wait()

    async def fill(self, head: Head, into: memoryview) -> None:
        """Copy the pieces of a head, each checked."""
        held = dict(self.states[head.session_id].by_name)
        offset = 0
        for piece in head.pieces:
            data = held.get(piece.name)
            piece.verify(head.session_id, data)
            into[offset : offset + piece.size] = data or b""
            offset += piece.size
            await asyncio.sleep(0)
