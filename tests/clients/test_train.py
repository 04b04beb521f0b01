"""The least squares of `least_squares.json` with a real service, also one that is killed under the training."""

from pathlib import Path

import httpx2
import numpy as np
import pytest

from tests.clients.interrupter import Interrupter
from tests.clients.languages import Language
from tests.clients.prover import proving
from tests.contract import LEAST_SQUARES
from tests.durability.processes import servers

STEPS = LEAST_SQUARES["steps"]


@pytest.mark.long
def test_training_ends_at_the_contracts_bits_through_two_kills(language: Language, tmp_path: Path) -> None:
    with (
        servers([f"lmdb:{tmp_path / 'store'}"], tmp_path) as (server,),
        Interrupter(server, unheard={7}, unanswered={20}) as interrupter,
        proving(language, "train", interrupter.url) as prover,
    ):
        params = prover.hear()["params"]
        sessions = httpx2.get(f"{server.url}/v1/sessions").json()["sessions"]
        rows = httpx2.get(f"{server.url}/v1/sessions/{sessions[0]['id']}/history").json()["history"]
    assert {name: bits(values) for name, values in params.items()} == {
        name: said["bits"] for name, said in LEAST_SQUARES["final"].items()
    }
    assert interrupter.kills == 2
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [session["step"] for session in sessions] == [STEPS]


def bits(values: list[float]) -> list[str]:
    return [f"{each:08x}" for each in np.array(values, np.float64).astype(np.float32).view("u4")]
