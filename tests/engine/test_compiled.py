"""Compiled kernels are kept: a second process does not compile them again, which takes seven seconds."""

import subprocess
import sys
from pathlib import Path

import optim_engine

PROGRAM = "import optim_engine.fused"


def kept() -> set[str]:
    return {path.name for path in Path(optim_engine.__file__).parent.joinpath("__pycache__").glob("fused*.nb?")}


def test_a_second_process_finds_the_kernels_of_the_first(with_numba: None) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
    first = kept()
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
    assert kept() == first
