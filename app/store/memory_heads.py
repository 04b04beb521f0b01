"""The heads of the sessions in memory: many are saved, and few are read as bytes."""

from app.store.base import Head
from app.store.envelope import Label, decode, encode, has_expired, peek


class Heads(dict[str, Head | bytes]):
    """Each session's head: as it was saved, or its bytes, once somebody has read those."""

    def written(self, session_id: str) -> bytes:
        """Return the bytes of a head."""
        head = self[session_id]
        if isinstance(head, Head):
            head = self[session_id] = encode(head)
        return head

    def read(self, session_id: str) -> Head:
        """Return a head. Raises `StateDamaged`, and `IncompatibleStore` for a newer version's."""
        head = self[session_id]
        return head if isinstance(head, Head) else decode(session_id, head)

    def label(self, session_id: str) -> Head | Label | None:
        """Return what has the stamp and the expiry of a head, if there is one. Raises `StateDamaged`."""
        head = self.get(session_id)
        return peek(session_id, head) if isinstance(head, bytes) else head

    def has_expired(self, session_id: str) -> bool:
        """Return whether a head has expired. A damaged one has not."""
        head = self[session_id]
        return has_expired(head) if isinstance(head, bytes) else head.expired
