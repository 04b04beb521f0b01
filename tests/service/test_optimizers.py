"""GET /v1/optimizers: the engine's table over HTTP."""

from httpx2 import Client

from optim_engine import OPTIMIZERS, Config
from tests.service.calls import create, problem


def test_every_optimizer_is_listed_with_its_defaults(client: Client) -> None:
    found = client.get("/v1/optimizers").json()["optimizers"]
    assert list(found) == list(OPTIMIZERS)
    for name, optimizer in found.items():
        assert optimizer.keys() == {"hyperparameters", "slots", "bits", "reference"}
        defaults = {setting: row["default"] for setting, row in optimizer["hyperparameters"].items()}
        assert defaults == Config.parse(name).effective()["hyperparameters"]


def test_adamw_is_described_as_the_contract_has_it(client: Client) -> None:
    adamw = client.get("/v1/optimizers").json()["optimizers"]["adamw"]
    assert adamw["hyperparameters"]["lr"] == {"default": 0.001, "type": "number", "minimum": 0}
    assert (adamw["slots"], adamw["bits"], adamw["reference"]) == (["m", "v"], "everywhere", "torch 2.13")


def test_bounds_slots_and_bits_are_those_that_a_session_has(client: Client) -> None:
    found = client.get("/v1/optimizers").json()["optimizers"]
    assert found["adafactor"]["slots"] == ["v_row", "v_col"]
    assert found["sgd"]["slots"] == []
    assert [name for name, optimizer in found.items() if optimizer["bits"] == "machine"] == ["muon"]
    for name, optimizer in found.items():
        defaults = {setting: row["default"] for setting, row in optimizer["hyperparameters"].items()}
        session = create(client, optimizer=name, hold_params=True, hyperparameters=defaults)
        assert client.get(session).json()["hyperparameters"] == defaults


def test_a_query_is_refused(client: Client) -> None:
    problem(client.get("/v1/optimizers?limit=1"), 400, "malformed_query")
