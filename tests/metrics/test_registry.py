"""All metrics of a service, also of several server processes."""

import asyncio
import shutil
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.metrics.registry import Metrics
from app.metrics.sharing import FOLDER
from tests.region_client import RegionClient, metric
from tests.unix_service import unix_process, unix_service
from tests.web.sockets import wait_until

REQUESTS = 'optim_requests_total{method="GET",route="/x",status="200"}'


def count(metrics: Metrics) -> None:
    metrics.count("GET", "/x", 200, 0.01, None, None)


def test_a_service_alone_counts_for_itself() -> None:
    metrics = Metrics()
    count(metrics)
    assert f"{REQUESTS} 1.0" in metrics.text().decode()
    assert REQUESTS not in Metrics().text().decode()


def test_no_family_is_there_twice() -> None:
    names = [family.name for family in Metrics().families]
    assert len(set(names)) == len(names)
    assert len([*text_string_to_metric_families(Metrics().text().decode())]) == len(names)


async def test_a_process_sees_what_others_have_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    one, other = Metrics(), Metrics()
    for metrics in (one, one, other):
        count(metrics)
    assert f"{REQUESTS} 2.0" in one.text().decode()
    assert f"{REQUESTS} 3.0" in other.text().decode()
    count(one)
    one.share_last()
    assert f"{REQUESTS} 4.0" in other.text().decode()


@pytest.mark.long
def test_no_number_goes_back_whichever_process_answers(tmp_path: Path) -> None:
    flags = ["--workers=2", f"--store=lmdb:{tmp_path}/store"]
    name = 'optim_requests_total{method="GET",route="/metrics",status="200"}'
    with unix_service(tmp_path, *flags) as url:
        seen = [metric(url, name) for _ in range(40)]
        assert seen == sorted(seen)
        wait_until(lambda: metric(url, name) >= 40, lambda: seen)


async def test_a_folder_that_is_gone_stops_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "shared"))
    (tmp_path / "shared").mkdir()
    metrics = Metrics()
    shutil.rmtree(tmp_path / "shared")
    task = asyncio.create_task(metrics.share())
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()


@pytest.mark.long
def test_a_killed_process_takes_no_count_with_it(tmp_path: Path) -> None:
    name = 'optim_requests_total{method="GET",route="/livez",status="200"}'
    with unix_process(tmp_path, "--workers=2", f"--store=lmdb:{tmp_path}/store") as process:
        url = f"unix://{tmp_path}/socket"
        for _ in range(20):
            with RegionClient(url) as client:
                assert client.ask("GET", "/livez").status == 200
        wait_until(lambda: metric(url, name) == 20, lambda: metric(url, name))
        workers = [child for child in psutil.Process(process.pid).children() if "spawn_main" in str(child.cmdline())]
        assert len(workers) == 2
        for worker in workers:
            worker.kill()
        psutil.wait_procs(workers)
        assert metric(url, name) == 20
