"""The types of the TypeScript client's settings and errors, compared with the service's. Node is not needed."""

import re
from functools import reduce
from operator import or_
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from app.session import Session
from app.wire.session_json import CHANGEABLE, CREATION, FORKED
from optim_engine import OPTIMIZERS, Config
from optim_engine.groups import BESIDE
from tests.clients.languages import LANGUAGES
from tests.contract import ERRORS, SCHEDULES

SOURCE = LANGUAGES["typescript"].folder / "src"
SETTINGS = (SOURCE / "settings.ts").read_text(encoding="utf-8")
RULES = [get_type_hints(rule.settings) for rule in OPTIMIZERS.values()]
TYPES: dict[str, Any] = get_type_hints(Config) | get_type_hints(Session)
PLAIN = [name for name, row in CREATION.items() if row.schema and name not in ("optimizer", "average")]


def members(interface: str) -> dict[str, str]:
    """Return the members of an interface, without those that it inherits; an optional one has a question mark."""
    found = re.search(rf"^export interface {interface} [^{{]*{{\n(.*?)^}}", SETTINGS, re.MULTILINE | re.DOTALL)
    assert found, interface
    return dict(re.findall(r"^  (\w+\??): (.*)$", found[1], re.MULTILINE))


def union(name: str) -> list[str]:
    """Return the parts of a type that is a union."""
    found = re.search(rf"^export type {name} =((?:\n  \| .*)+)", SETTINGS, re.MULTILINE)
    assert found, name
    return re.findall(r"\| '?(\w+)'?", found[1])


def written(type_: Any) -> set[str]:
    """Return a Python type as the parts of a TypeScript union."""
    simple = {int: "number", float: "number", bool: "boolean", str: "string", NoneType: "null"}
    if type_ in simple:
        return {simple[type_]}
    if get_origin(type_) is tuple:
        parts = (" | ".join(sorted(written(part), reverse=True)) for part in get_args(type_))
        return {f"readonly [{', '.join(parts)}]"}
    if isinstance(type_, str):
        return {f"'{type_}'"}
    return {part for each in get_args(type_) for part in written(each)}


def parts(text: str) -> set[str]:
    """Return the parts of a TypeScript union; those of tuples stay together."""
    return {part.strip() for part in re.findall(r"(?:\[[^]]*\]|[^|\[])+", text)}


def test_every_optimizer_has_a_type() -> None:
    assert union("Optimizer") == sorted(OPTIMIZERS)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_schedules_type_has_the_contracts_settings(kind: str) -> None:
    name = "".join(word.capitalize() for word in kind.split("_")) + "Schedule"
    assert name in union("Schedule")
    types = {"integer": "number", "number": "number", "array": "readonly number[]"}
    expected = {
        setting if setting in SCHEDULES[kind]["required"] else f"{setting}?": types[schema["type"]]
        for setting, schema in SCHEDULES[kind]["settings"].items()
    }
    assert members("Start") | members(name) == {"kind": f"'{kind}'", **expected}


def test_every_schedule_has_a_type() -> None:
    assert len(union("Schedule")) == len(SCHEDULES)


@pytest.mark.parametrize(
    ("interfaces", "names"),
    [
        (("Changes", "Settings"), CREATION.keys() - {"optimizer", "hyperparameters"}),
        (("Changes",), CHANGEABLE.keys() - {"hyperparameters"}),
        (("ForkSettings",), FORKED),
        (("EffectiveSettings",), CREATION),
        (("Group",), BESIDE),
    ],
    ids=lambda each: "+".join(each) if isinstance(each, tuple) else "",
)
def test_an_interface_has_the_services_settings(interfaces: tuple[str, ...], names: Any) -> None:
    assert {name.rstrip("?") for each in interfaces for name in members(each)} == set(names)


def test_a_hyperparameter_has_the_types_of_all_optimizers() -> None:
    names = {name for rule in RULES for name in rule}
    expected = {
        f"{name}?": written(reduce(or_, [rule[name] for rule in RULES if name in rule])) | {"null"} for name in names
    }
    assert {name: parts(text) for name, text in members("Hyperparameters").items()} == expected


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_setting_has_the_services_type(name: str) -> None:
    said = (members("Changes") | members("Settings"))[f"{name}?"]
    assert parts(said) == written(TYPES[name]) | ({"null"} if CREATION[name].changeable else set())


def test_every_error_has_a_type() -> None:
    text = (SOURCE / "errors.ts").read_text(encoding="utf-8")
    rows = re.findall(r"^  (\w+): (object|{ .* })$", text, re.MULTILINE)
    assert {code: re.findall(r"(\w+):", said) for code, said in rows} == {
        code: row["members"] for code, row in ERRORS.items()
    }
