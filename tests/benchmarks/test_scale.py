"""The model of a fleet, and `docs/scale.md`, whose tables must be the model's."""

import re

import pytest

from benchmarks.page import markdown
from benchmarks.peers.fleet import Run
from benchmarks.scale import NODE_CORES, Costs, best, breaks, compared, costs_table, fleets, limits, on_one_machine
from tests.docs.blocks import read, rows, section

SMALL = Costs(1_000, service_ms=1.0, store_ms=0.25, client_ms=0.25, store_bytes=16_000)
LARGE = Costs(1_000_000, service_ms=10.0, store_ms=5.0, client_ms=2.0, store_bytes=12_000_000)


@pytest.mark.parametrize(("processes", "cores", "rate"), [(1, 2, 1000), (2, 2, 1333), (8, 2, 1333), (8, 64, 4000)])
def test_a_machine_is_limited_by_processes_cores_and_redis(processes: int, cores: int, rate: int) -> None:
    assert round(on_one_machine(SMALL, processes, cores)) == rate


def test_twice_the_nodes_allow_twice_the_steps() -> None:
    one, two = limits(LARGE, 5, 3), limits(LARGE, 10, 6)
    assert two == pytest.approx({name: 2 * rate for name, rate in one.items()})
    assert one["cores of the service"] == 5 * NODE_CORES * 100


def test_no_other_division_of_the_nodes_is_quicker() -> None:
    services, first, rate = best(SMALL, 10)
    assert (services, first) == (8, "cores of the service")
    assert all(min(limits(SMALL, other, 10 - other).values()) <= rate for other in range(1, 10))


def test_predictions_stand_beside_measurements() -> None:
    head, row = compared(SMALL, {1: Run(900.0, 1.0, 0.25, 0.25, 16_000)})
    assert row == ["1", "1,000", "900", "0.90", "1.50 ms"]
    assert len(head) == len(row)


def test_the_page_has_the_tables_of_the_model() -> None:
    page = read("docs/scale.md")
    costs = [
        Costs(number(row[0]), *(float(cell.removesuffix(" ms")) for cell in row[1:4]), number(row[4]))
        for row in rows(section(page, "The costs of a step"))
    ]
    assert markdown(costs_table(costs)) in page
    assert markdown([*fleets(costs)]) in page
    (idle,) = re.findall(r"costs its store ([\d.]+) ms of CPU a second", page)
    assert markdown(breaks(float(idle))) in page


def number(text: str) -> int:
    return int(text.replace(",", ""))
