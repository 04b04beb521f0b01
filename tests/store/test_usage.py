"""The room that sessions take, as every store tells it."""

import time

from tests.store.changes import saved
from tests.store.places import Place


async def test_sessions_of_all_tenants_are_counted(place: Place) -> None:
    for i in range(5):
        await saved(place.store, session_id=f"session-{i}", tenant=f"tenant-{i % 2}")
    await saved(place.store, session_id="expired", expires_at=time.time() - 1)
    assert (await place.store.usage()).sessions in (5, 6)
    await place.store.sweep()
    await place.store.delete("session-0")
    assert (await place.store.usage()).sessions == 4
