"""The reading of histories for plots: what it draws, and what it reads."""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from app import curves, outline, thinned
from app.compute import Compute
from app.curves import Curves
from app.row_columns import bodies, read
from app.settings import Settings
from app.store import open_store
from app.store.base import Head, Save, Store
from app.store.generation import MOST_UNDO, ReplacedRow, Undone
from app.store.history import HistoryRow, Mark
from app.store.memory import MemoryStore
from app.thinned import Thinned
from tests.amounts import times
from tests.store.changes import change_of, saved
from tests.stores import STORES

SESSION = "session-1"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read and keep few rows at a time."""
    for module, name, value in (
        (curves, "PAGE_ROWS", 7),
        (curves, "KEPT_ROWS", 5),
        (curves, "SETTLED", MOST_UNDO + 4),
        (curves, "POINTS", 20),
        (outline, "POINTS", 20),
        (thinned, "SLACK", 3),
    ):
        monkeypatch.setattr(module, name, value)


def row(step: int, loss: float = 1.0, **beside: Any) -> HistoryRow:
    body = {"step": step, "loss": loss, "grad_norm": -loss, "skipped": False, **beside}
    return HistoryRow(step, orjson.dumps(body), bool(body["skipped"]))


async def drawn(store: Store, points: int = 10) -> list[bytes]:
    plot = await Curves(store, Compute(1)).plot(SESSION, points)
    return bodies(plot.thinned.kept())


async def plain(store: Store, points: int = 10) -> list[bytes]:
    """Return all rows, thinned at once."""
    whole = Thinned(points)
    whole.add(read(await store.history(SESSION, -1, 10**6)))
    return bodies(whole.kept())


class Plots(RuleBasedStateMachine):
    """A session in every store, which must draw as its whole history does, whatever happened to it."""

    redis_url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        urls = [url_of(Path(self.folder.name), lambda: self.redis_url) for url_of in STORES.values()]
        self.stores = [open_store(Settings(store=url, lmdb_sync="relaxed")) for url in urls]
        self.each(lambda store: store.open())
        self.head: Head | None = None
        self.step = self.rows = 0
        self.back: list[tuple[int, int, bytes]] = []

    def teardown(self) -> None:
        self.each(lambda store: store.delete(SESSION))
        self.each(lambda store: store.close())
        self.runner.close()
        self.folder.cleanup()

    def each(self, call: Any) -> list[Any]:
        return [self.runner.run(call(store)) for store in self.stores]

    def save(self, change: Save) -> None:
        self.each(lambda store: store.save(change))
        self.head = change.head

    @rule(losses=st.lists(st.sampled_from([-9.0, 1.0, 2.0, 1e9]), min_size=1, max_size=30), is_skipped=st.booleans())
    def take_steps(self, losses: list[float], is_skipped: bool) -> None:
        for loss in losses:
            self.step += not is_skipped
            self.rows += 1
            new = row(self.step, loss, skipped=is_skipped, row=self.rows)
            self.save(change_of(self.head, (), row=new))
            if not is_skipped and self.head:
                self.back = [*self.back, (self.step, self.head.version, new.body)][-MOST_UNDO:]

    @precondition(lambda self: self.back)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        for _ in range(data.draw(st.integers(1, len(self.back)))):
            step, version, body = self.back.pop()
            self.step = step - 1
            undone = Undone(ReplacedRow(step, version, body.removesuffix(b"}") + b',"undone":true}'), None)
            self.save(replace(change_of(self.head, (), mark=Mark("undo", b'{"event":"undo"}')), undone=undone))

    @precondition(lambda self: self.step)
    @rule(data=st.data(), is_old=st.booleans())
    def load_a_state(self, data: st.DataObject, is_old: bool) -> None:
        """Go back to an earlier step; an old version of the service leaves no mark."""
        to, self.back = data.draw(st.integers(0, self.step)), []
        mark = Mark("settings", orjson.dumps({"event": "settings", "changed": {"step": [self.step, to]}}))
        self.save(change_of(self.head, (), forget_after=to, mark=None if is_old else mark))
        self.step = to

    @rule()
    def delete(self) -> None:
        self.each(lambda store: store.delete(SESSION))
        self.head, self.step, self.back = None, 0, []

    @rule(points=st.sampled_from([1, 6, 20, 21]))
    def draw(self, points: int) -> None:
        assert self.each(lambda store: drawn(store, points)) == self.each(lambda store: plain(store, points))


@pytest.mark.long
def test_every_plot_is_the_whole_history_thinned(redis_url: str) -> None:
    run_state_machine_as_test(
        type("Machine", (Plots,), {"redis_url": redis_url}),
        settings=settings(
            max_examples=times(quick=12, whole=500),
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
async def store() -> MemoryStore:
    """Return a store with a session of 200 steps, of which few rows stay; step 131 has the greatest loss."""
    store = MemoryStore(10**6)
    await trained(store, None, range(1, 201))
    return store


async def trained(store: Store, head: Head | None, steps: range) -> Head:
    for step in steps:
        head = await saved(store, head, (), row=row(step, 50.0 if step == 131 else 1.0))
    assert head
    return head


class Looks:
    """A count of the rows that are read of a history; the first read is followed by something else."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch, then: Any = None) -> None:
        self.rows = 0
        given = store.given

        async def counted(session_id: str, after: int, limit: int) -> Any:
            page = await given(session_id, after, limit)
            if not self.rows and then:
                await then()
            self.rows += len(page)
            return page

        monkeypatch.setattr(store, "given", counted)


async def test_a_second_plot_reads_the_newest_rows(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = await plain(store)
    looks = Looks(store, monkeypatch)
    assert await drawn(store) == expected
    assert looks.rows == 200
    looks.rows = 0
    assert await drawn(store) == expected
    assert looks.rows == 1 + curves.SETTLED  # the last one of the outline, and those that may change


async def test_a_plot_of_more_points_keeps_no_outline(store: MemoryStore) -> None:
    await drawn(store, 21)
    assert await store.outline(SESSION) is None


async def test_a_short_history_has_no_outline() -> None:
    store = MemoryStore(100)
    await trained(store, None, range(1, curves.SETTLED + curves.KEPT_ROWS))
    await drawn(store)
    assert await store.outline(SESSION) is None


async def test_an_outline_that_is_too_long_is_not_kept(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "MOST_BYTES", 100)
    assert await drawn(store) == await plain(store)
    assert await store.outline(SESSION) is None


async def test_a_state_that_is_loaded_meanwhile_leaves_no_outline(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def load() -> None:
        mark = Mark("settings", b'{"event":"settings","changed":{"step":[200,3]}}')
        head = await saved(store, await store.load(SESSION), (), forget_after=3, mark=mark)
        await saved(store, head, (), row=row(900))

    Looks(store, monkeypatch, load)
    await drawn(store)
    assert await store.outline(SESSION) is None


async def test_a_spike_that_was_thinned_away_stays_drawn() -> None:
    store = MemoryStore(100)
    head = await trained(store, None, range(1, 160))
    assert b'"loss":50.0' in b"".join(await drawn(store))
    for step in range(160, 201):
        head = await trained(store, head, range(step, step + 1))
        await drawn(store)
    assert b'"loss":50.0' not in b"".join(await store.history(SESSION, -1, 1000))
    assert b'"loss":50.0' in b"".join(await drawn(store))
