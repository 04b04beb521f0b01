"""The objects of the Helm chart: which there are, that Kubernetes knows them, and that Helm's lint is content."""

import helm_python
import kubernetes_validate
import pytest
import yaml

from tests.deploy.chart import ADDITIONS, CASES, FOLDER, objects, texts, values

OLDEST = yaml.safe_load((FOLDER / "Chart.yaml").read_text())["kubeVersion"].removeprefix(">=").removesuffix("-0")
NEWEST = kubernetes_validate.latest_version()
ALWAYS = {"Service", "ServiceAccount", "NetworkPolicy"}
KINDS = {
    "values.yaml": {"Deployment", "PodDisruptionBudget"},
    "values-cluster.yaml": {"Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler"},
    "values-lmdb.yaml": {"StatefulSet"},
    "values-gateway.yaml": {"HTTPRoute"},
    "values-observability.yaml": {"ServiceMonitor"},
    "values-insecure.yaml": set[str](),
}
FOREIGN = {"HTTPRoute", "ServiceMonitor"}
"""Kinds that are not Kubernetes's own. Tests below compare them word for word."""
LABELS = {"app.kubernetes.io/name": "optim-service", "app.kubernetes.io/instance": "optim"}
NAME = "optim-optim-service"
WARNING = 2


def test_every_value_file_is_tried() -> None:
    assert {name for case in CASES for name in case} == {file.name for file in FOLDER.glob("values*.yaml")}


@pytest.mark.parametrize("case", CASES, ids="+".join)
def test_a_release_has_the_objects_of_its_values(case: tuple[str, ...]) -> None:
    assert objects(values(*case)).keys() == ALWAYS.union(*(KINDS[file] for file in case))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("case", CASES, ids="+".join)
def test_each_object_fits_the_schema_of_kubernetes(case: tuple[str, ...], version: str) -> None:
    for kind, document in objects(values(*case)).items():
        if kind not in FOREIGN:
            kubernetes_validate.validate(document, version, strict=True)


def test_an_unknown_field_does_not_fit() -> None:
    service = objects(values("values.yaml"))["Service"]
    service["spec"]["sessionaffinity"] = "None"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, NEWEST, strict=True)


@pytest.mark.parametrize("case", CASES, ids="+".join)
def test_lint_finds_nothing(case: tuple[str, ...]) -> None:
    report = helm_python.lint(FOLDER, values(*case), strict=True)
    assert report["total_charts_linted"] == 1
    assert [message for message in report["messages"] if message["severity"] >= WARNING] == report["errors"] == []


def test_all_objects_select_the_pods_of_the_release() -> None:
    found = objects(values("values-cluster.yaml", *ADDITIONS))
    assert found["Deployment"]["spec"]["template"]["metadata"]["labels"].items() >= LABELS.items()
    assert found["Service"]["spec"]["selector"] == LABELS
    assert found["NetworkPolicy"]["spec"]["podSelector"] == {"matchLabels": LABELS}
    for kind in ("Deployment", "PodDisruptionBudget", "ServiceMonitor"):
        assert found[kind]["spec"]["selector"] == {"matchLabels": LABELS}
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": found["Deployment"]["metadata"]["name"]}


def test_the_autoscaler_alone_sets_the_replicas() -> None:
    assert objects(values("values.yaml"))["Deployment"]["spec"]["replicas"] == 2
    assert "replicas" not in objects(values("values-cluster.yaml"))["Deployment"]["spec"]


def test_one_replica_has_no_disruption_budget() -> None:
    assert "PodDisruptionBudget" not in objects(values("values.yaml", replicas=1))


def test_the_embedded_store_is_one_pod_with_a_claim() -> None:
    given = values("values-lmdb.yaml", store={"lmdb": {"size": "30Gi", "storageClassName": "fast"}})
    spec = objects(given)["StatefulSet"]["spec"]
    assert spec["replicas"] == 1
    [claim] = spec["volumeClaimTemplates"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOncePod"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "30Gi"}},
    }
    [container] = spec["template"]["spec"]["containers"]
    assert {"name": claim["metadata"]["name"], "mountPath": "/data"} in container["volumeMounts"]


@pytest.mark.parametrize(
    ("base", "stores"), [("values.yaml", [6379]), ("values-cluster.yaml", [6379]), ("values-lmdb.yaml", [])]
)
def test_only_the_namespace_enters_and_pods_reach_the_store(base: str, stores: list[int]) -> None:
    policy = objects(values(base))["NetworkPolicy"]["spec"]
    assert policy["ingress"] == [{"from": [{"podSelector": {}}], "ports": [{"port": "http", "protocol": "TCP"}]}]
    [rule] = policy["egress"]
    assert [port["port"] for port in rule["ports"]] == [53, 53, *stores]


def test_a_route_leads_to_the_service_without_a_timeout() -> None:
    assert objects(values("values-gateway.yaml"))["HTTPRoute"]["spec"] == {
        "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
        "hostnames": ["optim.example.org"],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "timeouts": {"request": "0s"},
                "backendRefs": [{"name": NAME, "port": 8000}],
            }
        ],
    }


def test_affinity_of_envoy_gateway_is_a_policy_of_the_route() -> None:
    found = objects(values("values-gateway.yaml", route={"affinity": "envoy-gateway"}))
    assert found["BackendTrafficPolicy"]["spec"] == {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": NAME}],
        "loadBalancer": {"type": "ConsistentHash", "consistentHash": {"type": "SourceIP"}},
    }


def test_prometheus_gets_the_jobs_name_and_a_key() -> None:
    monitor = objects(values("values-observability.yaml"))["ServiceMonitor"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["endpoints"] == [
        {
            "port": "http",
            "path": "/metrics",
            "interval": "15s",
            "authorization": {"credentials": {"name": "optim-monitoring", "key": "key"}},
            "relabelings": [{"targetLabel": "job", "replacement": "optim"}],
        }
    ]


def test_the_notes_say_where_the_service_and_its_keys_are() -> None:
    notes = texts(values("values-gateway.yaml"))["NOTES.txt"]
    assert f"http://{NAME}.lab:8000 within the cluster, and at https://optim.example.org." in notes
    assert "kubectl create secret generic optim-keys --namespace lab --from-file keys.json" in notes
    assert f"data-{NAME}-0" in texts(values("values-lmdb.yaml"))["NOTES.txt"]
    assert "no API keys" in texts(values("values-insecure.yaml"))["NOTES.txt"]
