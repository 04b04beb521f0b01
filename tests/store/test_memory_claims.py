"""The claims of ids in memory."""

import time

from app.store.keys import Claim, KeyMemory
from app.store.memory_claims import Claims
from app.store.memory_heads import Heads


def test_an_old_claim_of_no_session_makes_room() -> None:
    claims, memory = Claims(Heads()), KeyMemory(seconds=60)
    old = Claim("tenant-1", "a", "session-1", "request", time.time() - 61)
    new = Claim("tenant-1", "a", "session-2", "request", time.time())
    assert [claims.keep(claim, memory) for claim in (old, new, old)] == [old, new, new]
    assert claims.sweep(memory) == 0
    assert claims.sweep(KeyMemory(seconds=-1)) == 1
