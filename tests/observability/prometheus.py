"""A real Prometheus, with the project's own configuration."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from httpx2 import Client, HTTPError

from tests.docs.blocks import ROOT
from tests.reaper import tied
from tests.servers import free_port

FOLDER = ROOT / "deploy/prometheus"
START_SECONDS = 60.0


class Prometheus:
    """The API of a running one."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, path: str, **asked: str) -> Any:
        """Return the data of an answer."""
        answer = self._client.get(f"/api/v1/{path}", params=asked).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, query: str) -> list[float]:
        """Return the values of a query's series."""
        return [float(series["value"][1]) for series in self.get("query", query=query)["result"]]


def configuration(targets: list[str]) -> str:
    """Return the project's configuration for these targets, which are looked at each second."""
    whole = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    whole["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    whole["rule_files"] = [str(FOLDER / name) for name in whole["rule_files"]]
    (job,) = whole["scrape_configs"]
    job["static_configs"] = [{"targets": targets}]
    return yaml.safe_dump(whole)


@contextmanager
def prometheus(folder: Path, targets: list[str]) -> Iterator[Prometheus]:
    """Start one in a folder; yield it once it is ready."""
    file, port = folder / "prometheus.yml", free_port()
    file.write_text(configuration(targets))
    command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"]
    with (folder / "log").open("wb") as log:
        process = tied([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        with Client(base_url=f"http://127.0.0.1:{port}") as client:
            deadline = time.monotonic() + START_SECONDS
            while not _is_ready(client):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.1)
            yield Prometheus(client)
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(client: Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except HTTPError:
        return False
