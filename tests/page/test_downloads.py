"""Files that the page makes: all rows, the rows that are shown, and a picture of a curve."""

import base64
import csv
from pathlib import Path
from typing import Any

import pytest
from optim_client import Client
from playwright.sync_api import Page

from tests.durability.processes import ServerProcess
from tests.page.conftest import trained
from tests.page.test_session import opened

COLUMNS = [
    "step", "loss", "lr", "grad_norm", "update_norm", "param_norm", "clip_scale", "skipped", "undone", "duration_ms",
    "time",
]  # fmt: skip


def saved(page: Page, folder: Path, button: str) -> Path:
    """Press a button, and return the file that it saves."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return file


def test_csv_of_all_has_every_row(page: Page, service: ServerProcess, client: Client, tmp_path: Path) -> None:
    session = trained(client, 30, {}, undo=1)
    session.undo()
    opened(page, service, session.id)
    file = saved(page, tmp_path, "All as CSV")
    assert file.name == f"{session.id[-8:]}.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].split(",") == COLUMNS
    rows = list(csv.DictReader(lines))
    for row, known in zip(rows, session.history(), strict=True):
        for name in ("step", "loss", "lr", "grad_norm", "update_norm", "param_norm", "clip_scale", "duration_ms"):
            assert float(row[name]) == getattr(known, name), name
        assert (row["skipped"], row["undone"]) == ("false", "true" if row["step"] == "30" else "false")


def test_csv_of_what_is_shown_keeps_to_the_zoom(
    page: Page, service: ServerProcess, client: Client, tmp_path: Path
) -> None:
    opened(page, service, trained(client, 40, {}).id)
    page.get_by_role("button", name="Zoom in to the newest").click()
    rows = list(csv.DictReader(saved(page, tmp_path, "Shown as CSV").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(21, 41))


@pytest.mark.parametrize("metric", ["Loss", "Learning rate"])
def test_a_curve_is_saved_as_png(
    page: Page, service: ServerProcess, client: Client, tmp_path: Path, metric: str
) -> None:
    session = trained(client, 30, {})
    opened(page, service, session.id)
    file = saved(page, tmp_path, f"{metric} as PNG")
    assert file.name == f"{session.id[-8:]}-{'loss' if metric == 'Loss' else 'lr'}.png"
    assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    width, height, colours = seen(page, file)
    assert width > 500
    assert height > 150
    assert "59 91 219" in colours, "the curve is in it, in the accent's colour"


def seen(page: Page, picture: Path) -> tuple[int, int, list[str]]:
    """Return the size and the colours of a picture, as the browser decodes it."""
    found: dict[str, Any] = page.evaluate(
        """async (text) => {
          const image = new Image()
          image.src = `data:image/png;base64,${text}`
          await image.decode()
          const { width, height } = image
          const ctx = new OffscreenCanvas(width, height).getContext('2d')
          ctx.drawImage(image, 0, 0)
          const { data } = ctx.getImageData(0, 0, width, height)
          const colours = new Set()
          for (let i = 0; i < data.length; i += 4) colours.add(data.slice(i, i + 3).join(' '))
          return { width, height, colours: [...colours] }
        }""",
        base64.b64encode(picture.read_bytes()).decode(),
    )
    return found["width"], found["height"], found["colours"]
