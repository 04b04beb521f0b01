"""The competitors without torch, on real servers: each takes exactly the steps that it is timed for."""

import signal
import time
from contextlib import ExitStack

import numpy as np
import pytest
from safetensors.numpy import save

from benchmarks.agreement import check_agreement
from benchmarks.peers.engine import engine
from benchmarks.peers.plain import plain_fastapi
from benchmarks.peers.process import START_SECONDS, python, wait_for
from benchmarks.peers.service import Service, only_array
from benchmarks.peers.session import Session
from optim_engine.arrays import Array
from optim_engine.machine import NUMPY
from tests.servers import free_port

ALONE = engine(NUMPY, threads=1)
START, GRADS = np.random.default_rng(0).standard_normal((2, 5000), np.float32)


def after(steps: int, sessions: dict[str, Session]) -> dict[str, Array]:
    with ExitStack() as stack:
        entered = {name: stack.enter_context(session(START, GRADS)) for name, session in sessions.items()}
        return {name: [step.read(step.take()).copy() for _ in range(steps)][-1] for name, step in entered.items()}


def test_both_service_clients_get_the_engines_steps(service: Service) -> None:
    check_agreement(after(5, {"engine": ALONE, "bare": service.steps, "python": service.client_steps}), START)


def test_a_replay_repeats_the_first_step(service: Service) -> None:
    once = after(1, {"engine": ALONE})["engine"]
    replayed = after(5, {"replays": service.replays})["replays"]
    check_agreement({"once": once, "replayed": replayed}, START)


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


def test_a_servers_peak_covers_its_answers(service: Service) -> None:
    before = service.peak_bytes()
    big = np.ones(4 << 20, np.float32)
    with service.steps(big, big) as step:
        step.take()
    assert service.peak_bytes() - before > 4 * big.nbytes
