"""The metrics, as `promtool` and a real Prometheus see them."""

import subprocess
import time
from urllib.request import urlopen

import pytest

from tests.durability.processes import ServerProcess
from tests.observability.prometheus import Prometheus


@pytest.mark.parametrize("processes", ["one process", "two processes"])
def test_promtool_has_no_complaint(services: dict[str, ServerProcess], processes: str) -> None:
    with urlopen(f"{services[processes].url}/metrics") as answer:
        page = answer.read()
    assert page.count(b"# TYPE") > 40
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_prometheus_takes_the_metrics_of_every_target(watching: Prometheus) -> None:
    deadline = time.monotonic() + 30
    while not (targets := watching.get("targets")["activeTargets"]) or any(t["health"] == "unknown" for t in targets):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")] * 2


def test_no_count_goes_back_with_several_processes(watching: Prometheus) -> None:
    query = "sum by (instance) (resets(optim_requests_total[1m]))"
    deadline = time.monotonic() + 30
    while len(watching.values("sum by (instance) (increase(optim_requests_total[5s])) > 0")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert watching.values(query) == [0, 0]
