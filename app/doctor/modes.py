"""The modes of files with secrets and sessions."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from app.doctor.finding import Finding, warning
from app.file_modes import loose


def examined(files: Iterable[Path]) -> Iterator[Finding]:
    """Yield a finding for each file or folder that others may read or write."""
    for line in loose(files):
        found, _, way_out = line.partition(": ")
        yield warning("modes", found, way_out[0].upper() + way_out[1:])
