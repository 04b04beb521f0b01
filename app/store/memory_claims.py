"""The claims of ids in memory, and the sessions that claims have created."""

import time

from app.store.base import AlreadyCreated, Save
from app.store.keys import Claim, KeyMemory
from app.store.memory_heads import Heads


class Claims:
    """The claims of all tenants. `heads` are the store's own."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self._claims: dict[tuple[str, str], Claim] = {}
        self._created: dict[str, float] = {}
        """The times at which the sessions of claims were created."""

    def keep(self, claim: Claim, memory: KeyMemory) -> Claim:
        """Keep a claim, as `Store.claim` promises."""
        place = claim.tenant, claim.key
        held = self._claims.get(place)
        if held is None or self._is_over(held, memory):
            held = self._claims[place] = claim
        return held

    def check_created(self, save: Save) -> None:
        """Raise `AlreadyCreated` if the session of a claim was created before."""
        session_id = save.head.session_id
        if save.claimed and session_id in self._created:
            raise AlreadyCreated(f"session {session_id} was created before")

    def remember_created(self, save: Save) -> None:
        """Note that the save created the session of a claim, if it did."""
        if save.claimed:
            self._created[save.head.session_id] = time.time()

    def sweep(self, memory: KeyMemory) -> int:
        """Remove the claims that may go; return how many were removed."""
        over = [place for place, claim in self._claims.items() if self._is_over(claim, memory)]
        for place in over:
            del self._claims[place]
        self._created = {name: at for name, at in self._created.items() if not memory.is_old(at)}
        return len(over)

    def _is_over(self, claim: Claim, memory: KeyMemory) -> bool:
        is_gone = claim.session_id not in self._heads or self._heads.has_expired(claim.session_id)
        return is_gone and memory.is_old(claim.time)
