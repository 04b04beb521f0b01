"""The way to ask for a region: who may, over which connections, and up to which limits."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.region_client import RegionClient, metric
from tests.service.calls import problem, serving
from tests.service.test_auth import row
from tests.unix_service import unix_service
from tests.web.sockets import wait_until

LIMIT = 1 << 20
HALF = LIMIT // 2


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with unix_service(tmp_path_factory.mktemp("u"), f"--max-region-bytes={LIMIT}") as url:
        yield url


@pytest.mark.long
def test_a_region_comes_as_a_descriptor_of_its_size(url: str) -> None:
    with RegionClient(url) as client:
        answers = [client.lease(nbytes) for nbytes in (1, 4096, 5000)]
        assert [answer.status for answer in answers] == [204] * 3
        assert [answer.headers["x-optim-region"] for answer in answers] == ["1", "2", "3"]
        assert [os.fstat(descriptor).st_size for descriptor in client.descriptors] == [1, 4096, 5000]


def test_only_post_asks_for_a_region(url: str) -> None:
    with RegionClient(url) as client:
        answer = client.ask("GET", "/v1/regions")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("query", ["", "?nbytes=0", "?nbytes=-1", "?nbytes=1.5", "?nbytes=1&free=x", "?bytes=1"])
def test_a_malformed_question_is_refused(url: str, query: str) -> None:
    with RegionClient(url) as client:
        assert client.ask("POST", f"/v1/regions{query}").status == 400
        assert client.descriptors == []


@pytest.mark.parametrize("nbytes", [HALF + 1, 1 << 40, 1 << 48])
def test_more_than_a_connections_share_is_too_large(url: str, nbytes: int) -> None:
    with RegionClient(url) as client:
        answer = client.lease(nbytes)
        assert (answer.status, b"OPTIM_MAX_REGION_BYTES" in answer.body) == (413, True)
        assert client.lease(HALF).status == 204
        assert client.lease(1).status == 413
        assert client.lease(HALF, 1).status == 204


def test_connections_together_stay_within_the_limit(url: str) -> None:
    with RegionClient(url) as first, RegionClient(url) as second, RegionClient(url) as third:
        assert [client.lease(HALF).status for client in (first, second)] == [204, 204]
        answer = third.lease(1)
        assert (answer.status, b"overloaded" in answer.body) == (503, True)
        assert metric(url, "optim_region_bytes") == LIMIT
        assert first.lease(HALF - 1, 1).status == 204
        assert third.lease(1).status == 204


def test_a_connection_has_a_bounded_number_of_regions(url: str) -> None:
    with RegionClient(url) as client:
        assert [client.lease(1).status for _ in range(17)] == [204] * 16 + [503]
        assert client.lease(1, 16, 999).status == 204


def test_pipelined_questions_get_a_region_or_a_refusal_each(url: str) -> None:
    with RegionClient(url) as client:
        for _ in range(5):
            client.send("POST", "/v1/regions?nbytes=10")
        statuses = [client.receive().status for _ in range(5)]
        assert set(statuses) <= {204, 503}
        assert statuses.count(204) == len(client.descriptors) >= 1
        assert client.ask("GET", "/livez").status == 200


def test_regions_are_counted(url: str) -> None:
    leased, refused = (metric(url, f'optim_regions_total{{outcome="{name}"}}') for name in ("leased", "refused"))
    with RegionClient(url) as client:
        client.lease(10)
        client.lease(LIMIT)
    assert metric(url, 'optim_regions_total{outcome="leased"}') == leased + 1
    assert metric(url, 'optim_regions_total{outcome="refused"}') == refused + 1


@pytest.mark.long
def test_only_writers_get_a_region(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [row("writes"), row("reads", role="read")]}))
    with unix_service(tmp_path, f"--api-keys-file={keys}") as url:
        for key, status in {"": 401, "other": 401, "reads": 403, "writes": 204}.items():
            with RegionClient(url, key) as client:
                assert (client.lease(10).status, len(client.descriptors)) == (status, int(status == 204))


@pytest.mark.long
def test_a_connection_without_regions_knows_no_such_path(tmp_path: Path) -> None:
    with serving() as tcp:
        problem(tcp.post("/v1/regions?nbytes=10"), 404, "route_not_found")
        headers = {"x-optim-regions": "1:0:8 2:0:8", "content-type": "application/vnd.safetensors"}
        problem(tcp.post("/v1/sessions/x/steps", headers=headers), 400, "malformed_header")
        assert "/v1/regions" not in tcp.get("/openapi.json").text
    with unix_service(tmp_path, "--max-region-bytes=0") as url, RegionClient(url) as client:
        assert client.lease(10).status == 404


@pytest.mark.long
def test_regions_of_workers_are_counted_together(tmp_path: Path) -> None:
    flags = ["--workers=2", f"--store=lmdb:{tmp_path}/store"]
    with unix_service(tmp_path, *flags) as url, ExitStack() as stack:
        clients = [stack.enter_context(RegionClient(url)) for _ in range(6)]
        assert {client.lease(1000).status for client in clients} == {204}
        wait_until(lambda: metric(url, "optim_region_bytes") == 6000, lambda: metric(url, "optim_region_bytes"))
