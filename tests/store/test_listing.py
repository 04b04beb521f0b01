"""The promises of every store about lists of sessions."""

import asyncio
from itertools import chain

import pytest

from app.store.base import Store
from tests.store.changes import change_of, saved
from tests.store.places import Place


async def test_sessions_are_listed_by_pages_the_greatest_id_first(store: Store) -> None:
    heads = {f"id-{i:02}": await saved(store, session_id=f"id-{i:02}") for i in range(23)}
    expected = [heads[name] for name in sorted(heads, reverse=True)]
    assert await store.list("tenant-1", 100) == expected
    pages, before = [], None
    while page := await store.list("tenant-1", 5, before):
        pages.append(page)
        before = page[-1].session_id
    assert [len(page) for page in pages] == [5, 5, 5, 5, 3]
    assert list(chain(*pages)) == expected
    assert await store.list("tenant-1", 0) == []


async def test_before_need_not_be_a_session(store: Store) -> None:
    heads = [await saved(store, session_id=name) for name in ("b", "d")]
    assert await store.list("tenant-1", 10, before="c") == [heads[0]]
    assert await store.list("tenant-1", 10, before="z") == heads[::-1]
    assert await store.list("tenant-1", 10, before="b") == []
    assert await store.list("tenant-1", 10, before="a") == []


async def test_tenants_do_not_see_each_other(store: Store) -> None:
    tenants = ["a", "ab", "a:b", "b", "", "{a}", "é"]
    for tenant in tenants:
        await saved(store, session_id=f"of-{tenant}", tenant=tenant)
    for tenant in tenants:
        assert [head.session_id for head in await store.list(tenant, 10)] == [f"of-{tenant}"]
        assert [head.tenant for head in await store.list(tenant, 10)] == [tenant]


async def test_a_session_keeps_its_place_until_it_is_deleted(store: Store) -> None:
    first, second = await saved(store, session_id="1"), await saved(store, session_id="2")
    first = await saved(store, first, [b"new"])
    assert await store.list("tenant-1", 10) == [second, first]
    await store.delete("2")
    assert await store.list("tenant-1", 10) == [first]
    assert await store.list("tenant-1", 1) == [first]


async def test_a_creation_that_was_refused_is_not_listed(store: Store) -> None:
    head = change_of(None, session_id="never").head
    with pytest.raises(Exception, match="never"):
        await store.save(change_of(head))
    assert await store.list("tenant-1", 10) == []


async def test_sessions_made_while_others_list_and_sweep_are_all_listed(place: Place) -> None:
    store = place.store

    async def look() -> None:
        for _ in range(20):
            await store.list("tenant-1", 100)
            await store.sweep()

    creations = (saved(store, session_id=f"{i:03}") for i in range(100))
    await asyncio.gather(look(), *creations, look())
    assert len(await store.list("tenant-1", 200)) == 100
