"""Numbers of several processes, joined through files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.metrics.families import Counter, Family, Gauge, Histogram
from app.metrics.sharing import Folder, Numbers, numbers_of

WRITES_AND_DIES = """
import os, sys
from pathlib import Path
from app.metrics.sharing import Folder, numbers_of
from tests.metrics.test_sharing import families
Folder(Path(sys.argv[1])).write(numbers_of(families(2, 5.0)))
os.kill(os.getpid(), 9)
"""


def families(count: int, size: float) -> list[Family]:
    counter, histogram = Counter("c", "Words.", ("code",)), Histogram("h", "Words.", (1,))
    counter.add("a", amount=count)
    counter.add(f"only of {count}")
    histogram.of().observe(size)
    return [counter, histogram, Gauge("sum", "Words.", lambda: size), Gauge("min", "Words.", lambda: size, join="min")]


def written(folder: Path, count: int, size: float) -> tuple[Folder, list[Family]]:
    """Return this process's part of the folder, with the families that it has written there."""
    own, found = Folder(folder), families(count, size)
    own.write(numbers_of(found))
    return own, found


def killed(folder: Path) -> None:
    """Let a process write its numbers, and be killed."""
    assert subprocess.run([sys.executable, "-c", WRITES_AND_DIES, str(folder)], check=False).returncode == -9


def test_counts_are_added_and_gauges_joined(tmp_path: Path) -> None:
    written(tmp_path, 2, 5.0)
    folder, own = written(tmp_path, 1, 0.5)
    assert folder.joined(own) == {
        "c": {("a",): [3], ("only of 1",): [1], ("only of 2",): [1]},
        "h": {(): [1, 1, 5.5]},
        "sum": {(): [5.5]}, "min": {(): [0.5]},
    }  # fmt: skip


@pytest.mark.long
def test_killed_processes_leave_their_counts_in_one_file(tmp_path: Path) -> None:
    folder, own = written(tmp_path, 1, 0.5)
    for deaths in (1, 2):
        killed(tmp_path)
        for _ in range(2):
            found = folder.joined(own)
            assert found["c"] == {("a",): [1 + 2 * deaths], ("only of 1",): [1], ("only of 2",): [deaths]}
            assert (found["h"][()], found["sum"][()]) == ([1, deaths, 0.5 + 5 * deaths], [0.5])
        assert len([*tmp_path.glob("*.json")]) == len([*tmp_path.glob("*.lock")]) == 1


def test_a_folded_file_left_behind_counts_once(tmp_path: Path) -> None:
    folder, own = written(tmp_path, 1, 0.5)
    killed(tmp_path)
    left = {file: file.read_bytes() for file in tmp_path.iterdir()}
    before = folder.joined(own)
    for file, content in left.items():
        if not file.exists():
            file.write_bytes(content)
    assert folder.joined(own) == before
    assert len([*tmp_path.glob("*.json")]) == 1


def test_a_file_that_another_process_folds_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(tmp_path)
    (one, own), (other, _) = written(tmp_path, 1, 0.5), written(tmp_path, 4, 0.5)
    files = one._files
    folds: list[Numbers] = []

    def files_then_fold() -> list[Path]:
        found = files()
        if not folds:
            folds.append(other.joined(own))
        return found

    monkeypatch.setattr(one, "_fold", lambda _: None)
    monkeypatch.setattr(one, "_files", files_then_fold)
    assert one.joined(own) == folds[0]


def test_a_process_writes_over_its_own_numbers(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for count in (1, 2):
        folder.write(numbers_of(families(count, 1.0)))
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_text())["c"][0] == [["a"], [2]]
