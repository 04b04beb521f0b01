"""The facts about the machine on which the benchmarks ran."""

import platform
from typing import Any

import pytest

from benchmarks import page


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return page.load()


def test_the_machine_is_described_without_name_or_path(results: dict[str, Any]) -> None:
    said = " ".join(results["machine"].values())
    assert "/" not in said
    assert platform.node() not in said.split()
