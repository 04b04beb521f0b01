"""The numbers of several server processes, shared in files: each writes its own, and any of them joins all.

A process holds a lock for as long as it lives. The files of those that have ended are folded into one.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from app.metrics.families import Family, Join, Labels, Values

FOLDER = "OPTIM_METRICS_FOLDER"
"""The environment variable that names the folder to the server processes. `serve` sets it, and nobody else."""
SECONDS = 1.0
"""The time between two writes. A process that asks for all writes its own before, so that no number ever goes back."""
JOINS: Mapping[Join, Callable[[Iterable[float]], float]] = {"sum": sum, "min": min}

Numbers = dict[str, Values]
"""The values of each family, by its name."""


def numbers_of(families: Iterable[Family]) -> Numbers:
    """Return the numbers of this process."""
    return {family.name: family.values() for family in families}


class Folder:
    """The folder, and this process's file in it, whose name no other process has."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ended = path / "ended"
        self._own = path / f"{os.urandom(8).hex()}.json"
        fcntl.flock(os.open(_lock_of(self._own), os.O_CREAT | os.O_WRONLY), fcntl.LOCK_EX)  # until the process ends

    def write(self, numbers: Numbers) -> None:
        """Write the numbers of this process, in the place of those before."""
        _put(self._own, _rows(numbers))

    def joined(self, families: Sequence[Family]) -> Numbers:
        """Return the numbers of all processes; of those that have ended, the ones that count on."""
        together = [family for family in families if family.join != "own"]
        own = [family for family in families if family.join == "own"]
        return self._together(together) | numbers_of(own)

    def _together(self, families: Sequence[Family]) -> Numbers:
        self._fold(families)
        while True:
            folded, ended = self._read_ended()
            try:
                living = [_numbers(json.loads(file.read_bytes())) for file in self._files() if file.name not in folded]
            except FileNotFoundError:  # another process has just folded it
                continue
            if self._read_ended() == (folded, ended):
                return _join(families, [ended, *living])

    def _fold(self, families: Sequence[Family]) -> None:
        """Add the files of processes that have ended to the sum of such, unless another process is at it."""
        with self._path.joinpath("folding").open("wb") as lock:
            if not _locked(lock.fileno(), fcntl.LOCK_EX):
                return
            folded, ended = self._read_ended()
            _remove(self._path / name for name in folded)  # still there if the process that folded them was killed
            gone = [file for file in self._files() if not _lives(file)]
            if gone:
                found = [ended, *(_numbers(json.loads(file.read_bytes())) for file in gone)]
                lasting = _join([family for family in families if family.lasts], found)
                _put(self._ended, {"files": [file.name for file in gone], "numbers": _rows(lasting)})
                _remove(gone)

    def _files(self) -> list[Path]:
        return [*self._path.glob("*.json")]

    def _read_ended(self) -> tuple[list[str], Numbers]:
        try:
            found = json.loads(self._ended.read_bytes())
        except FileNotFoundError:
            return [], {}
        return found["files"], _numbers(found["numbers"])


def _join(families: Sequence[Family], found: Sequence[Numbers]) -> Numbers:
    return {family.name: _joined(family, [numbers.get(family.name, {}) for numbers in found]) for family in families}


def _joined(family: Family, found: Sequence[Values]) -> Values:
    join = JOINS[family.join]
    names: dict[Labels, None] = dict.fromkeys(chain.from_iterable(found))
    return {
        labels: [
            float(join(column))
            for column in zip(*(values[labels] for values in found if labels in values), strict=True)
        ]
        for labels in names
    }


def _rows(numbers: Numbers) -> dict[str, list[Any]]:
    return {name: [[labels, values] for labels, values in found.items()] for name, found in numbers.items()}


def _numbers(rows: Mapping[str, list[Any]]) -> Numbers:
    return {name: {tuple(labels): values for labels, values in found} for name, found in rows.items()}


def _put(file: Path, content: Mapping[str, Any]) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.replace(file)


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
        _lock_of(file).unlink(missing_ok=True)


def _lock_of(file: Path) -> Path:
    return file.with_suffix(".lock")


def _lives(file: Path) -> bool:
    with _lock_of(file).open("rb") as lock:
        return not _locked(lock.fileno(), fcntl.LOCK_SH)


def _locked(number: int, kind: int) -> bool:
    """Lock an open file, and return whether that went at once."""
    try:
        fcntl.flock(number, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
