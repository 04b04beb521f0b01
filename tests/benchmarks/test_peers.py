"""The competitors without torch, on real servers: each takes exactly the steps that it is timed for."""

import signal
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import lmdb
import numpy as np
import pytest
from safetensors.numpy import save

from benchmarks.agreement import check_agreement
from benchmarks.peers.disk import BESIDE_STATE, PIECE_BYTES, bare_lmdb, file, saved_bytes
from benchmarks.peers.echo import echo, echoes
from benchmarks.peers.engine import engine
from benchmarks.peers.plain import plain_fastapi
from benchmarks.peers.process import START_SECONDS, python, wait_for
from benchmarks.peers.service import Service, body_of, only_array
from benchmarks.peers.session import Session, Step
from benchmarks.peers.sink import uploads
from benchmarks.peers.workers import worker_rounds
from optim_engine.arrays import Array
from optim_engine.machine import NUMPY
from tests.servers import free_port

ALONE = engine(NUMPY, threads=1)
STEPS = 50
START, GRADS = np.random.default_rng(0).standard_normal((2, 5000), np.float32)


def after(steps: int, sessions: dict[str, Session]) -> dict[str, Array]:
    with ExitStack() as stack:
        entered = {name: stack.enter_context(session(START, GRADS)) for name, session in sessions.items()}
        return {name: [read(step).copy() for _ in range(steps)][-1] for name, step in entered.items()}


def read(step: Step) -> Array:
    assert step.read
    return step.read(step.take())


@pytest.mark.long
def test_both_service_clients_get_the_engines_steps(service: Service) -> None:
    check_agreement(after(5, {"engine": ALONE, "bare": service.steps, "python": service.client_steps}), START)


@pytest.mark.long
def test_a_replay_repeats_the_first_step(service: Service) -> None:
    once = after(1, {"engine": ALONE})["engine"]
    replayed = after(5, {"replays": service.replays})["replays"]
    check_agreement({"once": once, "replayed": replayed}, START)


@pytest.mark.long
def test_a_session_of_many_tensors_takes_the_same_steps(service: Service) -> None:
    many = partial(service.client_steps, tensors=100)
    check_agreement(after(3, {"engine": ALONE, "many": many}), START)


@pytest.mark.long
def test_rounds_of_workers_take_the_same_steps(service: Service) -> None:
    check_agreement(after(3, {"engine": ALONE, "workers": worker_rounds(service, 3)}), START)


@pytest.mark.long
def test_the_echo_answers_with_the_bytes_of_a_step() -> None:
    with echo() as port, echoes(port)(START, GRADS) as step:
        for _ in range(2):
            assert bytes(step.take()) == body_of(GRADS)
        assert step.read is None


def test_the_sink_answers_each_upload_once_it_is_whole() -> None:
    with uploads(8)(START, GRADS) as step:
        for _ in range(3):
            assert [bytes(answer) for answer in step.take()] == [b""] * 8
        assert step.read is None


def test_the_file_has_the_bytes_of_a_save(tmp_path: Path) -> None:
    with file(tmp_path)(START, GRADS) as step:
        for _ in range(2):
            step.take()
    assert (tmp_path / "file").stat().st_size == saved_bytes(START) == 3 * START.nbytes + BESIDE_STATE


@pytest.mark.parametrize("sync", [True, False])
def test_bare_lmdb_holds_a_save_after_each_step(tmp_path: Path, sync: bool) -> None:
    params = np.zeros(1 << 20, np.float32)
    with bare_lmdb(tmp_path, sync=sync)(params, params) as step:
        for _ in range(3):
            step.take()
        (folder,) = tmp_path.iterdir()
        with lmdb.open(str(folder), readonly=True) as environment, environment.begin() as transaction:
            pieces = {int(key): len(value) for key, value in transaction.cursor()}
    assert sorted(pieces) == list(range(len(pieces)))
    assert set(pieces.values()) == {PIECE_BYTES, BESIDE_STATE}
    assert sum(pieces.values()) == saved_bytes(params) == 12 * (1 << 20) + BESIDE_STATE


@pytest.mark.long
def test_the_file_has_about_the_bytes_of_a_small_save(tmp_path: Path) -> None:
    server = Service(f"lmdb:{tmp_path / 'store'}", tmp_path / "log", threads=1)
    server.launch()
    try:
        server.wait_until_ready()
        with server.steps(START, GRADS) as step:
            for _ in range(STEPS):
                step.take()
            tables = table_bytes(tmp_path / "store")
    finally:
        server.kill()
    once, each = tables["heads"] + tables["pieces"], (tables["rows"] + tables["keys"]) / STEPS
    assert once + each - 3 * START.nbytes == pytest.approx(BESIDE_STATE, rel=0.2)


def table_bytes(folder: Path) -> dict[str, int]:
    """Return the bytes of the keys and values in each table of a store."""
    with lmdb.open(str(folder), max_dbs=16, readonly=True) as environment, environment.begin() as transaction:
        names = [bytes(key) for key, _ in transaction.cursor()]
        tables = {name: environment.open_db(name, txn=transaction, create=False) for name in names if name.isalpha()}
        return {
            name.decode(): sum(len(key) + len(value) for key, value in transaction.cursor(table))
            for name, table in tables.items()
        }


@pytest.mark.long
def test_both_json_services_compute_the_same_steps(service: Service, redis_url: str) -> None:
    with plain_fastapi(redis_url) as plain:
        check_agreement(after(5, {"service": service.json_steps, **plain}), START)


def test_a_process_is_ended_with_its_block() -> None:
    code = "import os; print(os.environ['NAME'], flush=True); os.read(os.pipe()[0], 1)"
    with python("-c", code, NAME="a peer") as process:
        assert process.stdout
        assert process.stdout.readline() == "a peer\n"
    assert process.wait() == -signal.SIGKILL


def test_a_process_that_never_listens_is_an_error() -> None:
    started = time.monotonic()
    with python("-c", "") as process, pytest.raises(RuntimeError, match="does not listen on port"):
        wait_for(process, free_port())
    assert time.monotonic() - started < START_SECONDS / 2


def test_the_only_array_of_an_answer_is_a_view() -> None:
    body = memoryview(bytearray(save({"params/w": START})))
    array = only_array(body)
    assert np.array_equal(array, START)
    body[-4:] = np.float32(7).tobytes()
    assert array[-1] == 7


@pytest.mark.long
def test_a_servers_peak_covers_its_answers(service: Service) -> None:
    before = service.peak_bytes()
    big = np.ones(4 << 20, np.float32)
    with service.steps(big, big) as step:
        step.take()
    assert service.peak_bytes() - before > 4 * big.nbytes
