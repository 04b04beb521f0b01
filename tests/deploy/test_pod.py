"""The pod of the Helm chart: its rights, its probes, its environment and its time to stop."""

import os
from typing import Any

import pytest

from app.main import create_app
from app.settings import PREFIX, Settings
from tests.deploy.chart import CASES, pod, values
from tests.docs.blocks import read

SECRETS = {"OPTIM_STORE": {"secretKeyRef": {"name": "optim-store", "key": "url"}}}
THREADS = {"resourceFieldRef": {"containerName": "optim", "resource": "requests.cpu", "divisor": "1"}}


def environment(given: dict[str, Any]) -> dict[str, Any]:
    """Return the container's variables: a text, or where it comes from."""
    [container] = pod(given)["containers"]
    found = {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}
    assert len(found) == len(container["env"])
    return found


def settings(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings that a service reads from the container's variables."""
    for name in [name for name in os.environ if name.startswith(PREFIX.upper())]:
        monkeypatch.delenv(name)
    outside = {"OPTIM_STORE": "redis+cluster://:secret@redis:6379", "OPTIM_COMPUTE_THREADS": "1"}
    for name, value in environment(given).items():
        monkeypatch.setenv(name, value if isinstance(value, str) else outside[name])
    monkeypatch.delenv("OPTIM_API_KEYS_FILE", raising=False)  # the file is in the pod alone
    return Settings()


@pytest.mark.parametrize("case", CASES, ids="+".join)
def test_the_pod_has_no_rights_and_writes_to_its_volumes(case: tuple[str, ...]) -> None:
    spec = pod(values(*case))
    assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False
    user = spec["securityContext"]
    assert user["runAsNonRoot"] is True
    assert user["runAsUser"] == user["runAsGroup"] == user["fsGroup"] == 10001
    assert user["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == ({"/tmp", "/data"} if "values-lmdb.yaml" in case else {"/tmp"})


def test_the_user_is_that_of_the_image() -> None:
    assert "\nUSER 10001:10001\n" in read("Dockerfile")


def test_probes_ask_routes_that_there_are() -> None:
    [container] = pod(values("values.yaml"))["containers"]
    wanted = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert {probe: container[probe]["httpGet"]["path"] for probe in wanted} == wanted
    paths = create_app(Settings(store="memory:")).openapi()["paths"]
    assert set(wanted.values()) <= paths.keys()
    assert container["readinessProbe"]["timeoutSeconds"] > 2  # the seconds after which /readyz gives up


@pytest.mark.parametrize("case", CASES, ids="+".join)
def test_each_variable_is_a_setting_that_the_service_takes(
    case: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = values(*case)
    names = {name for name in environment(given) if name.startswith("OPTIM_")}
    assert {name.removeprefix("OPTIM_").lower() for name in names} <= Settings.model_fields.keys()
    read = settings(given, monkeypatch)
    wanted = values("values.yaml", **given)["settings"]
    assert {name: getattr(read, name) for name in wanted} == wanted


def test_large_and_broken_numbers_arrive_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"max_body_bytes": 1 << 42, "head_seconds": 2.5, "log_level": "debug", "compute_threads": 3}
    read = settings(values("values.yaml", settings=wanted), monkeypatch)
    assert {name: getattr(read, name) for name in wanted} == wanted


def test_memory_of_the_settings_fits_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings(values("values.yaml"), monkeypatch)
    [container] = pod(values("values.yaml"))["containers"]
    assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"] == "4Gi"
    assert read.state_cache_bytes + read.spare_bytes + read.max_waiting_bytes < 4 << 30


def test_secrets_come_from_secrets_alone() -> None:
    given = values("values-cluster.yaml")
    assert {name: value for name, value in environment(given).items() if not isinstance(value, str)} == {
        **SECRETS,
        "OPTIM_COMPUTE_THREADS": THREADS,
    }
    assert environment(given)["OPTIM_API_KEYS_FILE"] == "/etc/optim/keys/keys.json"
    [keys] = [volume for volume in pod(given)["volumes"] if volume["name"] == "keys"]
    assert keys["secret"] == {"secretName": "optim-keys", "defaultMode": 0o440}


def test_a_service_without_keys_answers_to_its_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings(values("values-insecure.yaml", "values-gateway.yaml"), monkeypatch)
    assert read.insecure
    assert read.allowed_hosts == (
        "optim-optim-service,optim-optim-service.lab,optim-optim-service.lab.svc,"
        "optim-optim-service.lab.svc.cluster.local,optim.example.org"
    )


@pytest.mark.parametrize("changes", [{}, {"shutdown_seconds": 300}, {"drain_seconds": 60}])
def test_the_pod_may_stop_longer_than_the_service(changes: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    given = values("values.yaml", settings=changes)
    read = settings(given, monkeypatch)
    assert read.drain_seconds >= 5
    assert pod(given)["terminationGracePeriodSeconds"] == read.drain_seconds + read.shutdown_seconds + 10
