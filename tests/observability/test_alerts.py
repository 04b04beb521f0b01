"""The alerts: well formed, and each fires for what it is for and for nothing less."""

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability.prometheus import FOLDER, Prometheus

RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
TESTS = Path(__file__).with_name("alerts.yml")


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("check", [("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml")])
def test_promtool_finds_no_fault(check: tuple[str, ...]) -> None:
    checked = promtool(*check[:2], str(FOLDER / check[2]))
    assert checked.returncode == 0, checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout


def test_alerts_fire_when_they_should() -> None:
    checked = promtool("test", "rules", str(TESTS))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_is_seen_firing_and_silent() -> None:
    seen = {(case["alertname"], bool(case["exp_alerts"])) for case in _cases()}
    assert seen == {(rule["alert"], fires) for rule in RULES for fires in (True, False)}


def _cases() -> list[dict[str, Any]]:
    return [case for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]]


def test_no_alert_fires_for_services_that_are_well(watching: Prometheus) -> None:
    deadline = time.monotonic() + 30
    while {rule["health"] for group in watching.get("rules")["groups"] for rule in group["rules"]} != {"ok"}:
        assert time.monotonic() < deadline, watching.get("rules")
        time.sleep(0.2)
    assert watching.get("alerts")["alerts"] == []
