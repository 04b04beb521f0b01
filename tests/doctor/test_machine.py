"""The machine: its memory, its kernel and its limits are compared with the settings."""

import resource
from pathlib import Path

import pytest

from app.doctor import machine
from app.doctor.finding import Finding
from app.settings import Settings


def found(check: str, **settings: int) -> Finding:
    (finding,) = (each for each in machine.examined(Settings(store="memory:", **settings)) if each.check == check)
    return finding


def test_python_and_the_system_are_named() -> None:
    assert found("system").found.startswith("Python 3.")


def test_caches_beyond_the_memory_are_found() -> None:
    assert found("memory", state_cache_bytes=0, spare_bytes=0).level == "ok"
    finding = found("memory", state_cache_bytes=1 << 60)
    assert finding.level == "warning"
    assert "OPTIM_STATE_CACHE_BYTES" in (finding.way_out or "")


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("1000000000\n")
    monkeypatch.setattr(machine, "CGROUP", limit)
    assert "of 1.0 GB available; states in memory may take 3.2 GB" in found("memory").found


def test_a_kernel_without_a_folder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "installed", lambda: "numba")
    monkeypatch.setattr(machine, "cache_folder", lambda: Path("here"))
    assert found("kernel").found == "numba, kept in here"
    monkeypatch.setattr(machine, "cache_folder", lambda: None)
    assert "NUMBA_CACHE_DIR" in (found("kernel").way_out or "")
    monkeypatch.setattr(machine, "installed", lambda: "numpy")
    assert "Install numba" in (found("kernel").way_out or "")


def test_few_open_files_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))  # a hard limit that is lowered stays
    finding = found("files")
    assert finding.level == "warning"
    assert finding.found.startswith("1024 open files at most")
