"""docs/operating.md: its unit runs a service, its settings exist, and its picture shows what the commands print."""

import json
import re
import shlex
from configparser import RawConfigParser
from pathlib import Path

import httpx2
import numpy as np
import pytest
from optim_client import Client

from app.settings import Settings
from docs.images.make_operating_pictures import picture, transcript
from tests.docs.blocks import ROOT, blocks, read, rows, section
from tests.durability.processes import ServerProcess

PAGE = read("docs/operating.md")
START = section(PAGE, "Start and stop")
OF_CLIENTS = {"OPTIM_API_KEY", "OPTIM_BASE_URL"}
W = {"w": np.ones(3, np.float32)}


def unit() -> dict[str, str]:
    """Return the settings of the unit's service, without their case."""
    parser = RawConfigParser()
    parser.read_string(*blocks(START, "ini"))
    return dict(parser["Service"])


def test_the_unit_runs_a_service_that_stops_cleanly(tmp_path: Path) -> None:
    variables = dict(word.split("=", 1) for word in shlex.split(unit()["environment"]))
    store = variables["OPTIM_STORE"].replace(f"/var/lib/{unit()['statedirectory']}", str(tmp_path))
    assert store == f"lmdb:{tmp_path}/store"
    assert unit()["execstart"].endswith("/optim serve")
    server = ServerProcess(store, tmp_path / "log", options=[f"--log-format={variables['OPTIM_LOG_FORMAT']}"])
    digests = []
    try:
        for _ in range(2):
            server.start()
            with Client(server.url) as client:
                if not digests:
                    client.sessions.create("adam", hold_params=True).step(W, W)
                digests += [client.sessions.get(found.id).digest for found in client.sessions]
            server.terminate()
            assert server.wait() == 0
    finally:
        server.kill()
    assert digests[0] == digests[1]
    assert all(json.loads(line) for line in server.log().splitlines())


def test_the_unit_waits_longer_than_the_service_takes() -> None:
    assert int(unit()["timeoutstopsec"]) > Settings(store="memory:").shutdown_seconds


@pytest.mark.long
def test_the_addresses_to_ask_answer(url: str) -> None:
    paths = re.findall(r"^curl http://127.0.0.1:8000(/\w+)$", START, re.MULTILINE)
    assert len(paths) == 2
    assert [httpx2.get(url + path).status_code for path in paths] == [200, 200]


def test_every_named_variable_is_a_setting() -> None:
    fields = {f"OPTIM_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"OPTIM_[A-Z_]+", PAGE)) <= fields | OF_CLIENTS


def test_the_example_of_capacity_follows_the_sizes() -> None:
    sizes = {name: row[1] for row in rows(section(read("docs/stores.md"), "Sizing")) for name in row[0].split(", ")}
    assert sizes["`hold_params`"] == "adds the parameters' own bytes"
    state = 100e6 * (int(sizes["`adamw`"].partition(";")[0]) + 4) / 1e9
    capacity = " ".join(section(PAGE, "Capacity").split())
    assert f"a state of {state:.1f} GB, {3 * state:.1f} GB of disk for LMDB" in capacity
    assert f"or {2 * 1.25 * state:.1f} GB of memory for Redis" in capacity


@pytest.mark.long
def test_the_picture_shows_what_the_commands_print(tmp_path: Path) -> None:
    shown = (ROOT / "docs" / "images" / "operating_backup.svg").read_text(encoding="utf-8")
    assert "](images/operating_backup.svg)" in PAGE
    assert _numberless(picture(transcript(tmp_path))) == _numberless(shown)


def _numberless(text: str) -> str:
    """Leave the counts of bytes out: names and times of a session are of different lengths."""
    return re.sub(r"[\d,]+ bytes", "… bytes", text)
