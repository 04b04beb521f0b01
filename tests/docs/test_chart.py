"""The Helm chart's schema of values: it has the service's settings, with their types and bounds."""

import json
from typing import Any

from app.settings import Settings
from tests.docs.blocks import read

OF_THE_CHART = {
    "store", "port", "unix_socket", "api_keys_file", "api_key_sha256", "insecure", "ssl_certfile", "ssl_keyfile",
    "ssl_keyfile_password",
}  # fmt: skip
"""The settings that the chart makes from other values, and those that pods do not need."""


def bounds(field: dict[str, Any]) -> dict[str, Any]:
    """Return the type and the bounds of a setting, without its words and without null."""
    [typed] = [kind for kind in field.get("anyOf", [field]) if kind != {"type": "null"}]
    return {name: value for name, value in typed.items() if name not in ("default", "description", "title")}


def test_the_chart_takes_each_setting_within_its_bounds() -> None:
    fields = Settings.model_json_schema()["properties"]
    found = json.loads(read("deploy/helm/values.schema.json"))["properties"]["settings"]
    assert found["additionalProperties"] is False
    assert found["properties"] == {name: bounds(fields[name]) for name in fields if name not in OF_THE_CHART}
