"""The reference: every route, setting and error of the code, and no others."""

import json
import re
from typing import Any

import pytest

from app import traces
from app.errors import ERRORS
from app.keys_file import KeysFile
from app.main import create_app
from app.settings import Settings
from optim_engine import SCHEDULES
from tests import contract
from tests.docs.blocks import DOCUMENTS, ROOT, blocks, name_of, read, rows, section

CLIENT_SETTINGS = {"OPTIM_BASE_URL", "OPTIM_API_KEY"}
UNLISTED = {("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/"), ("GET", "/page/{}")}
"""Routes that the schema does not list."""


@pytest.fixture(scope="module")
def schema() -> Any:
    return create_app(Settings(store="memory:")).openapi()


def routes(text: str) -> set[tuple[str, str]]:
    """Return the methods and paths that a text names, a path's parameters without their names."""
    found = re.findall(r"\b(GET|POST|PUT|PATCH|DELETE)`? `?(/[\w/{}.]*)", text)
    return {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in found}


def routes_of(schema: Any) -> set[tuple[str, str]]:
    return UNLISTED | routes("\n".join(f"{m.upper()} {path}" for path, item in schema["paths"].items() for m in item))


def test_every_route_has_a_heading(schema: Any) -> None:
    headings = "\n".join(re.findall(r"^### .*", read("docs/api.md"), re.MULTILINE))
    assert routes(headings) == routes_of(schema)


@pytest.mark.parametrize("name", [name_of(path) for path in DOCUMENTS])
def test_no_document_names_a_route_that_is_not_there(name: str, schema: Any) -> None:
    assert routes(read(name)) <= routes_of(schema)


def test_every_parameter_of_a_route_is_named(schema: Any) -> None:
    text = read("docs/api.md")
    for item in schema["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] != "path":
                    assert parameter["name"] in text


@pytest.mark.parametrize(
    "name", ["CreateSession", "Session", "SessionSummary", "Step", "StepAnswer", "Preview", "HistoryRow", "SeenTensor"]
)
def test_every_member_of_a_document_is_named(name: str, schema: Any) -> None:
    text = read("docs/api.md")
    for member in schema["components"]["schemas"][name]["properties"]:
        assert re.search(rf'[`"]{member}[`"]', text), member


def test_every_setting_has_a_row_with_its_default_and_description() -> None:
    table = [row for row in rows(read("docs/settings.md")) if row[0].startswith("`OPTIM_")]
    expected = []
    for name, field in Settings.model_fields.items():
        default = "none" if field.default is None else f"`{field.default}`"
        default = "in the user's data folder" if field.default_factory else default
        expected.append([f"`OPTIM_{name.upper()}`", default, field.description])
    assert table == expected


def test_every_variable_of_traces_has_a_row() -> None:
    table = {row[0] for row in rows(section(read("docs/settings.md"), "Traces"))}
    names = {*traces.ENDPOINTS, *traces.PROTOCOLS, traces.EXPORTER, traces.DISABLED}
    assert {f"`{name}`" for name in names} <= table


@pytest.mark.parametrize("name", [name_of(path) for path in DOCUMENTS])
def test_no_document_names_a_setting_that_is_not_there(name: str) -> None:
    known = {f"OPTIM_{setting.upper()}" for setting in Settings.model_fields} | CLIENT_SETTINGS
    constants = set(re.findall(r"\bOPTIM_\w+", read("clients/c/optim.h")))
    assert set(re.findall(r"\bOPTIM_[A-Z_]+\b", read(name))) <= known | constants


def test_every_error_has_a_row_with_status_members_and_headers() -> None:
    table = {row[1].strip("`"): row for row in rows(read("docs/errors.md"))}
    assert table.keys() == ERRORS.keys()
    for code, error in ERRORS.items():
        status, _, members, headers, _ = table[code]
        assert int(status) == error.status
        assert re.findall(r"`(\w+)`", members) == contract.ERRORS[code]["members"]
        for header, value in error("…").headers().items():
            assert f"`{header}`" in headers or f"`{header}: {value}`" in headers, code


@pytest.mark.parametrize("name", ["docs/errors.md", "clients/README.md"])
def test_no_table_names_an_error_that_is_not_there(name: str) -> None:
    for status, codes, *_ in (row for row in rows(read(name)) if re.match(r"\d{3}\b", row[0])):
        for code in re.findall(r"`(\w+)`", codes):
            assert code in ERRORS
            assert str(ERRORS[code].status) in status


def test_the_example_of_an_error_is_one() -> None:
    (example,) = blocks(read("docs/errors.md"), "json")
    problem = json.loads(example)
    fields = {name: problem[name] for name in problem if name in ("tensor", "expected", "got")}
    assert problem == ERRORS[problem["code"]](problem["detail"], **fields).problem()


def test_every_schedule_has_a_row_with_its_formula() -> None:
    table = {row[0].strip("`"): row[2] for row in rows(section(read("docs/api.md"), "Schedules"))}
    assert table.keys() == SCHEDULES.keys()
    for name, kind in SCHEDULES.items():
        assert table[name] == (kind.__doc__ or "").removeprefix("Always ").removesuffix(".")


def test_the_keys_file_of_the_docs_is_one() -> None:
    (example,) = blocks(section(read("docs/settings.md"), "API keys"), "json")
    assert [key.role for key in KeysFile.model_validate_json(example).keys] == ["write", "read"]


def test_the_version_has_a_place_in_the_changelog() -> None:
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert f"## {version[1]}" in read("CHANGELOG.md")
