"""The places of compiled kernels: found beside their source, although nobody can write there."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

KERNEL = """
from numba import float64, njit
from numba.core.caching import CompileResultCacheImpl
import os
from optim_engine.fused_cache import KernelCache
if "NOWHERE" in os.environ:
    CompileResultCacheImpl._locator_classes = []

def double(x):
    return x + x

kernel = njit(double)
kernel._cache = KernelCache(double)
with kernel._cache.compiling("double"):
    kernel.compile((float64,))
"""
PROGRAM = "from kernel import kernel; print(kernel(1.5), sum(kernel.stats.cache_hits.values()))"


@pytest.fixture
def folder(tmp_path: Path, with_numba: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a program with one kernel."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    (tmp_path / "kernel.py").write_text(KERNEL)
    return tmp_path


def run(folder: Path, **more: str) -> str:
    environment = {**os.environ, **more}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.joinpath("__pycache__").glob("kernel*.nb?")}


@pytest.mark.long
def test_a_shipped_kernel_is_found_where_nothing_can_be_written(folder: Path) -> None:
    assert run(folder, NOWHERE="1") == "3.0 0"
    assert kept(folder) == set()
    run(folder)
    assert kept(folder) != set()
    assert run(folder, NOWHERE="1") == "3.0 1"


@pytest.mark.long
def test_a_kernel_of_another_processor_is_compiled_anew(folder: Path) -> None:
    run(folder, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    before = kept(folder)
    assert run(folder, NOWHERE="1") == "3.0 0"
    assert kept(folder) == before
    assert run(folder, NOWHERE="1", NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") == "3.0 1"


@pytest.mark.long
def test_a_kernel_of_another_source_is_compiled_anew(folder: Path) -> None:
    run(folder)
    (folder / "kernel.py").write_text(KERNEL.replace("x + x", "x * x"))
    assert run(folder, NOWHERE="1") == "2.25 0"


@pytest.mark.long
def test_one_of_several_processes_compiles_a_kernel(folder: Path) -> None:
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(run, [folder] * 2))
    assert sorted(said) == ["3.0 0", "3.0 1"]


@pytest.mark.long
def test_the_folder_of_kernels_is_the_one_that_is_named(tmp_path: Path, with_numba: None) -> None:
    program = "from optim_engine.machine import cache_folder; print(cache_folder())"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).parent == tmp_path
