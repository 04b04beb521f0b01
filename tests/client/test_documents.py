"""The service's documents as objects."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

from optim_client import HistoryRow, OptimizerInfo, SessionInfo, TensorInfo, _calls
from optim_client._protocol import Response

from tests.client.documents import ROW, SESSION


def test_a_session_is_read_whole() -> None:
    info = SessionInfo.read({**SESSION, "member_of_tomorrow": 1})
    assert info.tensors == {"w": TensorInfo((1, 2), "float32", 41, None, "adamw")}
    assert info.created_at == datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert replace(info, expires_at=None) == SessionInfo.read({**SESSION, "expires_at": None})


def test_history_rows_are_read_with_their_times() -> None:
    [row] = _calls.history("s").read(Response(200, {}, json.dumps({"history": [ROW]}).encode()))
    assert (row.step, row.loss, row.time) == (1, None, datetime(2026, 11, 20, 12, 0, 1, 500000, tzinfo=UTC))


def test_numbers_that_json_lacks_are_read_from_their_names() -> None:
    row = HistoryRow.read({**ROW, "grad_norm": "NaN", "param_norm": "Infinity", "loss": "-Infinity"})
    assert math.isnan(row.grad_norm)
    assert (row.param_norm, row.loss) == (math.inf, -math.inf)


def test_optimizers_are_read_by_their_names() -> None:
    adamw = {"hyperparameters": {"lr": {"default": 0.1}}, "slots": ["m"], "bits": "machine", "reference": "r", "new": 1}
    answer = Response(200, {}, json.dumps({"optimizers": {"adamw": adamw}}).encode())
    assert _calls.optimizers().read(answer) == {
        "adamw": OptimizerInfo({"lr": {"default": 0.1}}, ("m",), "machine", "r")
    }
