"""Tables of settings, and the fields that have a reader of their own."""

from dataclasses import dataclass
from typing import Any

import pytest

from optim_engine import InvalidConfig
from optim_engine.config import SETTINGS
from optim_engine.fields import choice, custom, flag, optional, read_settings, setting, settings_of


@dataclass(frozen=True)
class Table:
    """A table of four settings, beside a field that is none."""

    other: int
    mode: str = setting("The mode.", choice("slow", "fast", default="slow"), changeable=True)
    kind: str | None = setting("The kind.", choice(None, "round", default=None), later=True)
    _notes: dict[str, str] = setting("Notes.", custom(dict, lambda _, value: value, {}), name="notes")
    whole: object = setting("A setting that needs the others.")


ROWS = settings_of(Table)


def test_a_table_has_the_fields_made_by_setting() -> None:
    assert {name: (row.words, row.default) for name, row in ROWS.items()} == {
        "mode": ("The mode.", "slow"),
        "kind": ("The kind.", None),
        "notes": ("Notes.", {}),
        "whole": ("A setting that needs the others.", None),
    }
    assert [name for name, row in ROWS.items() if row.changeable] == ["mode"]
    assert [name for name, row in ROWS.items() if row.later] == ["kind"]


def test_a_table_is_an_ordinary_dataclass() -> None:
    assert Table(1) == Table(1, mode="slow", kind=None, _notes={}, whole=None)
    assert Table(1)._notes is not Table(1)._notes


def test_settings_are_read_or_have_their_default() -> None:
    assert read_settings(ROWS, {"mode": "fast"}) == {"mode": "fast", "kind": None, "notes": {}}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"mode": "faster"}, "mode: 'faster' is unknown; expected one of slow, fast"),
    ({"mode": None}, "mode: null is unknown; expected one of slow, fast"),
    ({"kind": "flat"}, "kind: 'flat' is unknown; expected one of round"),
    ({"whole": 1}, "whole: unknown setting 'whole'; expected one of mode, kind, notes"),
    ({"other": 1}, "other: unknown setting 'other'; expected one of mode, kind, notes"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_a_wrong_setting_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        read_settings(ROWS, given)
    assert str(refused.value) == message


def test_an_optional_choice_has_null_in_its_schema() -> None:
    assert ROWS["mode"].schema == {"type": "string", "enum": ["slow", "fast"]}
    assert ROWS["kind"].schema == {"type": ["string", "null"], "enum": [None, "round"]}
    assert optional(flag(False)).metadata["schema"] == {"anyOf": [{"type": "boolean"}, {"type": "null"}]}


@pytest.mark.parametrize("name", [name for name, row in SETTINGS.items() if row.read and name != "optimizer"])
def test_a_default_is_a_value_that_the_reader_takes(name: str) -> None:
    row = SETTINGS[name]
    assert row.read
    assert row.read(name, row.default) == row.default
