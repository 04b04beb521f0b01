"""The engine's bits, held against those that every processor must give."""

import json

import pytest

from optim_engine.machine import Kernel
from tests.processors.bits import FILE, digests, kernels


@pytest.mark.campaign
@pytest.mark.parametrize("kernel", kernels(), ids=lambda kernel: kernel.name)
@pytest.mark.long
def test_every_run_gives_the_bits_of_every_processor(kernel: Kernel) -> None:
    expected = json.loads(FILE.read_text())
    found = digests(kernel)
    assert found.keys() == expected.keys()
    assert {name: bits for name, bits in found.items() if bits != expected[name]} == {}
