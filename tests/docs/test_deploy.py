"""Files of `deploy/`: they name metrics that there are, alerts that the docs explain, and folders that are mounted."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from app.settings import Settings
from tests.docs.blocks import ROOT, read, rows, section

DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
RULES = yaml.safe_load(read("deploy/prometheus/alerts.yml"))["groups"][0]["rules"]
COMPOSE = yaml.safe_load(read("docker-compose.yml"))["services"]
ADDED = COMPOSE["prometheus"], COMPOSE["grafana"]
BUILT_IN = {"up"}
METRIC = re.compile(r"\b((?:optim|process)_[a-z_]+|up)\b")


def queries() -> Iterator[str]:
    """Yield the query of each alert and of each panel."""
    yield from (rule["expr"] for rule in RULES)
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            yield from (target["expr"] for target in panel.get("targets", ()))


def shown() -> set[str]:
    """Return the names of all series."""
    metrics = {row[0].strip("`"): row[1] for row in rows(read("docs/metrics.md"))}
    histograms = {name for name, kind in metrics.items() if kind == "histogram"}
    return {*metrics, *(f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum"))}


def test_queries_name_only_metrics_that_there_are() -> None:
    named = {name for query in queries() for name in METRIC.findall(query)}
    assert len(named) > 40
    assert named - BUILT_IN <= shown()


def test_the_dashboards_show_every_metric() -> None:
    named = " ".join(queries())
    metrics = [row[0].strip("`") for row in rows(read("docs/metrics.md"))]
    unseen = {"process_virtual_memory_bytes", "process_max_fds"}
    assert {name for name in metrics if name not in named} == unseen


def test_every_alert_is_explained_where_it_points_to() -> None:
    headings = re.findall(r"^### (Optim\w+)$", read("docs/operating.md"), re.MULTILINE)
    assert headings == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/operating.md#{rule['alert'].lower()}"


def test_every_panel_that_the_docs_name_is_there() -> None:
    titles = {panel["title"] for file in DASHBOARDS for panel in json.loads(file.read_text())["panels"]}
    page = read("docs/operating.md")
    sections = " ".join((section(page, "Metrics") + section(page, "Alerts")).split())
    named = set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", sections))
    assert len(named) > 8
    assert named <= titles


def test_dashboards_use_the_data_source_that_is_provisioned() -> None:
    (source,) = yaml.safe_load(read("deploy/grafana/provisioning/datasources/prometheus.yml"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    names = re.findall(r'"type": "prometheus",\s+"uid": "(\w+)"', "".join(file.read_text() for file in DASHBOARDS))
    assert {*names} == {source["uid"]}
    assert len({json.loads(file.read_text())["uid"] for file in DASHBOARDS}) == len(DASHBOARDS)


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Return the folders of the repository that a container reads, by their place in it."""
    found = [volume.split(":") for volume in service["volumes"] if volume.startswith("./")]
    assert all(mode == "ro" and (ROOT / source).is_dir() for source, _, mode in found)
    return {place: source for source, place, _ in found}


def test_grafana_finds_its_dashboards_in_the_mounted_folder() -> None:
    (provider,) = yaml.safe_load(read("deploy/grafana/provisioning/dashboards/optim.yml"))["providers"]
    assert mounts(COMPOSE["grafana"])[provider["options"]["path"]] == "./deploy/grafana/dashboards"
    assert mounts(COMPOSE["prometheus"]) == {"/etc/prometheus": "./deploy/prometheus"}
    home = COMPOSE["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "deploy/grafana/dashboards" / home.removeprefix(provider["options"]["path"] + "/")).exists()


def test_prometheus_asks_the_service_of_the_compose_file() -> None:
    (job,) = yaml.safe_load(read("deploy/prometheus/prometheus.yml"))["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["optim:8000"]}]
    assert COMPOSE["optim"]["environment"]["OPTIM_ALLOWED_HOSTS"].startswith("optim,")


def test_what_observes_is_pinned_and_may_do_little() -> None:
    for service in ADDED:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])
        assert service["profiles"] == ["observability"]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_balancers_name_the_replicas_of_the_compose_file() -> None:
    replicas = {name for name in COMPOSE if name.startswith("replica-")}
    assert len(replicas) == 3
    for file in ("deploy/haproxy/haproxy.cfg", "deploy/nginx/nginx.conf"):
        assert set(re.findall(r"^ *server (?:replica-\d )?(replica-\d):8000", read(file), re.MULTILINE)) == replicas


def test_the_profile_cluster_forms_one_of_all_its_nodes() -> None:
    nodes = {name for name in COMPOSE if name.startswith("node-")}
    assert COMPOSE["nodes"]["command"][2:] == [f"{name}:6379" for name in sorted(nodes)]
    assert {*COMPOSE["nodes"]["depends_on"]} == nodes
    assert len({*(volume for name in nodes for volume in COMPOSE[name]["volumes"])}) == len(nodes) == 6
    store = COMPOSE["replica-1"]["environment"]["OPTIM_STORE"]
    assert set(re.findall(r"node-\d", store)) < nodes


def test_a_plain_start_brings_the_service_and_its_redis_alone() -> None:
    assert [name for name, service in COMPOSE.items() if "profiles" not in service] == ["optim", "redis"]
    for name, service in COMPOSE.items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name


def test_a_replica_has_time_to_drain_and_to_stop() -> None:
    replica = COMPOSE["replica-1"]
    drain = int(replica["environment"]["OPTIM_DRAIN_SECONDS"])
    assert int(replica["stop_grace_period"].removesuffix("s")) > drain + Settings(store="memory:").shutdown_seconds
