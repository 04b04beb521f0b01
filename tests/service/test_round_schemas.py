"""The schemas of workers and rounds: every answer of a round's life has the documented shape."""

from httpx2 import Client

from tests.service.calls import create
from tests.service.crew import Crew
from tests.service.test_examples import answer_of, example_of, shape_of
from tests.service.test_openapi import OPERATIONS, check_answer


def test_the_answers_of_a_round_are_in_their_schemas(client: Client) -> None:
    crew = Crew(client, "a", "b", quorum=1)
    for name, answer in (
        ("joinWorker", client.put(f"{crew.session}/workers/c", json={})),
        ("joinWorker", client.put(f"{crew.session}/workers/c", json={"epoch": 3})),
        ("listWorkers", client.get(f"{crew.session}/workers")),
        ("contribute", crew.push(1, "a", loss=0.5)),
        ("contribute", crew.push(1, "b", epoch=1)),
        ("getRound", client.get(f"{crew.session}/rounds/1")),
        ("contribute", crew.push(1, "b")),
        ("contribute", crew.push(2, "b", {"w": [0.0, 1.0, "NaN"]})),
        ("contribute", crew.push(1, "c", epoch=3)),
        ("listWorkers", client.get(f"{crew.session}/workers")),
        ("contribute", crew.push(2, "a")),
        ("closeRound", crew.close(2)),
        ("contribute", crew.push(1, "a", loss=0.5)),
        ("getRound", client.get(f"{crew.session}/rounds/2")),
        ("getHistory", client.get(f"{crew.session}/history")),
        ("leaveWorker", client.delete(f"{crew.session}/workers/a")),
    ):
        check_answer(OPERATIONS[name][2], answer)


def test_a_norm_beyond_all_floats_is_in_its_schema(client: Client) -> None:
    session = create(client, hold_params=True, workers={"expected": 2})
    huge = {"w": {"dtype": "float64", "shape": [2], "data": [1.7e308, 1.7e308]}}
    client.put(f"{session}/params", json={"params": huge})
    client.put(f"{session}/workers/a", json={})
    assert client.put(f"{session}/rounds/1/contributions/a", json={"epoch": 1, "grads": huge}).status_code == 202
    found = client.get(f"{session}/rounds/1")
    assert found.json()["contributions"][0]["norm"] == "Infinity"
    check_answer(OPERATIONS["getRound"][2], found)


def test_the_examples_of_a_round_work(client: Client) -> None:
    crew = Crew(client, *(f"gpu-{i}" for i in range(1, 7)), quorum=1)
    assert crew.join("gpu-3") == example_of("joinWorker")["epoch"]
    renewed = client.put(f"{crew.session}/workers/gpu-3", json=example_of("joinWorker"))
    assert shape_of(renewed.json()) == shape_of(answer_of("joinWorker"))
    pushed = crew.push(1, "gpu-3", {"w": [0.0, 0.0, 1.0]}, weight=example_of("contribute")["weight"])
    assert shape_of(pushed.json()) == shape_of(answer_of("contribute", 202))
    assert shape_of(crew.close(1).json()) == shape_of(answer_of("closeRound"))
    assert shape_of(client.get(f"{crew.session}/workers").json()) == shape_of(answer_of("listWorkers"))
