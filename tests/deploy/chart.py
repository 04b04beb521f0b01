"""The Helm chart, as it renders and lints: `deploy/helm` with some of its value files, and changes to them."""

from functools import cache
from typing import Any

import helm_python
import yaml

from tests.docs.blocks import ROOT

FOLDER = ROOT / "deploy/helm"
BASES = ("values.yaml", "values-cluster.yaml", "values-lmdb.yaml")
"""Value files that say where sessions are kept."""
ADDITIONS = ("values-gateway.yaml", "values-observability.yaml")
"""Value files that are given beside another one."""
CASES = [*((base,) for base in BASES), *((base, added) for base in BASES for added in ADDITIONS)] + [
    (base, "values-insecure.yaml") for base in BASES
]


def values(*files: str, **changes: Any) -> dict[str, Any]:
    """Return the values of these files and then these changes, the later over the earlier, as Helm merges them."""
    whole: dict[str, Any] = {}
    for layer in (*(yaml.safe_load((FOLDER / file).read_text()) for file in files), changes):
        _lay_over(whole, layer)
    return whole


def _lay_over(whole: dict[str, Any], layer: dict[str, Any]) -> None:
    for name, value in layer.items():
        if isinstance(value, dict) and isinstance(whole.get(name), dict):
            _lay_over(whole[name], value)
        else:
            whole[name] = value


@cache
def _chart() -> helm_python.Chart:
    return helm_python.Chart.load(FOLDER)


def texts(given: dict[str, Any]) -> dict[str, str]:
    """Return what each template renders as a release `optim` in the namespace `lab`.

    Raises `helm_python.HelmError` for values that are refused.
    """
    rendered = _chart().render(given, name="optim", namespace="lab")
    return {name.rpartition("/")[2]: text for name, text in rendered.items()}


def objects(given: dict[str, Any]) -> dict[str, Any]:
    """Return the objects by kind, of which a release has one each."""
    rendered = [text for name, text in texts(given).items() if name.endswith(".yaml")]
    found = [document for text in rendered for document in yaml.safe_load_all(text) if document]
    by_kind = {document["kind"]: document for document in found}
    assert len(by_kind) == len(found)
    return by_kind


def pod(given: dict[str, Any]) -> dict[str, Any]:
    """Return the pod's spec of the Deployment or the StatefulSet."""
    found = objects(given)
    [workload] = [found[kind] for kind in ("Deployment", "StatefulSet") if kind in found]
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec
