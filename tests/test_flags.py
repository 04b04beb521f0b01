"""The flags of `optim serve`. `tests/service/test_settings.py` gives each of them good and wrong values."""

import re

from typer.testing import CliRunner

from app import cli
from app.settings import Settings


def test_every_setting_is_a_flag_of_serve() -> None:
    result = CliRunner().invoke(cli.app, ["serve", "--help"], max_content_width=200, terminal_width=200)
    words = " ".join(result.output.split())
    for name, field in Settings.model_fields.items():
        value = "" if field.annotation is bool else r"\S+ "
        assert re.search(rf"--{name.replace('_', '-')} {value}{re.escape(str(field.description))}", words), name
