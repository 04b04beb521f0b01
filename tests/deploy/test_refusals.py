"""The values that the Helm chart refuses, each with its way out."""

from typing import Any

import helm_python
import pytest

from tests.deploy.chart import texts, values

LMDB = "values-lmdb.yaml"
TRIED: list[tuple[str, dict[str, Any], str]] = [
    (LMDB, {"replicas": 2}, "replicas is 2: set replicas to 1"),
    (LMDB, {"autoscaling": {"enabled": True}}, "autoscaling is enabled: set replicas to 1 and autoscaling.enabled"),
    (LMDB, {"store": {"url": "redis://redis"}}, "leave store.url and store.urlSecret.name empty"),
    ("values.yaml", {"store": {"url": ""}}, "set store.url to redis://host:6379/0"),
    ("values-cluster.yaml", {"store": {"url": "redis://redis"}}, "two addresses: leave store.url or"),
    ("values.yaml", {"store": {"url": "redis://:secret@redis"}}, "put the address into a Secret"),
    ("values.yaml", {"store": {"url": "redis://redis?password=secret"}}, "put the address into a Secret"),
    ("values.yaml", {"apiKeys": {"secret": ""}}, "set apiKeys.secret to a Secret with keys.json"),
    ("values.yaml", {"apiKeys": {"insecure": True}}, "set one of them"),
    ("values-observability.yaml", {"serviceMonitor": {"keySecret": {"name": ""}}}, "set serviceMonitor.keySecret.name"),
    ("values-insecure.yaml", {"serviceMonitor": {"enabled": True}}, "set apiKeys.secret, or settings.allowed_hosts"),
    ("values.yaml", {"route": {"enabled": True}}, "set route.parentRefs"),
    ("values.yaml", {"extraEnv": [{"name": "OPTIM_WORKERS", "value": "2"}]}, "extraEnv has OPTIM_WORKERS"),
]
UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"replicaCount": 3}, "additional properties 'replicaCount' not allowed"),
    ({"settings": {"worker": 3}}, "additional properties 'worker' not allowed"),
    ({"settings": {"workers": 0}}, "minimum: got 0, want 1"),
    ({"settings": {"store": "memory:"}}, "additional properties 'store' not allowed"),
    ({"store": {"kind": "memory"}}, "/store/kind"),
    ({"store": {"url": "http://redis"}}, "/store/url"),
]


@pytest.mark.parametrize(("file", "change", "way_out"), TRIED)
def test_values_that_do_not_fit_together_are_refused(file: str, change: dict[str, Any], way_out: str) -> None:
    with pytest.raises(helm_python.HelmRenderError) as refusal:
        texts(values(file, **change))
    assert way_out in str(refusal.value)
    assert "secret@" not in str(refusal.value)


@pytest.mark.parametrize(("change", "words"), UNKNOWN)
def test_unknown_values_are_refused_by_the_schema(change: dict[str, Any], words: str) -> None:
    with pytest.raises(helm_python.HelmError, match="schema") as refusal:
        texts(values("values.yaml", **change))
    assert words in str(refusal.value)
