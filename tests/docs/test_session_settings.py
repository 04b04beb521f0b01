"""The documents of a session's settings, held against the tables that the service makes all else of."""

import json
import re

import pytest

from app.wire.session_json import CREATION
from optim_engine import OPTIMIZERS
from tests.docs.blocks import blocks, read, rows, section

TABLE = {cells[0].strip("`"): cells[1:] for cells in rows(read("docs/api.md")) if cells[0].strip("`") in CREATION}


def without_links(text: str) -> str:
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)


def test_the_table_has_every_setting_in_order() -> None:
    assert list(TABLE) == list(CREATION)


@pytest.mark.parametrize("name", CREATION)
def test_a_row_has_the_settings_description_and_changeability(name: str) -> None:
    changes, words = TABLE[name]
    assert changes == ("yes" if CREATION[name].changeable else "no")
    assert without_links(words).startswith(CREATION[name].words.removesuffix("."))


def test_the_row_of_the_optimizer_names_every_one() -> None:
    _, words = TABLE["optimizer"]
    assert [name for name in re.findall(r"`(\w+)`", words) if name in OPTIMIZERS] == list(OPTIMIZERS)


def test_the_example_of_a_creation_has_only_settings() -> None:
    [example, *_] = blocks(section(read("docs/api.md"), "POST /v1/sessions"), "json")
    assert json.loads(example).keys() <= CREATION.keys()


def test_the_digests_recipe_knows_the_settings_that_came_later() -> None:
    [later] = re.findall(r"^LATER = (.*)$", read("docs/state-files.md"), re.MULTILINE)
    expected = {name: row.default for name, row in CREATION.items() if row.later}
    assert later == json.dumps(expected).replace("null", "None")
