"""A store whose calls are counted: every verb, each once, with its failures."""

import asyncio
import inspect
from typing import Any

import pytest

from app.errors import StoreUnavailable
from app.metrics.families import Gauge
from app.metrics.sharing import numbers_of
from app.metrics.store import VERBS, StoreMetrics
from app.store.base import KeyUsed, Store
from app.store.measured import MeasuredStore
from app.store.memory import MemoryStore
from app.store.stamp import VersionConflict
from tests.store.changes import change_of

UNCOUNTED = {"open", "close", "warnings", "durability"}


class Inner(MemoryStore):
    """A store that has a metric of its own, and whose every verb answers its name, or raises."""

    families = (Gauge("x", "Words.", lambda: 1),)

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__(10)
        self.error = error

    def __getattribute__(self, name: str) -> Any:
        if name not in VERBS:
            return super().__getattribute__(name)

        async def answer(*arguments: object) -> tuple[str, tuple[object, ...]]:
            if self.error:
                raise self.error
            return name, arguments

        return answer


def measured(error: BaseException | None = None) -> tuple[MeasuredStore, StoreMetrics]:
    metrics = StoreMetrics()
    return MeasuredStore(Inner(error), metrics), metrics


def counts(metrics: StoreMetrics) -> tuple[list[str], list[str], float]:
    """Return the verbs that were called, those that failed, and the number of conflicts."""
    seconds, errors, conflicts = numbers_of(metrics.families).values()
    called = [verb for (verb,), values in seconds.items() for _ in range(int(sum(values[:-1])))]
    return called, [verb for (verb,), [count] in errors.items() if count], conflicts[()][0]


def arguments_of(verb: str) -> list[str]:
    return [*inspect.signature(getattr(Store, verb)).parameters][1:]


def test_every_verb_of_a_store_is_counted() -> None:
    verbs = {name for name, value in inspect.getmembers(Store, inspect.iscoroutinefunction) if name[0] != "_"}
    assert verbs - UNCOUNTED == set(VERBS)
    own = vars(MeasuredStore).keys()
    assert {name for name in vars(Store) if inspect.isfunction(vars(Store)[name]) and name[0] != "_"} <= own


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_reaches_the_store_and_is_counted_once(verb: str) -> None:
    store, metrics = measured()
    given = arguments_of(verb)
    answer = await getattr(store, verb)(*given)
    assert answer in ((verb, tuple(given)), None)
    assert counts(metrics) == ([verb], [], 0)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (StoreUnavailable("away"), (["load"], ["load"], 0)),
        (VersionConflict("moved on"), (["load"], [], 1)),
        (KeyUsed("known"), (["load"], [], 0)),
        (asyncio.CancelledError(), ([], [], 0)),
    ],
)
async def test_a_call_that_raises_counts_as_what_it_is(error: BaseException, expected: object) -> None:
    store, metrics = measured(error)
    with pytest.raises(type(error)):
        await store.load("a")
    assert counts(metrics) == expected


async def test_a_lent_saving_counts_its_save() -> None:
    metrics = StoreMetrics()
    store = MeasuredStore(MemoryStore(10), metrics)
    created = change_of(None)
    async with store.saving("session-1", created.head.token) as saving:
        await saving.save(created)
    assert (await store.usage()).sessions == 1
    assert counts(metrics) == (["save", "usage"], [], 0)


def test_a_measured_store_has_the_nature_of_the_store() -> None:
    store, _ = measured()
    assert (store.is_instant, store.keeps_views, store.history_limit) == (True, True, 10)
    assert [family.name for family in store.families] == ["x"]
