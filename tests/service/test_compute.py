"""The compute pool: small work at once, large work on a thread of its own."""

import asyncio
import sys
import threading
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from optim_client._tensors import decode

from app import step_change
from app.compute import FUSED_FROM, INLINE_BELOW, Compute
from optim_engine import Config
from optim_engine.machine import NUMPY
from tests.bodies import encode
from tests.service.calls import SAFETENSORS, bits, path_of, serving
from tests.service.gathered import created, service


async def test_small_work_is_inline_and_large_work_on_a_thread() -> None:
    compute = Compute(2)
    names = [await compute.run(lambda: threading.current_thread().name, nbytes) for nbytes in (0, INLINE_BELOW)]
    compute.close()
    assert names[0] == threading.current_thread().name
    assert names[1].startswith("compute")


@pytest.fixture
def slow_threads() -> Iterator[None]:
    """Let a thread that waits for the interpreter wait for long."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("slow_threads")
async def test_a_thread_holds_nothing_of_finished_work() -> None:
    compute = Compute(1)
    for _ in range(20):
        memory = np.zeros(8)
        held = [weakref.ref(memory), weakref.ref(await compute.run_apart(partial(np.copy, memory)))]
        del memory
        assert [each() for each in held] == [None, None]
    compute.close()


def test_a_small_step_of_a_large_session_spares_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    step = step_change.step

    def seen(*args: Any) -> Any:
        threads.append(threading.current_thread().name.partition("_")[0])
        return step(*args)

    monkeypatch.setattr(step_change, "step", seen)
    large, small = {"large": np.ones(INLINE_BELOW, np.float32)}, {"small": np.float32([1, 2])}
    with serving() as client:
        session = path_of(client.post("/v1/sessions", json={"optimizer": "adamw"}))
        for tensors in (small, large, small):
            content = encode({"params": tensors, "grads": tensors}, {})
            answer = client.post(f"{session}/steps", content=content, headers={"content-type": SAFETENSORS})
            assert answer.status_code == 200
    assert threads == [threading.current_thread().name, "compute", "compute"]


@pytest.mark.parametrize(
    ("config", "nbytes", "large"),
    [
        (Config.parse("adam"), FUSED_FROM - 1, False),
        (Config.parse("adam"), FUSED_FROM, True),
        (Config.parse("sgd"), FUSED_FROM, True),
        (Config.parse("nadam"), FUSED_FROM, False),
        (Config.parse("nadam", groups=[{"match": ["*"], "optimizer": "adamw"}]), FUSED_FROM, True),
    ],
)
def test_only_large_steps_of_fused_rules_load_loops(
    monkeypatch: pytest.MonkeyPatch, config: Config, nbytes: int, large: bool
) -> None:
    monkeypatch.setattr("app.kernels.NUMPY", NUMPY)
    compute = Compute(1)
    assert (compute.machine(nbytes, config) is compute.machine(FUSED_FROM, Config.parse("adam"))) is large
    compute.close()


async def test_large_steps_at_once_have_the_same_bits() -> None:
    def request(seed: int) -> bytes:
        draw = np.random.default_rng(seed).standard_normal
        return encode({"params": {"w": draw(200_000, np.float32)}, "grads": {"w": draw(200_000, np.float32)}}, {})

    async with service() as client:
        headers = {"content-type": SAFETENSORS}
        sessions = [await created(client) for _ in range(8)]
        one_by_one = [
            (await client.post(f"{session}/steps", content=request(seed), headers=headers)).content
            for seed, session in enumerate(sessions)
        ]
        others = [await created(client) for _ in range(8)]
        at_once = await asyncio.gather(
            *(
                client.post(f"{session}/steps", content=request(seed), headers=headers)
                for seed, session in enumerate(others)
            )
        )
    for once, again in zip(one_by_one, at_once, strict=True):
        assert bits(decode(once, "params")[0]) == bits(decode(again.content, "params")[0])
        assert once == again.content


async def test_calls_that_run_or_wait_are_counted() -> None:
    compute, go = Compute(1), threading.Event()
    running = [asyncio.ensure_future(compute.run_apart(go.wait)) for _ in range(3)]
    assert compute.calls == 3
    running.pop().cancel()
    go.set()
    await asyncio.gather(*running)
    compute.close()
    assert compute.calls == 0
