"""The memory of regions: sealed, and counted until its last view is gone."""

import fcntl
import os

import numpy as np
import pytest

from app.errors import BodyTooLarge, Overloaded
from app.web import regions
from app.web.regions import RegionMemory


def test_nobody_can_change_a_regions_size_or_seals() -> None:
    memory, descriptor = RegionMemory(1 << 20).make(5000, 0)
    try:
        for size in (0, 4999, 5001):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, size)
        with pytest.raises(PermissionError):
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        os.pwrite(descriptor, b"seen", 0)
        assert memory[:4] == b"seen"
    finally:
        os.close(descriptor)


def test_bytes_count_until_the_last_view_is_gone() -> None:
    of = RegionMemory(1000)
    memory, descriptor = of.make(500, 0)
    os.close(descriptor)
    view = np.frombuffer(memoryview(memory)[100:200].toreadonly(), np.uint8)
    other, descriptor = of.make(500, 0)
    os.close(descriptor)
    del memory, other
    of_other = of.make(500, 0)
    os.close(of_other[1])
    with pytest.raises(Overloaded, match="OPTIM_MAX_REGION_BYTES"):
        of.make(1, 0)
    assert view.sum() == 0
    del view
    os.close(of.make(500, 0)[1])


def test_a_connection_gets_at_most_half_the_memory() -> None:
    of = RegionMemory(1000)
    with pytest.raises(BodyTooLarge, match=r"may have 500 bytes, this one has 200 and asks for 301"):
        of.make(301, 200)
    os.close(of.make(300, 200)[1])


def test_a_process_has_a_bounded_number_of_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "MOST_IN_ALL", 2)
    of = RegionMemory(1000)
    made = [of.make(1, 0) for _ in range(2)]
    with pytest.raises(Overloaded):
        of.make(1, 0)
    for _, descriptor in made:
        os.close(descriptor)


def test_what_open_connections_have_is_reported() -> None:
    told: list[int] = []
    of = RegionMemory(1000, told.append)
    for nbytes in (300, 200, -300, -200):
        of.count(nbytes)
    assert told == [300, 500, 200, 0]


def test_regions_take_a_quarter_of_the_files_that_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (8, 8))
    of = RegionMemory(1000)
    made = [of.make(1, 0) for _ in range(2)]
    with pytest.raises(Overloaded):
        of.make(1, 0)
    for _, descriptor in made:
        os.close(descriptor)
