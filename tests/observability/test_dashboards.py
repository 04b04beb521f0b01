"""The dashboards: each query of each panel returns data from a real Prometheus."""

import json
import math
import time
from collections.abc import Iterator

import pytest

from tests.docs.blocks import ROOT
from tests.observability.prometheus import Prometheus

FOLDER = ROOT / "deploy/grafana/dashboards"
SECONDS = 60.0


def queries() -> Iterator[tuple[str, str]]:
    """Yield each query, with the names of its dashboard and panel."""
    for file in sorted(FOLDER.glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield f"{file.stem}: {panel['title']} {target['refId']}", target["expr"]


QUERIES = dict(queries())


@pytest.mark.parametrize("panel", QUERIES)
def test_a_query_returns_data(watching: Prometheus, panel: str) -> None:
    query = QUERIES[panel].replace("$__rate_interval", "10s").replace("$instance", ".*")
    assert "$" not in query
    deadline = time.monotonic() + SECONDS
    while not any(map(math.isfinite, watching.values(query))):
        assert time.monotonic() < deadline, query
        time.sleep(0.5)


def test_the_replicas_to_choose_from_are_the_targets(watching: Prometheus) -> None:
    for file in FOLDER.glob("*.json"):
        (variable,) = json.loads(file.read_text())["templating"]["list"]
        assert variable["query"]["query"] == "label_values(optim_build_info, instance)"
    deadline = time.monotonic() + SECONDS
    while len(watching.get("label/instance/values", **{"match[]": "optim_build_info"})) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.5)
