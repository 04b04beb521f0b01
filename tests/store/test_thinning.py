"""The thinning of a long history: the older half is even, notable rows stay, and all stores agree."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.store.base import Head, Store
from app.store.history import HistoryRow
from app.store.memory_rows import Row, Rows
from app.store.thinning import LOOKS, NOTABLE_SHARE, is_notable
from tests.examples import examples
from tests.store.changes import saved
from tests.store.thinned import Thinned

SKIPPED, UNDONE = b'{"skipped":true}', b'{"skipped":false,"undone":true}'


def body_of(step: int, *, is_skipped: bool = False) -> bytes:
    return SKIPPED if is_skipped else b"%d" % step


def rows_of(steps: Iterable[tuple[int, bool]], limit: int) -> Rows:
    """Return the rows that are kept of these steps; the flag says that one is skipped."""
    rows = Rows()
    for version, (step, is_skipped) in enumerate(steps, 1):
        rows.put(Row(step, version, HistoryRow(step, body_of(step, is_skipped=is_skipped), is_skipped)))
        rows.thin(limit)
        assert len(rows) == min(version, limit)
    return rows


def steps_in(rows: Rows) -> list[int]:
    return [row.step for row in rows.between(0, len(rows))]


@examples(quick=60, whole=2000)
@given(count=st.integers(1, 3000), limit=st.integers(2, 200), start=st.integers(0, 5000))
def test_the_older_half_is_evenly_spread(count: int, limit: int, start: int) -> None:
    rows = rows_of(((start + i, False) for i in range(count)), limit)
    steps, newer = steps_in(rows), limit - limit // 2
    assert steps[0] == start
    assert steps[-newer:] == list(range(max(start, start + count - newer), start + count))
    gaps = [high - low for low, high in pairwise(steps[1:-newer])]
    assert max(gaps, default=0) <= 3 * min(gaps, default=0)
    assert sum(gap > 2 * min(gaps) for gap in gaps) <= 1


@pytest.mark.parametrize("limit", [100, 1000])
def test_neighbours_are_at_most_twice_as_far_apart(limit: int) -> None:
    rows = rows_of(((step, False) for step in range(1, 20 * limit)), limit)
    steps = steps_in(rows)[1 : limit // 2]
    gaps = {high - low for low, high in pairwise(steps)}
    assert gaps <= {32, 64}
    assert 64 in gaps


def test_few_skipped_steps_all_stay() -> None:
    limit = 400
    skipped = [*range(37, 8000, 200)]
    assert len(skipped) <= limit // NOTABLE_SHARE
    steps = sorted([(step, False) for step in range(1, 8001)] + [(step, True) for step in skipped])
    rows = rows_of(steps, limit)
    assert [row.step for row in rows.between(0, limit) if row.given.is_notable] == skipped


def test_too_many_skipped_steps_are_thinned_like_others() -> None:
    limit = 160
    steps = sorted([(step, False) for step in range(1, 4001)] + [(step, True) for step in range(1, 4001, 2)])
    rows = rows_of(steps, limit)
    older = rows.between(0, limit // 2)
    assert sum(row.given.is_notable for row in older) <= limit // NOTABLE_SHARE + 1
    plain = [row.step for row in older if not row.given.is_notable]
    assert max(high - low for low, high in pairwise(plain)) <= 4000 * 4 / len(plain)


def test_a_run_of_skipped_steps_does_not_stall_a_save() -> None:
    limit = 8 * LOOKS
    rows_of([(1, True)] * (20 * limit), limit)


def test_a_lowered_limit_is_reached_by_and_by() -> None:
    rows = rows_of(((step, False) for step in range(1, 1001)), 1000)
    sizes = [1000]
    while sizes[-1] > 100:
        step = 1000 + len(sizes)
        rows.put(Row(step, step, HistoryRow(step, b"")))
        rows.thin(100)
        sizes.append(len(rows))
    assert len(sizes) < 1000
    assert all(before - LOOKS <= after <= before for before, after in pairwise(sizes))
    steps = steps_in(rows)
    assert steps[0] == 1
    assert steps[-50:] == list(range(steps[-1] - 49, steps[-1] + 1))


def test_notable_rows_are_known_by_their_bytes() -> None:
    assert is_notable(SKIPPED)
    assert is_notable(UNDONE)
    assert not is_notable(b'{"skipped":false,"worker":"\\"skipped\\":true"}')


RULES = st.lists(
    st.tuples(st.sampled_from(["step"] * 9 + ["skip", "back", "forget"]), st.integers(0, 12)), min_size=1, max_size=120
)


@settings(examples(quick=5, whole=300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules=RULES, limit=st.sampled_from([1, 2, 3, 5, 8, 16]))
async def test_all_stores_keep_the_same_rows(store: Store, rules: list[tuple[str, int]], limit: int) -> None:
    store.history_limit, model = limit, Thinned(limit)
    head: Head | None = None
    step = 0
    await store.delete("session-1")
    for version, (rule, back) in enumerate(rules, 1):
        forget = None
        if rule in ("back", "forget"):
            step = max(0, step - back)
            forget = step if rule == "forget" else None
        step += rule != "skip"
        body = body_of(version, is_skipped=rule == "skip")
        if forget is not None:
            model.forget_after(forget)
        model.add((step, version, body))
        head = await saved(store, head, row=HistoryRow(step, body, rule == "skip"), forget_after=forget)
    assert await store.history("session-1", -1, 1000) == [body for _, _, body in model.rows]
