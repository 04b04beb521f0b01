"""The compute pool: small work at once, large work on a thread of its own."""

import asyncio
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optim_client._tensors import decode

from app import changes
from app.compute import FUSED_FROM, INLINE_BELOW, Compute
from optim_engine import OPTIMIZERS
from optim_engine.adam import Adam
from optim_engine.machine import NUMPY, Kernel
from tests.bodies import encode
from tests.service.calls import SAFETENSORS, bits, path_of, serving
from tests.service.gathered import created, service
from tests.web.logs import Logs

ADAM = Adam()


async def test_small_work_is_inline_and_large_work_on_a_thread() -> None:
    compute = Compute(2)
    names = [await compute.run(lambda: threading.current_thread().name, nbytes) for nbytes in (0, INLINE_BELOW)]
    compute.close()
    assert names[0] == threading.current_thread().name
    assert names[1].startswith("compute")


def test_a_small_step_of_a_large_session_spares_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    step = changes.step

    def seen(*args: Any) -> Any:
        threads.append(threading.current_thread().name.partition("_")[0])
        return step(*args)

    monkeypatch.setattr(changes, "step", seen)
    large, small = {"large": np.ones(INLINE_BELOW, np.float32)}, {"small": np.float32([1, 2])}
    with serving() as client:
        session = path_of(client.post("/v1/sessions", json={"optimizer": "adamw"}))
        for tensors in (small, large, small):
            content = encode({"params": tensors, "grads": tensors}, {})
            answer = client.post(f"{session}/steps", content=content, headers={"content-type": SAFETENSORS})
            assert answer.status_code == 200
    assert threads == [threading.current_thread().name, "compute", "compute"]


class Library:
    """A fused kernel that is loaded when the test says so, in place of numba's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kernel: Kernel | Exception) -> None:
        self.kernel = kernel
        self.asked = 0
        self.may_load = threading.Event()
        monkeypatch.setattr("app.compute.fused", self._fused)
        monkeypatch.setattr("app.compute.installed", lambda: "numba")
        monkeypatch.setattr("app.compute.NUMPY", NUMPY)

    def _fused(self) -> Kernel:
        self.asked += 1
        assert self.may_load.wait(60)
        if isinstance(self.kernel, Exception):
            raise self.kernel
        return self.kernel

    def load(self) -> None:
        """Return when the thread that loads the kernel has ended."""
        self.may_load.set()
        for thread in threading.enumerate():
            if thread.name == "load-kernel":
                thread.join(60)


def test_the_first_large_step_loads_the_kernel_on_a_thread(monkeypatch: pytest.MonkeyPatch, logs: Logs) -> None:
    library = Library(monkeypatch, replace(NUMPY, name="numba"))
    compute = Compute(2)
    assert compute.machine(FUSED_FROM - 1, ADAM).kernel is NUMPY
    assert library.asked == 0
    assert [compute.machine(FUSED_FROM, ADAM).kernel for _ in range(3)] == [NUMPY] * 3
    library.load()
    assert {compute.machine(nbytes, ADAM).kernel for nbytes in (0, FUSED_FROM)} == {library.kernel}
    assert (compute.kernel, library.asked) == ("numba", 1)
    compute.close()
    (line,) = logs.lines()
    assert (line["event"], line["kernel"]) == ("loaded the kernel for large steps", "numba")


def test_a_kernel_that_cannot_be_loaded_is_not_named(monkeypatch: pytest.MonkeyPatch, logs: Logs) -> None:
    library = Library(monkeypatch, ImportError("needs an older NumPy"))
    compute = Compute(2)
    assert (compute.kernel, compute.machine(FUSED_FROM, ADAM).kernel) == ("numba", NUMPY)
    library.load()
    assert (compute.kernel, compute.machine(FUSED_FROM, ADAM).kernel, library.asked) == ("numpy", NUMPY, 1)
    compute.close()
    (line,) = logs.lines()
    assert (line["level"], line["cause"]) == ("warning", "ImportError: needs an older NumPy")


@pytest.mark.parametrize(("optimizer", "asked"), [("nadam", 0), ("muon", 0), ("sgd", 1), ("rmsprop", 1), ("adam", 1)])
def test_only_a_rule_with_a_fused_loop_loads_the_kernel(
    monkeypatch: pytest.MonkeyPatch, optimizer: str, asked: int
) -> None:
    library = Library(monkeypatch, replace(NUMPY, name="numba"))
    compute = Compute(1)
    compute.machine(FUSED_FROM, OPTIMIZERS[optimizer].settings())
    library.load()
    assert library.asked == asked
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
