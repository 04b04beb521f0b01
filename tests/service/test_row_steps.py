"""Steps of some rows of a lazy table: on every store they leave what a copy would, and write no other piece."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.errors import StateDamaged, StoreUnavailable
from app.once import Once
from app.step import StepAnswer, StepRequest
from app.store.block_sums import sum_of
from app.store.piece import PIECE_BYTES, checksum_of, cut
from app.wire.codec import Limits
from app.wire.state_file import StateFile, write_state
from optim_engine import Config, NonFinite, State
from optim_engine import step as engine_step
from optim_engine.arrays import Array
from tests.service.processes import CREATION, Process
from tests.service.test_in_place import place_of, unwatched
from tests.store.places import Place, place_at

ROWS, WIDTH = 20_000, 32
LAZY = Config.parse(
    "adamw",
    hyperparameters={"lr": 0.01, "weight_decay": 0.1},
    hold_params=True,
    groups=[{"match": ["emb"], "sparse": "lazy"}],
)
TABLE = np.random.default_rng(0).standard_normal((ROWS, WIDTH), np.float32)
HEAD = np.ones((3, 300), np.float32)
LIMITS = Limits(100, 100)


@pytest.fixture
async def place(store_url: str) -> AsyncIterator[Place]:
    place = place_at(store_url)
    async with place.store:
        yield place


def rows_of(step: int) -> Array:
    """Return the rows of a step: some next to each other, or some anywhere."""
    if step % 2:
        return np.arange(7 * step, 7 * step + 50)
    return np.sort(np.random.default_rng(step).choice(ROWS, 40, replace=False))


def request(step: int, *, dense: bool = True) -> StepRequest:
    draw, rows = np.random.default_rng(step).standard_normal, rows_of(step)
    grads = {"emb": draw((len(rows), WIDTH), np.float32)} | ({"head": draw(HEAD.shape, np.float32)} if dense else {})
    return StepRequest(grads, Once("POST …/steps", f"{step} {dense}"), step=step, rows={"emb": rows})


async def stepped(process: Process, steps: int, config: Config = LAZY) -> str:
    _, session, _ = await process.sessions.create("tenant", config, CREATION)
    held = Once("PUT …/params")
    await process.sessions.hold("tenant", session.id, {"emb": TABLE, "head": HEAD}, held)
    for step in range(1, steps + 1):
        await process.stepping.step("tenant", session.id, request(step))
    return session.id


def expected(steps: int) -> State:
    """Return the state that the engine alone comes to."""
    state = State.empty().with_params({"emb": TABLE, "head": HEAD})
    for step in range(1, steps + 1):
        asked = request(step)
        state = engine_step(LAZY, state, {}, asked.grads, rows=asked.rows).state
    return state


async def check(process: Process, known: str, steps: int) -> None:
    """Check that a session's state and digest are those of the engine, with every checksum made anew."""
    loaded, state = await process.records.load("tenant", known), expected(steps)
    assert loaded.state.memory.tobytes() == state.memory.tobytes()
    assert [piece.checksum for piece in loaded.head.pieces] == [sum_of(data) for data in cut(state.memory.data)]
    assert loaded.session.digest == loaded.session.with_digest(loaded.head.pieces).digest


async def test_steps_of_rows_lead_where_the_engine_does(place: Place) -> None:
    process = Process(place.store)
    known = await stepped(process, 4)
    await check(process, known, 4)
    await check(Process(place.store), known, 4)


async def test_only_touched_pieces_are_written_again(place: Place) -> None:
    process = Process(place.store)
    known = await stepped(process, 1)
    before = set(await place.pieces(known))
    await unwatched(process, known)
    address = place_of(process, known)
    await process.stepping.step("tenant", known, replace(request(3, dense=False), step=2))
    after = await place.pieces(known)
    loaded = await process.records.load("tenant", known)
    fresh = [piece for piece in loaded.head.pieces if piece.name not in before]
    assert place_of(process, known) == address
    assert after.keys() == {piece.name for piece in loaded.head.pieces}
    assert 0 < len(fresh) < len(loaded.head.pieces) == -(-loaded.state.memory.nbytes // PIECE_BYTES)


async def test_two_processes_step_a_table_in_turns(place: Place) -> None:
    one, other = Process(place.store), Process(place.store)
    known = await stepped(one, 1)
    for step in (2, 3, 4, 5):
        await (one if step % 2 else other).stepping.step("tenant", known, request(step))
    for process in (one, other, Process(place.store)):
        await check(process, known, 5)


async def test_an_answer_with_rows_is_repeated(place: Place) -> None:
    process = Process(place.store)
    known = await stepped(process, 2)
    first = await process.stepping.step("tenant", known, request(3))
    for each in (process, Process(place.store)):
        again = await each.stepping.step("tenant", known, request(3))
        assert again.replayed
        assert content(again) == content(first)
    assert first.params["emb"].shape == (50, WIDTH)
    await check(process, known, 3)


def content(answer: StepAnswer) -> Any:
    tensors = {name: array.tobytes() for name, array in (*answer.params.items(), *answer.rows.items())}
    return tensors, answer.kept.params_digest, answer.kept.digest


async def test_a_preview_of_rows_answers_what_the_step_will(place: Place) -> None:
    process = Process(place.store)
    known = await stepped(process, 2)
    preview = await process.stepping.preview("tenant", known, request(3))
    assert content(await process.stepping.step("tenant", known, request(3))) == content(preview)


async def test_a_table_is_read_anew_after_a_failed_save(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    if place.store.keeps_views:
        return
    process = Process(place.store)
    known = await stepped(process, 2)

    async def failing(*_: Any) -> None:
        raise StoreUnavailable("no")

    await unwatched(process, known)
    with monkeypatch.context() as patch:
        patch.setattr(process.records, "save", failing)
        with pytest.raises(StoreUnavailable):
            await process.stepping.step("tenant", known, request(3))
    await check(process, known, 2)
    await process.stepping.step("tenant", known, request(3))
    await check(process, known, 3)


async def test_a_damaged_table_is_refused(place: Place) -> None:
    known = await stepped(Process(place.store), 2)
    name, data = next(iter((await place.pieces(known)).items()))
    damaged = bytearray(data)
    damaged[5000] ^= 1
    await place.put_piece(known, name, bytes(damaged))
    with pytest.raises(StateDamaged, match=name):
        await Process(place.store).records.load("tenant", known)


async def test_a_table_goes_on_from_its_state_file(place: Place) -> None:
    process = Process(place.store)
    known = await stepped(process, 3)
    loaded = await process.records.load("tenant", known)
    file = StateFile(memoryview(b"".join(write_state(loaded.session, loaded.state))), LIMITS)
    _, made, _ = await process.sessions.create("tenant", LAZY, CREATION, state=file.state)
    assert made.digest == loaded.session.digest
    await process.stepping.step("tenant", made.id, request(4))
    await check(process, made.id, 4)


async def test_a_change_to_lazy_gives_the_pieces_sums(place: Place) -> None:
    process = Process(place.store)
    known = await stepped(process, 0, Config.parse("adamw", hold_params=True, groups=[]))
    before = await process.records.load("tenant", known)
    assert before.head.pieces[0].checksum == checksum_of(before.state.memory.data[:PIECE_BYTES])
    await process.sessions.update("tenant", known, lambda session: replace(session, config=LAZY), Once("PATCH …"))
    loaded = await Process(place.store).records.load("tenant", known)
    assert loaded.head.pieces[0].checksum == sum_of(loaded.state.memory.data[:PIECE_BYTES])
    await process.stepping.step("tenant", known, request(1))
    await check(process, known, 1)


async def test_a_skipped_step_of_rows_writes_no_piece(place: Place) -> None:
    process = Process(place.store)
    known = await stepped(process, 2, replace(LAZY, on_non_finite="skip"))
    before = await process.records.load("tenant", known)
    bad = request(3)
    bad.grads["emb"][1, 2] = np.nan
    answer = await process.stepping.step("tenant", known, bad)
    assert answer.skipped
    assert content(await process.stepping.step("tenant", known, bad)) == content(answer)
    assert (await process.records.load("tenant", known)).head.pieces == before.head.pieces


async def test_a_refused_step_of_rows_changes_nothing(place: Place) -> None:
    process = Process(place.store)
    known = await stepped(process, 2)
    bad = request(3)
    bad.grads["emb"][1, 2] = np.nan
    for _ in range(2):
        with pytest.raises(NonFinite, match=f"{rows_of(3)[1]}"):
            await process.stepping.step("tenant", known, bad)
    await check(process, known, 2)
