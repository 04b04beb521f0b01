"""Traces as the environment asks for them."""

import sys

import pytest

from app import traces
from app.serve import serve
from app.settings import Settings
from app.web.tracing import Tracing
from tests.web.logs import captured

URL = "http://collector:4318"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    "variables",
    [{}, {ENDPOINT: ""}, {ENDPOINT: URL, "OTEL_SDK_DISABLED": "True"}, {ENDPOINT: URL, "OTEL_TRACES_EXPORTER": "none"}],
)
def test_traces_are_off_unless_asked_for(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert traces.endpoint() is None
    assert traces.tracing() is None


@pytest.mark.parametrize(
    "variables",
    [
        {ENDPOINT: URL},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": URL, ENDPOINT: "http://elsewhere"},
        {ENDPOINT: URL, "OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        {ENDPOINT: URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
    ],
)
def test_an_endpoint_asks_for_traces(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert traces.endpoint() == URL
    assert isinstance(traces.tracing(), Tracing)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin is unknown here"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc is unknown here: leave it out"),
        ({ENDPOINT: "collector:4318"}, f"{ENDPOINT} must be an address such as .*, not 'collector:4318'"),
        ({ENDPOINT: "http://"}, f"{ENDPOINT} must be an address"),
    ],
)
def test_an_export_that_cannot_work_is_refused(
    variables: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {ENDPOINT: URL, **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=reason):
        traces.tracing()


def test_a_missing_extra_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, URL)
    monkeypatch.setitem(sys.modules, "app.web.tracing", None)
    with pytest.raises(ValueError, match=r"install `optim-service\[otel\]`, or leave the variable out"):
        traces.tracing()


def test_a_start_that_cannot_export_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "collector:4318")
    with captured(), pytest.raises(ValueError, match=f"{ENDPOINT} must be an address"):
        serve(Settings(store="memory:"))
