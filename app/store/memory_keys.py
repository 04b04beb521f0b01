"""The idempotency keys that a session in memory has used."""

import time
from collections import OrderedDict

from app.store.base import KeyUsed, Save
from app.store.keys import TRIMMED, KeyMemory


class UsedKeys(OrderedDict[str, tuple[float, bytes]]):
    """The keys that one session has used: the time and the row of each, oldest first."""

    def row(self, digest: str) -> bytes | None:
        """Return the row of a key, if it is known."""
        known = self.get(digest)
        return known[1] if known else None

    def take(self, save: Save, memory: KeyMemory) -> None:
        """Mark, add and forget keys as a save asks. Raises `KeyUsed` before any change."""
        used, undone = save.used, save.undone and save.undone.key
        if not self.keys().isdisjoint(key.digest for key in used):
            raise KeyUsed(f"session {save.head.session_id}: the key was used before")
        if undone is not None and undone.digest in self:
            self[undone.digest] = self[undone.digest][0], undone.row
        now = time.time()
        for key in used:
            self[key.digest] = now, key.row
        for _ in used and range(TRIMMED):
            oldest, (used_at, _) = next(iter(self.items()))
            if not memory.may_forget(len(self) - 1, used_at):
                break
            del self[oldest]
