"""The ledgers of the sessions in memory."""

from app.store.memory import MemoryStore
from tests.store.changes import saved
from tests.store.ledgers import ledger_change


async def test_a_contribution_in_memory_is_not_copied() -> None:
    store, body = MemoryStore(9), b"gradients"
    await saved(store)
    change = ledger_change(None, [body])
    await store.save_ledger(change)
    (view,) = await store.contents(change.ledger, change.ledger.pieces)
    assert view.obj is body
